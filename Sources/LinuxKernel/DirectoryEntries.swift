internal import CLinux

/// Creates, links and removes entries beneath a directory descriptor. `name` is one component or a path that the caller
/// has resolved: these calls follow links in the middle of it.
extension OwnedFileDescriptor {
    /// The corresponding call is `mkdirat(2)`.
    package func makeDirectory(_ name: some PathBytes, mode: UInt32) throws(SystemError) {
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("mkdirat", name.displayPath) { mkdirat(rawValue, cPath, mode) }
        }
    }

    /// The corresponding call is `symlinkat(2)`. The target is stored unchanged.
    package func makeSymlink(_ name: some PathBytes, to target: some PathBytes) throws(SystemError) {
        try name.withCPath { (cName) throws(SystemError) in
            try target.withCPath { (cTarget) throws(SystemError) in
                _ = try checked("symlinkat", name.displayPath) { symlinkat(cTarget, rawValue, cName) }
            }
        }
    }

    /// Creates a second name for `target` in `targetDirectory`. Links a symbolic link itself rather than its target.
    ///
    /// The corresponding call is `linkat(2)`.
    package func makeHardLink(
        _ name: some PathBytes, to target: some PathBytes, in targetDirectory: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        let targetRaw = targetDirectory.rawValue
        try name.withCPath { (cName) throws(SystemError) in
            try target.withCPath { (cTarget) throws(SystemError) in
                _ = try checked("linkat", name.displayPath) { linkat(targetRaw, cTarget, rawValue, cName, 0) }
            }
        }
    }

    /// The corresponding call is `mknodat(2)` with `S_IFIFO`.
    package func makeFIFO(_ name: some PathBytes, mode: UInt32) throws(SystemError) {
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("mknodat", name.displayPath) { berth_mknodat(rawValue, cPath, BERTH_S_IFIFO | mode, 0, 0) }
        }
    }

    /// Creates an overlayfs whiteout: a character device 0:0, which needs no privilege since Linux 5.8. The
    /// corresponding call is `mknodat(2)`.
    package func makeOverlayWhiteout(_ name: some PathBytes) throws(SystemError) {
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("mknodat", name.displayPath) { berth_mknodat(rawValue, cPath, BERTH_S_IFCHR, 0, 0) }
        }
    }

    /// The corresponding call is `unlinkat(2)`.
    package func removeFile(_ name: some PathBytes) throws(SystemError) {
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("unlinkat", name.displayPath) { unlinkat(rawValue, cPath, 0) }
        }
    }

    /// Removes an empty directory. The corresponding call is `unlinkat(2)` with `AT_REMOVEDIR`.
    package func removeDirectory(_ name: some PathBytes) throws(SystemError) {
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("unlinkat", name.displayPath) { unlinkat(rawValue, cPath, AT_REMOVEDIR) }
        }
    }

    /// Removes a tree without following links. Makes directories accessible that their owner may not enter. A missing
    /// tree is no error.
    ///
    /// A tree may be deeper than the limit on open files, so subtrees that are too deep are moved up first. If `name`
    /// is a path, they are moved to its last directory, which may be on another file system than this one.
    package func removeTree(_ name: some PathBytes) throws(SystemError) {
        if let (path, last) = Self.split(name) {
            let directory: OwnedFileDescriptor
            do throws(SystemError) { directory = try open(path, .path | .directory) } catch {
                if error.errno == ENOENT { return }
                throw error
            }
            return try directory.removeTree(last)
        }
        var tooDeep: [String] = []
        try remove(name, depth: 0, below: self, &tooDeep)
        while let next = tooDeep.popLast() { try remove(next, depth: 0, below: self, &tooDeep) }
    }

    /// Splits a path into its directory and last component; returns `nil` for a single component.
    private static func split(_ path: some PathBytes) -> (directory: [UInt8], last: [UInt8])? {
        var bytes: [UInt8] = []
        do throws(SystemError) {
            try path.withCPath { cPath in
                bytes = UnsafeBufferPointer(start: cPath, count: strlen(cPath)).map { UInt8(bitPattern: $0) }
            }
        } catch { return nil }  // invalid: the caller's next call reports it
        guard let slash = bytes.lastIndex(of: 0x2F), slash + 1 < bytes.count else { return nil }
        return (Array(bytes[...slash]), Array(bytes[(slash + 1)...]))
    }

    /// How many nested directories to keep open.
    private static var openLevels: Int { 64 }

    private func remove(
        _ name: some PathBytes, depth: Int, below top: borrowing OwnedFileDescriptor, _ tooDeep: inout [String]
    ) throws(SystemError) {
        do throws(SystemError) {
            try removeFile(name)
            return
        } catch {
            if error.errno == ENOENT { return }
            if error.errno != EISDIR && error.errno != EPERM { throw error }
        }
        let directory: OwnedFileDescriptor
        do throws(SystemError) {
            directory = try open(name, .readOnly | .directory | .noFollow)
        } catch {
            if error.errno == ENOENT { return }
            if error.errno != EACCES { throw error }
            try setPermissions(of: name, 0o700)
            directory = try open(name, .readOnly | .directory | .noFollow)
        }
        let status = try directory.status()
        // A mount inside the tree is not part of it.
        var isOther = try status.device != top.status().device
        if let isMount = try? directory.isMountPoint("."), isMount { isOther = true }  // unknown: compare devices only
        if isOther { throw SystemError(call: "unlinkat", errno: EBUSY, subject: name.displayPath) }
        if status.permissions & 0o700 != 0o700 { try directory.setPermissions(0o700) }
        if depth == Self.openLevels {
            let aside = ".removed-" + (try Random.hexadecimal(bytes: 8))
            do throws(SystemError) { try move(name, to: aside, in: top) } catch {
                if error.errno == ENOENT { return }
                throw error
            }
            tooDeep.append(aside)
            return
        }
        for entry in try directory.entries() {
            try directory.remove(entry, depth: depth + 1, below: top, &tooDeep)
        }
        do throws(SystemError) { try removeDirectory(name) } catch {
            if error.errno != ENOENT { throw error }
        }
    }

    /// Renames an entry unless the new name exists. The corresponding call is `renameat2(2)` with `RENAME_NOREPLACE`.
    package func moveWithoutReplacing(
        _ name: some PathBytes, to newName: some PathBytes, in newDirectory: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        let newRaw = newDirectory.rawValue
        do throws(SystemError) {
            try name.withCPath { (cName) throws(SystemError) in
                try newName.withCPath { (cNew) throws(SystemError) in
                    _ = try checked("renameat2", newName.displayPath) {
                        berth_renameat2(rawValue, cName, newRaw, cNew, BERTH_RENAME_NOREPLACE)
                    }
                }
            }
        } catch {
            // A sticky or immutable directory also returns EPERM, which must not be circumvented.
            guard error.meansNoSuchCall, !canRenameWithFlags else { throw error }
            let refused = error
            do throws(SystemError) {
                // rename(2) replaces at most an empty directory by a directory, and linkat(2) replaces nothing.
                if try status(of: name).kind == .directory {
                    if (try? newDirectory.status(of: newName)) != nil {  // absent: free
                        throw SystemError(call: "renameat", errno: EEXIST, subject: newName.displayPath)
                    }
                    return try move(name, to: newName, in: newDirectory)
                }
                try newDirectory.makeHardLink(newName, to: name, in: self)
                try removeFile(name)
            } catch { throw error.errno == EPERM && refused.errno == EPERM ? refused : error }
        }
    }

    /// Whether `renameat2(2)` is available. If so, an empty path is ENOENT.
    private var canRenameWithFlags: Bool {
        berth_renameat2(rawValue, "", rawValue, "", BERTH_RENAME_NOREPLACE) == 0
            || (berth_errno() != ENOSYS && berth_errno() != EPERM)
    }

    /// Renames an entry and replaces an existing one atomically. The corresponding call is `renameat(2)`.
    package func move(
        _ name: some PathBytes, to newName: some PathBytes, in newDirectory: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        let newRaw = newDirectory.rawValue
        try name.withCPath { (cName) throws(SystemError) in
            try newName.withCPath { (cNew) throws(SystemError) in
                _ = try checked("renameat", newName.displayPath) { renameat(rawValue, cName, newRaw, cNew) }
            }
        }
    }

    /// Renames a file of this directory and replaces anything with that name, including a directory.
    package func replace(_ name: some PathBytes, as newName: some PathBytes) throws(SystemError) {
        do throws(SystemError) { try move(name, to: newName, in: self) } catch {
            guard error.errno == EISDIR else { throw error }
            try removeTree(newName)
            try move(name, to: newName, in: self)
        }
    }

    /// The target of a symbolic link. The corresponding call is `readlinkat(2)`.
    package func linkTarget(_ name: some PathBytes) throws(SystemError) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 4096)
        try name.withCPath { (cPath) throws(SystemError) in
            let count = try checked("readlinkat", name.displayPath) {
                buffer.withUnsafeMutableBytes { bytes in
                    bytes.withMemoryRebound(to: CChar.self) { characters in
                        guard let start = characters.baseAddress else { return 0 }
                        return readlinkat(rawValue, cPath, start, characters.count)
                    }
                }
            }
            buffer.removeLast(buffer.count - count)
        }
        return buffer
    }

    /// The names in this directory except `.` and `..`, unsorted. The corresponding call is `getdents64(2)`.
    package func entries() throws(SystemError) -> [[UInt8]] {
        var names: [[UInt8]] = []
        try forEachEntry { names.append([UInt8]($0)) }
        return names
    }

    /// The names in a directory, unsorted; `nil` if it does not exist.
    ///
    /// - Throws: The error of an unreadable directory, with its path.
    package static func entries(of path: some PathBytes) throws(SystemError) -> [[UInt8]]? {
        do throws(SystemError) {
            return try OwnedFileDescriptor(opening: path, .readOnly | .directory).entries()
        } catch {
            if error.isAbsence { return nil }
            throw SystemError(call: error.call, errno: error.errno, subject: path.displayPath)
        }
    }

    /// The names with this prefix, unsorted.
    package func entries(startingWith prefix: StaticString) throws(SystemError) -> [String] {
        var names: [String] = []
        try forEachEntry { name in
            guard name.count >= prefix.utf8CodeUnitCount, let start = name.baseAddress,
                memcmp(start, prefix.utf8Start, prefix.utf8CodeUnitCount) == 0
            else { return }
            names.append(String(decoding: name, as: UTF8.self))
        }
        return names
    }

    private func forEachEntry(_ body: (UnsafeBufferPointer<UInt8>) -> Void) throws(SystemError) {
        // Open it again, because reading moves the offset of the open file description.
        let raw = try checked("openat", procPath) {
            berth_openat(rawValue, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        }
        guard let stream = fdopendir(raw) else {
            let error = SystemError.last("fdopendir", procPath)
            close(raw)
            throw error
        }
        defer { closedir(stream) }
        while true {
            // NULL means the end or an error, such as EIO or ESTALE on a network file system. Only errno tells them
            // apart.
            berth_set_errno(0)
            guard let entry = readdir(stream) else {
                if berth_errno() != 0 { throw SystemError.last("getdents64", procPath) }
                return
            }
            withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: UInt8.self, capacity: 256) { bytes in
                    let name = UnsafeBufferPointer(start: bytes, count: strlen(bytes))
                    if name.count <= 2, name.allSatisfy({ $0 == 0x2E }) { return }
                    body(name)
                }
            }
        }
    }
}
