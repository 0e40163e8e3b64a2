internal import LinuxKernel

/// An image's layers as overlayfs shows them, read without mounting them: for `--dry-run`.
struct MergedTrees {
    /// The uppermost first.
    private let trees: [String]

    /// - Parameter trees: Directories of the host, the lowest first.
    init(_ trees: [String]) { self.trees = trees.reversed() }

    /// The bytes of a regular file; empty if the image has no such file. Any other failure is an error: a lower layer's
    /// file in its place would give the process another identity.
    func contents(of path: String, limit: Int) throws(SystemError) -> [UInt8] {
        guard let place = try find(path) else { return [] }
        let file = try OwnedFileDescriptor(
            opening: place, .readOnly | .noFollow | .nonBlocking | .noControllingTerminal)
        return try file.readAll(limit: limit)
    }

    /// Where on the host the regular file is, by way of the image's own symbolic links.
    private func find(_ path: String) throws(SystemError) -> String? {
        var pending = Array(Self.components(path).reversed())
        // The directories merged so far, from the root on; each entry has the uppermost layer first.
        var way = [trees]
        var links = 0
        while let name = pending.popLast() {
            if name == ".." {
                if way.count > 1 { way.removeLast() }
                continue
            }
            switch try entry(name, in: way[way.count - 1]) {
            case .absent: return nil
            case .file(let place): return pending.isEmpty ? place : nil
            case .directory(let places): way.append(places)
            case .link(let target):
                links += 1
                guard links <= 40 else { return nil }
                if target.hasPrefix("/") { way = [trees] }
                pending += Self.components(target).reversed()
            }
        }
        return nil
    }

    private enum Entry {
        case absent
        case file(String)
        case link(String)
        case directory([String])
    }

    private func entry(_ name: String, in directories: [String]) throws(SystemError) -> Entry {
        var merged: [String] = []
        for directory in directories {
            let place = directory + "/" + name
            let status: FileStatus
            do throws(SystemError) { status = try FileStatus(of: place, followLinks: false) } catch {
                if error.errno == Errno.ENOENT { continue }  // the layer below decides
                throw error
            }
            if status.kind == .directory {
                merged.append(place)
                if directories.count > 1, try Self.isOpaque(place) { break }
                continue
            }
            // Below a directory, a file, a link or a whiteout ends the merge.
            if !merged.isEmpty { break }
            switch status.kind {
            case .regular: return .file(place)
            case .symlink:
                return .link(
                    try OwnedFileDescriptor(opening: place, .path | .noFollow).linkTarget([UInt8]()).displayPath)
            default: return .absent  // a whiteout, or what is no file of accounts
            }
        }
        return merged.isEmpty ? .absent : .directory(merged)
    }

    private static func isOpaque(_ directory: String) throws(SystemError) -> Bool {
        let opened = try OwnedFileDescriptor(opening: directory, .readOnly | .directory | .noFollow)
        for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
            if try opened.extendedAttribute(name) == [UInt8(ascii: "y")] { return true }
        }
        return false
    }

    private static func components(_ path: String) -> [String] {
        path.utf8.split(separator: UInt8(ascii: "/")).map { String(Substring($0)) }.filter { $0 != "." }
    }
}
