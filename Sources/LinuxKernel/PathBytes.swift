internal import CLinux

/// A path for the kernel: bytes without NUL. Names in an image need not be UTF-8, so they are `[UInt8]`; `String` is
/// for paths that users type.
package protocol PathBytes {
    /// Calls `body` with the path as a C string. Not generic, because creating the types would cost time at each
    /// launch.
    func withCPath(_ body: (UnsafePointer<CChar>) throws(SystemError) -> Void) throws(SystemError)

    /// The path for messages, with invalid UTF-8 replaced.
    var displayPath: String { get }
}

extension String: PathBytes {
    /// The original bytes of the string, including those that were not UTF-8.
    package var kernelBytes: [UInt8] { RawText.bytes(self) ?? Array(utf8) }

    package func withCPath(_ body: (UnsafePointer<CChar>) throws(SystemError) -> Void) throws(SystemError) {
        if let bytes = RawText.bytes(self) { return try bytes.withCPath(body) }
        var copy = self
        var failure: SystemError?
        copy.withUTF8 { bytes in
            do throws(SystemError) { try terminated(UnsafeRawBufferPointer(bytes), body) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    package var displayPath: String { self }
}

extension [UInt8]: PathBytes {
    package func withCPath(_ body: (UnsafePointer<CChar>) throws(SystemError) -> Void) throws(SystemError) {
        var failure: SystemError?
        withUnsafeBytes { bytes in
            do throws(SystemError) { try terminated(bytes, body) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    package var displayPath: String { String(decoding: self, as: UTF8.self) }
}

/// Whether an absolute path names the root without following a link.
package func isRootPath(_ path: String) -> Bool {
    var depth = 0
    for component in path.utf8.split(separator: UInt8(ascii: "/")) where !component.elementsEqual(".".utf8) {
        if component.elementsEqual("..".utf8) { depth = max(0, depth - 1) } else { depth += 1 }
    }
    return depth == 0
}

private func terminated(
    _ bytes: UnsafeRawBufferPointer, _ body: (UnsafePointer<CChar>) throws(SystemError) -> Void
) throws(SystemError) {
    var failure: SystemError?
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: bytes.count + 1) { buffer in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(from: bytes)
        buffer[bytes.count] = 0
        guard let start = buffer.baseAddress else { preconditionFailure("the capacity is at least one") }
        do throws(SystemError) { try body(start) } catch { failure = error }
    }
    if let failure { throw failure }
}
