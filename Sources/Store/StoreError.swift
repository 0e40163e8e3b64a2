package import LinuxKernel

package enum StoreError: Error, Equatable, Sendable {
    case system(SystemError)
    /// The directory is not empty and is not a store.
    case notAStore(path: String)
    /// This version does not know the layout; `found` is the content of the version file.
    case unknownLayout(path: String, found: String)
    /// An entry of the store is unreadable or unsafe.
    case damaged(path: String, reason: String)
    case readOnly(path: String)
    /// A record exceeds the size limit.
    case recordTooLarge(bytes: Int, limit: Int64)
    /// Another user could have written to the store or to a directory above it.
    case untrusted(path: String, UntrustedPath)
    /// The store's owner holds the lease exclusively and does not release it.
    case busy(path: String)
    /// What is damaged and would be replaced, if no container had its files open.
    case inUse(path: String)
    /// A local image, not the store, is unreadable.
    case source(path: String, SystemError)
}

/// Throws a system error as a store error.
func mapError<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(StoreError) -> Value {
    do throws(SystemError) { return try body() } catch {
        throw error.errno == Errno.EROFS ? .readOnly(path: error.subject) : .system(error)
    }
}
