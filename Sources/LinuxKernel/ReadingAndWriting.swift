internal import CLinux

extension OwnedFileDescriptor {
    /// Reads up to the buffer's size; 0 at the end. The corresponding call is `read(2)`.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
        try checked("read", procPath) { CLinux.read(rawValue, buffer.baseAddress, buffer.count) }
    }

    /// Reads at an offset in bytes without moving the descriptor's offset. The corresponding call is `pread(2)`.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(SystemError) -> Int {
        try checked("pread", procPath) { pread(rawValue, buffer.baseAddress, buffer.count, off_t(offset)) }
    }

    /// Writes all bytes. The corresponding call is `write(2)`.
    package func writeAll(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
        var rest = bytes
        while !rest.isEmpty {
            let count = try checked("write", procPath) { CLinux.write(rawValue, rest.baseAddress, rest.count) }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    /// Writes all bytes at an offset without moving the descriptor's offset. The corresponding call is `pwrite(2)`.
    package func writeAll(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(SystemError) {
        var (rest, place) = (bytes, offset)
        while !rest.isEmpty {
            let count = try checked("pwrite", procPath) { pwrite(rawValue, rest.baseAddress, rest.count, off_t(place)) }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            place += Int64(count)
        }
    }

    /// Writes all bytes of the array.
    package func writeAll(_ bytes: [UInt8]) throws(SystemError) {
        let outcome: Result<Void, SystemError> = bytes.withUnsafeBytes { buffer in
            do throws(SystemError) { return .success(try writeAll(buffer)) } catch { return .failure(error) }
        }
        try outcome.get()
    }

    /// Reads `count` bytes, or fewer if the file ends before. For files of known size: saves the last call of
    /// `readAll`, which only detects the end.
    ///
    /// - Parameter offset: In bytes; if given, the descriptor's offset is not moved.
    package func read(exactly count: Int, at offset: Int64? = nil) throws(SystemError) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let outcome: Result<Int, SystemError> = result.withUnsafeMutableBytes { buffer in
                let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
                do throws(SystemError) {
                    guard let offset else { return .success(try read(into: rest)) }
                    return .success(try read(into: rest, at: offset + Int64(filled)))
                } catch {
                    return .failure(error)
                }
            }
            let part = try outcome.get()
            if part == 0 { break }
            filled += part
        }
        result.removeLast(count - filled)
        return result
    }

    /// Drops the file's contents from the page cache: `posix_fadvise(2)` with `POSIX_FADV_DONTNEED`.
    package func forgetContents() { _ = posix_fadvise(rawValue, 0, 0, 4 /* POSIX_FADV_DONTNEED */) }

    /// Reads to the end; throws `EFBIG` above `limit` bytes.
    package func readAll(limit: Int = 16 << 20) throws(SystemError) -> [UInt8] {
        var result: [UInt8] = []
        // Most of these files are small, and clearing a large buffer costs more than reading them.
        var chunk = [UInt8](repeating: 0, count: 8192)
        while true {
            let outcome: Result<Int, SystemError> = chunk.withUnsafeMutableBytes { buffer in
                do throws(SystemError) { return .success(try read(into: buffer)) } catch { return .failure(error) }
            }
            let count = try outcome.get()
            if count == 0 { return result }
            if result.count + count > limit { throw SystemError(call: "read", errno: EFBIG, subject: procPath) }
            result.append(contentsOf: chunk[..<count])
        }
    }

    /// Flushes the file to disk. The corresponding call is `fsync(2)`.
    package func synchronize() throws(SystemError) { try checked("fsync", procPath) { fsync(rawValue) } }

    /// Flushes the whole file system of this descriptor. Throws write errors that occurred since the descriptor was
    /// opened. The corresponding call is `syncfs(2)`.
    package func synchronizeFileSystem() throws(SystemError) { try checked("syncfs", procPath) { syncfs(rawValue) } }

    /// Starts writing a range to disk without waiting; 0 bytes means up to the end: `sync_file_range(2)`.
    package func startWriteBack(at offset: Int64, bytes: Int64) throws(SystemError) {
        try checked("sync_file_range", procPath) {
            sync_file_range(rawValue, off_t(offset), off_t(bytes), 2 /* SYNC_FILE_RANGE_WRITE */)
        }
    }

    /// Writes a range to disk and waits; 0 bytes means up to the end. Does not make the data survive a power failure:
    /// `sync_file_range(2)`.
    package func finishWriteBack(at offset: Int64, bytes: Int64) throws(SystemError) {
        try checked("sync_file_range", procPath) {
            // SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER
            sync_file_range(rawValue, off_t(offset), off_t(bytes), 1 | 2 | 4)
        }
    }

    /// Sets the size in bytes; growing leaves a hole. The corresponding call is `ftruncate(2)`.
    package func setSize(_ bytes: Int64) throws(SystemError) {
        try checked("ftruncate", procPath) { ftruncate(rawValue, off_t(bytes)) }
    }

    /// Moves the offset. The corresponding call is `lseek(2)` with `SEEK_SET`.
    package func seek(to offset: Int64) throws(SystemError) {
        _ = try checked("lseek", procPath) { lseek(rawValue, off_t(offset), SEEK_SET) }
    }
}

/// Reads a small file by path.
package func contents(of path: some PathBytes, limit: Int = 16 << 20) throws(SystemError) -> [UInt8] {
    try OwnedFileDescriptor(opening: path, .readOnly | .noControllingTerminal).readAll(limit: limit)
}

/// The whole of a regular file of at most `limit` bytes. Anything else is not opened: a FIFO's writer would go on, and end by
/// SIGPIPE; a device may act.
///
/// - Throws: `EINVAL` for what is no regular file, `EFBIG` for a larger one.
package func contents(ofRegularFile path: some PathBytes, limit: Int) throws(SystemError) -> [UInt8] {
    let place = try OwnedFileDescriptor(opening: path, .path)
    let status = try place.status()
    guard status.kind == .regular else { throw SystemError(call: "open", errno: EINVAL, subject: path.displayPath) }
    guard status.size <= limit else { throw SystemError(call: "read", errno: EFBIG, subject: path.displayPath) }
    return try OwnedFileDescriptor(opening: place.procPath, .readOnly | .noControllingTerminal).readAll(limit: limit)
}

/// The standard streams, which this process inherits and does not own.
package enum Streams {
    /// The caller closed standard output, and /dev/null takes its number. Set before there is a second thread.
    nonisolated(unsafe) static var isOutputMissing = false

    /// - Throws: `EBADF` if the caller closed it, too.
    package static func standardOutput(_ bytes: [UInt8]) throws(SystemError) {
        try checkOutput()
        try write(bytes, 1)
    }

    package static func standardOutput(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
        try checkOutput()
        try write(bytes, 1)
    }

    private static func checkOutput() throws(SystemError) {
        if isOutputMissing { throw SystemError(call: "write", errno: EBADF, subject: "standard output") }
    }

    package static func standardError(_ bytes: [UInt8]) throws(SystemError) { try write(bytes, 2) }

    /// Opens /dev/null for standard streams that are closed, because a later file would get their number and receive
    /// messages. Only for programs that stay; a command inherits the caller's streams unchanged.
    package static func complete() {
        // open(2) uses the lowest free number, which is the missing stream.
        for number in Int32(0)...2 where berth_fcntl(number, F_GETFD, 0) == -1 {
            if number == 1 { isOutputMissing = true }
            _ = berth_open("/dev/null", number == 0 ? O_RDONLY : O_WRONLY, 0)
        }
    }

    private static func write(_ bytes: [UInt8], _ raw: Int32) throws(SystemError) {
        let outcome: Result<Void, SystemError> = bytes.withUnsafeBytes { buffer in
            do throws(SystemError) { return .success(try write(buffer, raw)) } catch { return .failure(error) }
        }
        try outcome.get()
    }

    private static func write(_ bytes: UnsafeRawBufferPointer, _ raw: Int32) throws(SystemError) {
        var rest = bytes
        while !rest.isEmpty {
            do throws(SystemError) {
                let count = try checked("write", "fd \(raw)") { CLinux.write(raw, rest.baseAddress, rest.count) }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            } catch {
                // Another program that shares the pipe or terminal may have made it non-blocking.
                guard error.errno == EAGAIN else { throw error }
                var wait = pollfd(fd: raw, events: Int16(POLLOUT), revents: 0)
                _ = poll(&wait, 1, -1)
            }
        }
    }

    /// The path of the terminal at a standard stream, by default standard input; `nil` if it is not a terminal.
    package static func terminal(_ number: Int32 = 0) -> String? {
        guard berth_isatty(number) == 1 else { return nil }
        // A terminal of another mount namespace has no path here.
        let directory = try? OwnedFileDescriptor(opening: "/proc/self/fd", .path | .directory)  // no /proc
        return try? directory?.linkTarget("\(number)").displayPath  // no path
    }
}
