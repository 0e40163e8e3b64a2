internal import LaunchPlanning
internal import LinuxKernel

/// The future root of the container, and every walk inside it. Nothing of a walk leaves the root: links are read and
/// followed here, one component at a time, each opened without following.
final class RootDirectory {
    let directory: DescriptorBox

    /// The file systems, by device, that are the container's own. Everywhere else nothing is made, written or removed: what
    /// is mounted there is the host's. Directories of an overlay all have its device, which no mount of the host shares.
    private var own: [UInt64] = []
    private var treeDevice: UInt64?

    /// - Parameter isTree: Whether this is a directory of the host itself, shown read-only.
    init(_ descriptor: consuming OwnedFileDescriptor, isTree: Bool = false) throws(SystemError) {
        directory = DescriptorBox(descriptor)
        let device = try directory.descriptor.status().device
        if isTree { treeDevice = device } else { own.append(device) }
    }

    /// A file system that the launcher has made is mounted there.
    func owns(_ place: Place) throws(StepFailure) {
        let device = try system { () throws(SystemError) in try place.box.descriptor.status().device }
        if !own.contains(device) { own.append(device) }
    }

    /// Comes before everything that makes, writes or removes an entry.
    func requireOwn(_ entry: Entry, _ path: String) throws(StepFailure) { try requireOwn(entry.directory, path) }

    private func requireOwn(_ directory: borrowing OwnedFileDescriptor, _ path: String) throws(StepFailure) {
        let device: UInt64
        do throws(SystemError) { device = try directory.status().device } catch { throw .system(error) }
        if own.contains(device) { return }
        throw device == treeDevice ? .targetMissing(path) : .belowMount(path)
    }

    /// The directory of the last walk, and the path that led to it: a /dev is filled entry by entry.
    private var lastParent: DescriptorBox?
    private var lastParentPath = ""

    struct Place {
        let box: DescriptorBox
        let isDirectory: Bool
    }

    /// A mount has covered a directory: perhaps the one of the last walk, by whatever name, or one above it.
    func forget() { lastParent = nil }

    enum Creating: Equatable {
        case nothing
        case directory(mode: UInt32)
        case file
    }

    /// The place that `path` names inside, made where it is missing if `creating` says so.
    ///
    /// - Throws: `StepFailure.leavesRoot` where a link climbs above the root: such an image expects to be looked at from
    ///   outside, and a mount would land where nobody meant it.
    func place(_ path: String, creating: Creating, belowMounts: Bool = false) throws(StepFailure) -> Place {
        if let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")), slash != path.startIndex {
            let parent = String(path[..<slash])
            let name = String(path[path.utf8.index(after: slash)...]).kernelBytes
            if let last = lastParent, lastParentPath == parent,
                let place = try fresh(name, of: last, creating, path)
            {
                return place
            }
        }
        if let place = present(path) { return place }
        return try walk(path, creating: creating, belowMounts: belowMounts)
    }

    /// The common case of a place that is there, with no link on the way to it: one call of the kernel's.
    private func present(_ path: String) -> Place? {
        // `/` itself and what climbs or stands still on the way must be known as such.
        guard path.utf8.count > 1, !Self.hasDots(path) else { return nil }
        do throws(SystemError) {
            let found = try directory.descriptor.resolve(path, .path, .inRootWithoutLinks)
            let kind = try found.status().kind
            return Place(box: DescriptorBox(found), isDirectory: kind == .directory)
        } catch {
            return nil  // absent, behind a link, or an old kernel: the walk finds out
        }
    }

    private static func hasDots(_ path: String) -> Bool {
        var previous = UInt8(ascii: "/")
        for byte in path.utf8 {
            if byte == UInt8(ascii: "."), previous == UInt8(ascii: "/") { return true }
            previous = byte
        }
        return previous == UInt8(ascii: "/")
    }

    /// The common case of an entry that is not there yet, in a directory that has been walked to already.
    private func fresh(
        _ name: [UInt8], of directory: DescriptorBox, _ creating: Creating, _ path: String
    ) throws(StepFailure) -> Place? {
        guard creating != .nothing, !name.isEmpty, name != [0x2E], name != [0x2E, 0x2E],
            (try? requireOwn(directory.descriptor, path)) != nil  // the walk says why not
        else { return nil }
        do throws(SystemError) {
            if case .directory(let mode) = creating {
                try directory.descriptor.makeDirectory(name, mode: mode)
                let made = try directory.descriptor.open(name, .path | .directory | .noFollow)
                return Place(box: DescriptorBox(made), isDirectory: true)
            }
            let file = try directory.descriptor.open(name, .writeOnly | .create | .exclusive | .noFollow, mode: 0o644)
            return Place(box: DescriptorBox(file), isDirectory: false)
        } catch {
            return nil  // there already, or not to be made: the walk finds out which
        }
    }

    private func walk(_ path: String, creating: Creating, belowMounts: Bool = false) throws(StepFailure) -> Place {
        var pending = Self.components(path.kernelBytes)[...]
        var stack: [DescriptorBox] = []
        var links = 0
        var lastLink: String?
        while let component = pending.popFirst() {
            if component == [0x2E] { continue }
            if component == [0x2E, 0x2E] {
                guard stack.popLast() != nil else { throw .leavesRoot(path: path, link: lastLink) }
                continue
            }
            let directory = stack.last ?? self.directory
            let next = try entered(component, of: directory, isLast: pending.isEmpty, creating, belowMounts, path)
            // With a slash at its end the path would be taken for the directory's own.
            if pending.isEmpty, lastLink == nil, path.utf8.last != UInt8(ascii: "/"),
                let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
            {
                (lastParent, lastParentPath) = (directory, String(path[..<slash]))
            }
            switch next.kind {
            case .symlink:
                links += 1
                guard links <= 40 else { throw .tooManyLinks(path) }
                let target = try system { () throws(SystemError) in try next.box.descriptor.linkTarget([UInt8]()) }
                lastLink = target.displayPath
                if target.first == UInt8(ascii: "/") { stack.removeAll() }
                pending = Self.components(target)[...] + pending
            case .directory:
                stack.append(next.box)
            default:
                guard pending.isEmpty else { throw .notADirectory(path) }
                return Place(box: next.box, isDirectory: false)
            }
        }
        return Place(box: stack.last ?? directory, isDirectory: true)
    }

    private static func components(_ path: [UInt8]) -> [[UInt8]] {
        var components: [[UInt8]] = []
        var component: [UInt8] = []
        for byte in path + [UInt8(ascii: "/")] {
            if byte != UInt8(ascii: "/") {
                component.append(byte)
            } else if !component.isEmpty {
                components.append(component)
                component = []
            }
        }
        return components
    }

    /// A name in a directory.
    struct Entry {
        private let box: DescriptorBox
        let name: String
        var directory: OwnedFileDescriptor { _read { yield box.descriptor } }

        init(directory: DescriptorBox, name: String) {
            box = directory
            self.name = name
        }
    }

    /// The directory that holds the last component of `path`, and that component.
    func parent(of path: String, creating: Creating) throws(StepFailure) -> Entry {
        var end = path.utf8.endIndex
        while end > path.utf8.startIndex, path.utf8[path.utf8.index(before: end)] == UInt8(ascii: "/") {
            end = path.utf8.index(before: end)
        }
        let whole = path[..<end]
        let slash = whole.utf8.lastIndex(of: UInt8(ascii: "/"))
        let last = String(slash.map { whole[whole.utf8.index(after: $0)...] } ?? whole)
        guard !last.isEmpty, last != "..", last != "." else { throw .leavesRoot(path: path, link: nil) }
        let directory = slash.map { $0 == whole.startIndex ? "/" : String(whole[..<$0]) } ?? "/"
        if directory == "/" { return Entry(directory: self.directory, name: last) }
        if let known = lastParent, lastParentPath == directory { return Entry(directory: known, name: last) }
        let parent = try walk(directory, creating: creating)
        guard parent.isDirectory else { throw .notADirectory(path) }
        (lastParent, lastParentPath) = (parent.box, directory)
        return Entry(directory: parent.box, name: last)
    }

    /// A file's bytes, or nothing where there is none: an image's /etc/passwd may be a FIFO, a device or a link.
    func contents(of path: String) throws(StepFailure) -> [UInt8] {
        do throws(SystemError) {
            let file = try directory.descriptor.resolve(path, .readOnly | .nonBlocking | .noControllingTerminal)
            guard try file.status().kind == .regular else { return [] }
            return try file.readAll(limit: AccountFiles.limit)
        } catch {
            if error.errno == Errno.EFBIG { throw .fileTooLarge("/" + path, limit: AccountFiles.limit) }
            if error.errno == Errno.ENOENT || error.errno == Errno.ENOTDIR || error.errno == Errno.ELOOP { return [] }
            throw .system(error)
        }
    }

    /// Whether a path inside leads to anything.
    func isThere(_ path: String) -> Bool {
        (try? directory.descriptor.resolve(path, .path)) != nil  // absent is the answer
    }

    /// Puts a regular file at `path`, in place of whatever entry has the name.
    func write(_ bytes: [UInt8], to path: String, mode: UInt32) throws(StepFailure) {
        let entry = try parent(of: path, creating: .directory(mode: 0o755))
        try requireOwn(entry, path)
        try system { () throws(SystemError) in
            let file = try Self.emptyFile(entry, mode: mode)
            try file.writeAll(bytes)
        }
    }

    /// Truncating what is there spares overlayfs a whiteout; a link, FIFO or device gives way to a file.
    private static func emptyFile(_ entry: Entry, mode: UInt32) throws(SystemError) -> OwnedFileDescriptor {
        do throws(SystemError) {
            let file = try entry.directory.open(
                entry.name, .writeOnly | .create | .truncate | .noFollow | .nonBlocking | .noControllingTerminal,
                mode: mode)
            if try file.status().kind == .regular { return file }
        } catch {
            // ELOOP, ENXIO, EISDIR and the like: not a regular file.
            if error.errno == Errno.EROFS || error.errno == Errno.ENOSPC { throw error }
        }
        try entry.directory.removeTree(entry.name)
        return try entry.directory.open(entry.name, .writeOnly | .create | .exclusive | .noFollow, mode: mode)
    }

    private struct Entered {
        let box: DescriptorBox
        let kind: FileStatus.Kind
    }

    private func entered(
        _ component: [UInt8], of directory: DescriptorBox, isLast: Bool, _ creating: Creating, _ belowMounts: Bool,
        _ path: String
    ) throws(StepFailure) -> Entered {
        do throws(SystemError) {
            let found = DescriptorBox(try directory.descriptor.open(component, .path | .noFollow))
            return Entered(box: found, kind: try found.descriptor.status().kind)
        } catch {
            guard error.errno == Errno.ENOENT else { throw failure(error, path) }
        }
        guard creating != .nothing else { throw .targetMissing(path) }
        if !belowMounts { try requireOwn(directory.descriptor, path) }
        do throws(SystemError) {
            if isLast, creating == .file {
                let file = try directory.descriptor.open(
                    component, .writeOnly | .create | .exclusive | .noFollow, mode: 0o644)
                return Entered(box: DescriptorBox(file), kind: .regular)
            }
            var mode: UInt32 = 0o755
            if isLast, case .directory(let wanted) = creating { mode = wanted }
            try directory.descriptor.makeDirectory(component, mode: mode)
            let made = DescriptorBox(try directory.descriptor.open(component, .path | .directory | .noFollow))
            return Entered(box: made, kind: .directory)
        } catch {
            throw error.errno == Errno.EROFS ? .targetMissing(path) : failure(error, path)
        }
    }

    private func failure(_ error: SystemError, _ path: String) -> StepFailure {
        error.errno == Errno.ENOTDIR
            ? .notADirectory(path) : .system(SystemError(call: error.call, errno: error.errno, subject: path))
    }
}

/// Names a system error as a step's failure.
func system<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(StepFailure) -> Value {
    do throws(SystemError) { return try body() } catch { throw .system(error) }
}
