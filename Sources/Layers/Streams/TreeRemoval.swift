internal import CLinux
package import LinuxKernel

/// Removes whole trees by several threads of low priority: unlinking is one wait after another, for a journal or a server.
///
/// What cannot be removed stays, and the next collection tries again. Nothing may be at work in the trees.
package enum TreeRemoval {
    private static let width = 8
    /// Bytes of a path that the kernel takes at once; what lies deeper is removed by one thread at the end.
    private static let longestPath = 3500

    package static func remove(in directory: borrowing OwnedFileDescriptor, _ names: [[UInt8]]) {
        if names.isEmpty { return }
        if let copy = try? directory.duplicate() {  // no descriptor: one after the other
            let place = DescriptorBox(copy)
            // Threads inherit the priority of the one that starts them.
            let thread = try? WorkerThread(  // no thread: likewise
                niceness: 10,
                {
                    berth_lower_io_priority()
                    removeInParallel(names, place)
                })
            if let thread { thread.join() }
        }
        for name in names { try? directory.removeTree(name) }  // what is left; see above
    }

    private static func removeInParallel(_ names: [[UInt8]], _ place: DescriptorBox) {
        let crew = WorkerCrew(size: width)
        defer { crew.dismiss() }
        var levels: [[[UInt8]]] = []
        var level = names
        while !level.isEmpty {
            let paths = level
            let inner = Found()
            crew.carryOut(paths.count) { number in inner.add(empty(paths[number], place)) }
            levels.append(paths)
            level = inner.all.filter { $0.count < longestPath }
        }
        for paths in levels.reversed() {
            crew.carryOut(paths.count) { number in
                try? place.descriptor.removeDirectory(paths[number])  // not empty, or a file that is gone
            }
        }
    }

    private final class Found: @unchecked Sendable {  // under the monitor until the crew has ended
        private let monitor = Monitor()
        private(set) var all: [[UInt8]] = []

        func add(_ paths: [[UInt8]]) {
            if paths.isEmpty { return }
            monitor.lock()
            all += paths
            monitor.unlock()
        }
    }

    /// Removes what is in a directory but for directories, whose paths it returns.
    private static func empty(_ path: [UInt8], _ place: DescriptorBox) -> [[UInt8]] {
        // What fails is left for the end.
        guard let directory = open(path, place), let names = try? directory.entries() else {  // see above
            try? place.descriptor.removeFile(path)  // no directory, or closed; see above
            return []
        }
        var inner: [[UInt8]] = []
        for name in names {
            do throws(SystemError) { try directory.removeFile(name) } catch {
                if error.errno == EISDIR || error.errno == EPERM { inner.append(EntryPath.join(path, name)) }
            }
        }
        return inner
    }

    private static func open(_ path: [UInt8], _ place: DescriptorBox) -> OwnedFileDescriptor? {
        let flags = OpenFlags.readOnly | .directory | .noFollow
        var opened = try? place.descriptor.resolve(path, flags, [.beneath, .noSymlinks])  // closed to its owner, or none
        if opened == nil, let status = try? place.descriptor.status(of: path), status.kind == .directory {  // gone
            try? place.descriptor.setPermissions(of: path, 0o700)  // another user's
            opened = try? place.descriptor.open(path, flags)  // likewise, or before Linux 5.6
        }
        if let status = try? opened?.status(), status.permissions & 0o700 != 0o700 {  // likewise
            try? opened?.setPermissions(0o700)  // likewise
        }
        return opened
    }
}
