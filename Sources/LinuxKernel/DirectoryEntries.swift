internal import CLinux

/// Making, linking and removing entries beneath a directory descriptor. `name` is one component or a path that the
/// caller has already resolved: these calls do not guard against links in the middle of it.
extension OwnedFileDescriptor {
    /// The corresponding call is `mkdirat(2)`.
    package func makeDirectory(_ name: some PathBytes, mode: UInt32) throws(SystemError) {
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("mkdirat", name.displayPath) { mkdirat(rawValue, cPath, mode) }
        }
    }

    /// The corresponding call is `symlinkat(2)`; the target is stored as it is.
    package func makeSymlink(_ name: some PathBytes, to target: some PathBytes) throws(SystemError) {
        try name.withCPath { (cName) throws(SystemError) in
            try target.withCPath { (cTarget) throws(SystemError) in
                _ = try checked("symlinkat", name.displayPath) { symlinkat(cTarget, rawValue, cName) }
            }
        }
    }

    /// A second name for `target` in `targetDirectory`; a link itself is linked, never what it points to.
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

    /// The mark by which overlayfs hides a lower entry: a character device 0:0, which needs no privilege since
    /// Linux 5.8. The corresponding call is `mknodat(2)`.
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

    /// Removes a whole tree without following links and without crossing into it by path; directories that their
    /// owner may not enter are opened up first. What is already gone is no error.
    ///
    /// A tree may be deeper than a process may have files open: what lies too deep is moved up beside it first.
    /// Of a path of several components the last one's directory counts as this one: it may be on another file system.
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

    /// A path's directory and its last component; `nil` for a single component.
    private static func split(_ path: some PathBytes) -> (directory: [UInt8], last: [UInt8])? {
        var bytes: [UInt8] = []
        do throws(SystemError) {
            try path.withCPath { cPath in
                bytes = UnsafeBufferPointer(start: cPath, count: strlen(cPath)).map { UInt8(bitPattern: $0) }
            }
        } catch { return nil }  // no path: the call that it is given to says so
        guard let slash = bytes.lastIndex(of: 0x2F), slash + 1 < bytes.count else { return nil }
        return (Array(bytes[...slash]), Array(bytes[(slash + 1)...]))
    }

    /// Levels of directories that are open at once.
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
        // Something is mounted there, which is not the tree's.
        var isOther = try status.device != top.status().device
        if let isMount = try? directory.isMountPoint("."), isMount { isOther = true }  // not to be told: the device counts
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

    /// Moves an entry, refusing to replace one. The corresponding call is `renameat2(2)` with `RENAME_NOREPLACE`.
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
            // EPERM is also the answer of a sticky or unchangeable directory, which is not to be got round.
            guard error.meansNoSuchCall, !canRenameWithFlags else { throw error }
            let refused = error
            do throws(SystemError) {
                // A directory replaces at most an empty one, and a link of a file nothing.
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

    /// Whether `renameat2(2)` gets as far as its arguments, which are wrong here: an empty path is ENOENT.
    private var canRenameWithFlags: Bool {
        berth_renameat2(rawValue, "", rawValue, "", BERTH_RENAME_NOREPLACE) == 0
            || (berth_errno() != ENOSYS && berth_errno() != EPERM)
    }

    /// Moves an entry, replacing atomically what was there. The corresponding call is `renameat(2)`.
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

    /// Moves a file of this directory over whatever has the name, a directory too.
    package func replace(_ name: some PathBytes, as newName: some PathBytes) throws(SystemError) {
        do throws(SystemError) { try move(name, to: newName, in: self) } catch {
            guard error.errno == EISDIR else { throw error }
            try removeTree(newName)
            try move(name, to: newName, in: self)
        }
    }

    /// Where a link points. The corresponding call is `readlinkat(2)`.
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

    /// The names in this directory but `.` and `..`, in no order. The corresponding call is `getdents64(2)`.
    package func entries() throws(SystemError) -> [[UInt8]] {
        var names: [[UInt8]] = []
        try forEachEntry { names.append([UInt8]($0)) }
        return names
    }

    /// The names in a directory, in no order; `nil` where there is no such directory.
    ///
    /// - Throws: What keeps it from being read, with the directory's path.
    package static func entries(of path: some PathBytes) throws(SystemError) -> [[UInt8]]? {
        do throws(SystemError) {
            return try OwnedFileDescriptor(opening: path, .readOnly | .directory).entries()
        } catch {
            if error.isAbsence { return nil }
            throw SystemError(call: error.call, errno: error.errno, subject: path.displayPath)
        }
    }

    /// The names that begin so, in no order.
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
        // A fresh description: reading moves an offset that the owner of this one may be using.
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
            // NULL is the end or an error, such as EIO or ESTALE on a network file system; only errno distinguishes them.
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
