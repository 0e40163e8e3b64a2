internal import CLinux

/// A failed system call: its name, its `errno`, and the path or object.
///
/// Contains no message; `Diagnostics` makes the text.
package struct SystemError: Error, Equatable, Sendable {
    /// The name in the manual page, without parentheses: `openat2`, `mount`.
    package let call: String
    /// The `errno` value.
    package let errno: Int32
    /// The path, limit or name that the call was about, with invalid UTF-8 replaced.
    package let subject: String

    package init(call: String, errno: Int32, subject: String) {
        self.call = call
        self.errno = errno
        self.subject = subject
    }

    /// The error of the call that just failed. Reads `errno` before another call can change it.
    static func last(_ call: String, _ subject: @autoclosure () -> String) -> SystemError {
        let code = berth_errno()
        return SystemError(call: call, errno: code, subject: subject())
    }
}

extension SystemError {
    /// The symbolic name as in errno(3), such as `EACCES`, or the number if the C library has no name for it.
    package var name: String {
        guard let name = strerrorname_np(errno) else { return "errno \(errno)" }
        return String(cString: name)
    }

    /// The C library's message, as in strerror(3).
    package var reason: String { String(cString: strerror(errno)) }
}

extension SystemError {
    /// Whether the kernel lacks the call or a seccomp filter denies it. The filters of Docker before 20.10 and of
    /// systemd-nspawn return `EPERM` for unknown calls. Callers then try another way and report its error.
    package var meansNoSuchCall: Bool { errno == ENOSYS || errno == EPERM }
}

/// Runs a system call again while a signal interrupts it; throws if it returns -1.
@inline(__always)
@discardableResult
func checked<Value: FixedWidthInteger>(
    _ call: String, _ subject: @autoclosure () -> String, _ body: () -> Value
) throws(SystemError) -> Value {
    while true {
        let value = body()
        if value != -1 { return value }
        if berth_errno() != EINTR { throw SystemError.last(call, subject()) }
    }
}
