internal import CLinux
package import LinuxKernel

/// Removes whole trees by several threads of low priority: unlinking is one wait after another, for a journal or a server.
///
/// What cannot be removed stays, and the next collection tries again. Directories of the trees may be a local user's, who
/// renames them meanwhile and puts links there: everything is reached by descriptors, and no link is followed.
package enum TreeRemoval {
    private static let width = 8
    /// Bytes of a path that the kernel takes at once; what lies deeper is removed by one thread at the end.
    private static let longestPath = 3500

    package static func remove(in directory: borrowing OwnedFileDescriptor, _ names: [[UInt8]]) {
        remove(in: directory, names, beforeStep: nil)
    }

    /// - Parameter beforeStep: Told the number of each round, for tests that change the trees in between.
    package static func remove(
        in directory: borrowing OwnedFileDescriptor, _ names: [[UInt8]], beforeStep: (@Sendable (Int) -> Void)?
    ) {
        if names.isEmpty { return }
        if let copy = try? directory.duplicate(), let status = try? copy.status() {  // none: one after the other
            let place = Place(descriptor: DescriptorBox(copy), device: status.device)
            // Threads inherit the priority of the one that starts them.
            let thread = try? WorkerThread(  // no thread: likewise
                niceness: 10,
                {
                    berth_lower_io_priority()
                    removeInParallel(names, place, beforeStep)
                })
            if let thread { thread.join() }
        }
        for name in names { try? directory.removeTree(name) }  // what is left; see above
    }

    private static func removeInParallel(_ names: [[UInt8]], _ place: Place, _ beforeStep: (@Sendable (Int) -> Void)?) {
        let crew = WorkerCrew(size: width)
        defer { crew.dismiss() }
        var levels: [[[UInt8]]] = []
        var step = 0
        var level = names
        while !level.isEmpty {
            beforeStep?(step)
            step += 1
            let paths = level
            let inner = Found()
            crew.carryOut(paths.count) { number in inner.add(empty(paths[number], place)) }
            levels.append(paths)
            level = inner.all.filter { $0.count < longestPath }
        }
        for paths in levels.reversed() {
            beforeStep?(step)
            step += 1
            crew.carryOut(paths.count) { number in
                place.inParent(of: paths[number]) { parent, name in
                    try? parent.removeDirectory(name)  // not empty, or a file that is gone
                }
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
    private static func empty(_ path: [UInt8], _ place: Place) -> [[UInt8]] {
        // What fails is left for the end.
        guard let directory = place.open(path), let names = try? directory.entries() else {
            place.inParent(of: path) { parent, name in
                try? parent.removeFile(name)  // no directory, or closed; see above
            }
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

    /// The directory that the trees are in.
    private struct Place: Sendable {
        let descriptor: DescriptorBox
        let device: UInt64

        /// Calls with the directory above a path, and the path's last component.
        func inParent(of path: [UInt8], _ body: (borrowing OwnedFileDescriptor, [UInt8]) -> Void) {
            let parent = EntryPath.parent(path)
            if parent.isEmpty { return body(descriptor.descriptor, path) }
            // Gone or exchanged: left alone.
            guard let opened = try? resolve(Array(parent)) else { return }
            body(opened, Array(path[(parent.count + 1)...]))
        }

        /// `nil` where it is none, or not the tree's; opened up for its owner where it is.
        func open(_ path: [UInt8]) -> OwnedFileDescriptor? {
            var opened: OwnedFileDescriptor?
            do throws(SystemError) { opened = try resolve(path) } catch {
                if error.errno != EACCES { return nil }
                inParent(of: path) { parent, name in
                    guard let status = try? parent.status(of: name), status.kind == .directory,  // gone
                        status.device == device
                    else { return }
                    try? parent.setPermissions(of: name, 0o700)  // another user's
                }
                opened = try? resolve(path)  // likewise
            }
            guard let directory = opened.take(), let status = try? directory.status(),  // left alone
                status.device == device, (try? directory.isMountPoint(".")) != true  // the device counts
            else { return nil }
            if status.permissions & 0o700 != 0o700 {
                try? directory.setPermissions(0o700)  // another user's
            }
            return directory
        }

        private func resolve(_ path: [UInt8]) throws(SystemError) -> OwnedFileDescriptor {
            try descriptor.descriptor.resolve(
                path, .readOnly | .directory | .noFollow, [.beneath, .noSymlinks])
        }
    }
}
