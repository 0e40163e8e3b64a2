internal import CLinux

/// Emulates openat2(2), one component at a time, for kernels and seccomp filters without it. Opens each component
/// without following links, so that concurrent changes cannot lead out of the directory.
struct PathWalk {
    private let how: ResolveFlags

    init(_ how: ResolveFlags) { self.how = how }

    func open(
        _ path: [UInt8], beneath root: borrowing OwnedFileDescriptor, _ flags: OpenFlags, mode: UInt32
    ) throws(SystemError) -> Int32 {
        func failure(_ code: Int32) -> SystemError {
            SystemError(call: "openat", errno: code, subject: path.displayPath)
        }
        guard !path.isEmpty else { throw failure(ENOENT) }
        var pending: [[UInt8]] = []
        var stack: [DescriptorBox] = []
        var links = 0
        func push(_ text: [UInt8]) throws(SystemError) {
            if text.first == UInt8(ascii: "/") {
                if how.contains(.beneath) { throw failure(EXDEV) }
                stack = []
            }
            var parts = text.split(separator: UInt8(ascii: "/")).map(Array.init)
            // A trailing slash requires a directory.
            if text.last == UInt8(ascii: "/") { parts.append([0x2E]) }
            pending += parts.reversed()
        }
        try push(path)
        while let component = pending.popLast() {
            if component == [0x2E] {
                if !pending.isEmpty { continue }
                break
            }
            if component == [0x2E, 0x2E] {
                if stack.popLast() == nil, how.contains(.beneath) { throw failure(EXDEV) }
                continue
            }
            let isLast = pending.isEmpty
            var kind: FileStatus.Kind?
            var found: DescriptorBox?
            do throws(SystemError) {
                let next = try Self.open(component, in: stack.last, or: root, .path | .noFollow, 0)
                kind = try next.status().kind
                found = DescriptorBox(next)
            } catch {
                // The caller may want to create the file; otherwise, the last call reports the error.
                if !isLast || error.errno != ENOENT { throw failure(error.errno) }
            }
            if kind == .symlink, let found, !isLast || !flags.contains(.noFollow) {
                links += 1
                if links > 40 || how.contains(.noSymlinks) { throw failure(ELOOP) }
                try push(try found.descriptor.linkTarget([UInt8]()))
                continue
            }
            if isLast {
                let opened = try Self.open(component, in: stack.last, or: root, flags | .noFollow, mode)
                return opened.released()
            }
            guard kind == .directory, let found else { throw failure(ENOTDIR) }
            stack.append(found)
        }
        return try Self.open([0x2E], in: stack.last, or: root, flags, mode).released()
    }

    private static func open(
        _ name: [UInt8], in directory: DescriptorBox?, or root: borrowing OwnedFileDescriptor, _ flags: OpenFlags,
        _ mode: UInt32
    ) throws(SystemError) -> OwnedFileDescriptor {
        if let directory { return try directory.descriptor.open(name, flags, mode: mode) }
        return try root.open(name, flags, mode: mode)
    }
}
