/// `#require` and `#expect` take copyable values only; these do the same for what has one owner.
package func there<Value: ~Copyable>(_ value: consuming Value?) throws -> Value {
    guard let value else { throw TestSupportError("there is none") }
    return value
}

package func isThere<Value: ~Copyable>(_ value: borrowing Value?) -> Bool {
    switch value {
    case .some: true
    case .none: false
    }
}
