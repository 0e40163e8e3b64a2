internal import CLinux
package import LinuxKernel

/// Removes trees with several low-priority threads, because each unlink waits for a journal or a server.
///
/// The next collection retries what fails. A local user may own directories of the trees and rename them or add links
/// meanwhile, so all paths are resolved by descriptor, and no link is followed.
package enum TreeRemoval {
    private static let width = 8
    /// The longest path in bytes that is passed to the kernel. One thread removes deeper entries at the end.
    private static let longestPath = 3500

    package static func remove(in directory: borrowing OwnedFileDescriptor, _ names: [[UInt8]]) {
        remove(in: directory, names, beforeStep: nil)
    }

    /// - Parameter beforeStep: Called with the number of each round, so that tests can change the trees in between.
    package static func remove(
        in directory: borrowing OwnedFileDescriptor, _ names: [[UInt8]], beforeStep: (@Sendable (Int) -> Void)?
    ) {
        if names.isEmpty { return }
        if let copy = try? directory.duplicate(), let status = try? copy.status() {  // fails: use one thread below
            let place = Place(descriptor: DescriptorBox(copy), device: status.device)
            // Threads inherit the priority of their creator.
            let thread = try? WorkerThread(  // likewise
                niceness: 10,
                {
                    berth_lower_io_priority()
                    removeInParallel(names, place, beforeStep)
                })
            if let thread { thread.join() }
        }
        for name in names { try? directory.removeTree(name) }  // best effort: see above
    }

    private static func removeInParallel(_ names: [[UInt8]], _ place: Place, _ beforeStep: (@Sendable (Int) -> Void)?) {
        let pool = ThreadPool(size: width)
        defer { pool.dismiss() }
        var levels: [[[UInt8]]] = []
        var step = 0
        var level = names
        while !level.isEmpty {
            beforeStep?(step)
            step += 1
            let paths = level
            let inner = Found()
            pool.run(paths.count) { number in inner.add(empty(paths[number], place)) }
            levels.append(paths)
            level = inner.all.filter { $0.count < longestPath }
        }
        for paths in levels.reversed() {
            beforeStep?(step)
            step += 1
            pool.run(paths.count) { number in
                place.inParent(of: paths[number]) { parent, name in
                    try? parent.removeDirectory(name)  // not empty, or gone
                }
            }
        }
    }

    private final class Found: @unchecked Sendable {  // guarded by the monitor
        private let monitor = Monitor()
        private(set) var all: [[UInt8]] = []

        func add(_ paths: [[UInt8]]) {
            if paths.isEmpty { return }
            monitor.lock()
            all += paths
            monitor.unlock()
        }
    }

    /// Removes all entries of a directory except directories, whose paths it returns.
    private static func empty(_ path: [UInt8], _ place: Place) -> [[UInt8]] {
        // What fails is removed at the end.
        guard let directory = place.open(path), let names = try? directory.entries() else {  // removed at the end
            place.inParent(of: path) { parent, name in
                try? parent.removeFile(name)  // not a directory, or closed; see above
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

    /// The directory that contains the trees.
    private struct Place: Sendable {
        let descriptor: DescriptorBox
        let device: UInt64

        /// Calls `body` with the directory above a path and the path's last component.
        func inParent(of path: [UInt8], _ body: (borrowing OwnedFileDescriptor, [UInt8]) -> Void) {
            let parent = EntryPath.parent(path)
            if parent.isEmpty { return body(descriptor.descriptor, path) }
            // Missing or replaced: skip it.
            guard let opened = try? resolve(Array(parent)) else { return }  // skip it
            body(opened, Array(path[(parent.count + 1)...]))
        }

        /// Opens a directory of the tree, and makes it accessible for its owner if necessary. `nil` if it is not one.
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
            guard let directory = opened.take(), let status = try? directory.status(),  // skip it
                status.device == device, (try? directory.isMountPoint(".")) != true  // unknown: compare devices only
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
