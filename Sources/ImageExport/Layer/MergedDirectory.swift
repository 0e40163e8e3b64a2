internal import LinuxKernel

/// What overlayfs leaves in an upper directory besides files.
enum OverlayMarks {
    /// A lower entry is hidden by a character device 0:0, or by an empty file with an attribute.
    static func isWhiteout(
        _ name: [UInt8], _ status: FileStatus, in directory: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> Bool {
        if status.kind == .characterDevice { return status.majorNumber == 0 && status.minorNumber == 0 }
        guard status.kind == .regular, status.size == 0 else { return false }
        let file = try directory.open(name, [.readOnly, .noFollow, .nonBlocking])
        for name in ["user.overlay.whiteout", "trusted.overlay.whiteout"] {
            if try attribute(name, of: file) != nil { return true }
        }
        return false
    }

    /// Whether nothing of lower directories shows through.
    static func isOpaque(_ directory: borrowing OwnedFileDescriptor) throws(SystemError) -> Bool {
        for name in ["user.overlay.opaque", "trusted.overlay.opaque"] {
            if try attribute(name, of: directory) == [UInt8(ascii: "y")] { return true }
        }
        return false
    }

    /// `nil` too where the file system knows no attributes, or not those of this kind.
    private static func attribute(
        _ name: String, of file: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> [UInt8]? {
        do throws(SystemError) { return try file.extendedAttribute(name) } catch {
            if [Errno.EPERM, Errno.EOPNOTSUPP].contains(error.errno) { return nil }
            throw error
        }
    }
}

/// A directory of several trees as overlayfs shows it, read beneath descriptors and without a mount.
struct MergedDirectory: Sendable {
    /// The uppermost first, down to an opaque one.
    private let directories: [DescriptorBox]

    /// - Parameter trees: The lowest first.
    init(trees: [String]) throws(SystemError) {
        var opened: [DescriptorBox] = []
        for tree in trees.reversed() {
            opened.append(DescriptorBox(try OwnedFileDescriptor(opening: tree, [.readOnly, .directory])))
        }
        directories = opened
    }

    private init(_ directories: [DescriptorBox]) { self.directories = directories }

    /// What is there, by name.
    func entries() throws(SystemError) -> [[UInt8]: FileStatus] {
        var found: [[UInt8]: FileStatus] = [:]
        var hidden: Set<[UInt8]> = []
        for directory in directories {
            for name in try directory.descriptor.entries() where found[name] == nil && !hidden.contains(name) {
                let status = try directory.descriptor.status(of: name)
                if try OverlayMarks.isWhiteout(name, status, in: directory.descriptor) {
                    hidden.insert(name)
                } else {
                    found[name] = status
                }
            }
        }
        return found
    }

    func directory(_ name: [UInt8]) throws(SystemError) -> MergedDirectory {
        var merged: [DescriptorBox] = []
        for directory in directories {
            do throws(SystemError) {
                let inner = try directory.descriptor.open(name, [.readOnly, .directory, .noFollow])
                merged.append(DescriptorBox(inner))
            } catch {
                if error.errno == Errno.ENOENT { continue }
                // A file, a link or a whiteout: the merge ends above it.
                if error.errno == Errno.ENOTDIR || error.errno == Errno.ELOOP { break }
                throw error
            }
            if try OverlayMarks.isOpaque(merged[merged.count - 1].descriptor) { break }
        }
        return MergedDirectory(merged)
    }
}

extension FileStatus {
    /// Whether overlayfs shows the lower entry itself. A copied-up entry has the time of the copy as its status change
    /// time, which no call can set back. A directory that was not copied up has no changes below it, because overlayfs
    /// copies all parents of a change.
    func isUncopied(_ lower: FileStatus) -> Bool {
        kind == lower.kind && changed == lower.changed && modified == lower.modified
            && (kind == .directory || size == lower.size)
    }
}
