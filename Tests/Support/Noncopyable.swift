/// `#require` and `#expect` accept only copyable values; these accept noncopyable ones.
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
