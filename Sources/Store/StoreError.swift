package import LinuxKernel

package enum StoreError: Error, Equatable, Sendable {
    case system(SystemError)
    /// The directory holds something, but no store of ours.
    case notAStore(path: String)
    /// A layout that this version does not know; `found` is what its version file says.
    case unknownLayout(path: String, found: String)
    /// A record that does not read as one.
    case damaged(path: String, reason: String)
    case readOnly(path: String)
    /// A record longer than what is read of one.
    case recordTooLarge(bytes: Int, limit: Int64)
    /// A store that another user could have filled; the fault may be on the way to it.
    case untrusted(path: String, UntrustedPath)
    /// A lease that the store's owner holds and does not release: what it protects is there.
    case busy(path: String)
    /// A local image, not the store, can not be read.
    case source(path: String, SystemError)
}

/// Names a system error as the store's.
func storing<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(StoreError) -> Value {
    do throws(SystemError) { return try body() } catch {
        throw error.errno == Errno.EROFS ? .readOnly(path: error.subject) : .system(error)
    }
}
