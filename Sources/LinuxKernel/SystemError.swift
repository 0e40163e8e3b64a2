internal import CLinux

/// A system call that failed: which call, its `errno`, and the thing it was about.
///
/// Carries facts only; the text for people is made in `Diagnostics`.
package struct SystemError: Error, Equatable, Sendable {
    /// The call as in its manual page, without parentheses: `openat2`, `mount`.
    package let call: String
    /// The `errno` value.
    package let errno: Int32
    /// The path, limit or name that the call was about; may hold bytes that were not UTF-8, repaired.
    package let subject: String

    package init(call: String, errno: Int32, subject: String) {
        self.call = call
        self.errno = errno
        self.subject = subject
    }

    /// The error of the call that just failed, read from `errno` before anything else can change it.
    static func last(_ call: String, _ subject: @autoclosure () -> String) -> SystemError {
        let code = berth_errno()
        return SystemError(call: call, errno: code, subject: subject())
    }
}

extension SystemError {
    /// The symbolic name as in errno(3), `EACCES`, or the number where the C library knows none.
    package var name: String {
        guard let name = strerrorname_np(errno) else { return "errno \(errno)" }
        return String(cString: name)
    }

    /// The C library's sentence for the code, as strerror(3).
    package var reason: String { String(cString: strerror(errno)) }
}

extension SystemError {
    /// The kernel has no such call, or a seccomp filter refuses it: those of Docker before 20.10 and of systemd-nspawn
    /// answer `EPERM` for calls that they do not know. Another way is then tried, and its error is the one that counts.
    package var meansNoSuchCall: Bool { errno == ENOSYS || errno == EPERM }
}

/// Runs a system call until it is not interrupted by a signal; throws where it returns -1.
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
