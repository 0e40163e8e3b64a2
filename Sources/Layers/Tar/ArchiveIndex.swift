package import LinuxKernel

/// The positions of the members of an uncompressed archive file. One pass reads only the headers; each member can then
/// be read separately without unpacking the archive.
package struct ArchiveIndex: Sendable {
    private enum Member: Sendable {
        case data(Range<Int64>)
        /// The path of another member.
        case link([UInt8])
        case other
    }

    private var members: [[UInt8]: Member] = [:]

    package init(_ file: DescriptorBox, limits: UnpackLimits = UnpackLimits()) throws(LayerError) {
        let reader = TarReader(FileChunks(file), limits: limits)
        var path: [UInt8] = []
        while try reader.advance() {
            let entry = reader.entry
            try EntryPath.normalize(entry.name, into: &path, limits)
            let member: Member
            switch entry.kind {
            case .regular:
                // A sparse member is not contiguous, and no tool writes an image's files as sparse.
                guard entry.extents == nil else { throw LayerError.archive(.sparseMap).at(entry.name, entry.offset) }
                let start = Int64(clamping: reader.dataPosition)
                member = .data(start..<start + entry.size)
            case .hardLink:
                var target: [UInt8] = []
                try EntryPath.normalize(entry.linkName, into: &target, limits)
                member = .link(target)
            case .symlink:
                // In old `docker save` archives, a repeated layer is a link to the other image's file.
                var target: [UInt8] = []
                let text =
                    entry.linkName.first == EntryPath.slash
                    ? entry.linkName : EntryPath.join(Array(EntryPath.parent(path)), entry.linkName)
                try EntryPath.normalize(text, into: &target, limits)
                member = .link(target)
            default: member = .other
            }
            // A directory may occur twice. Of two files, tools take the first or the last.
            if let known = members.updateValue(member, forKey: path) {
                guard case .other = known, case .other = member else {
                    throw LayerError.archive(.memberTwice).at(entry.name, entry.offset)
                }
            }
        }
    }

    /// The position of a file by its path in the archive, following links within it; `nil` if it does not exist.
    package func range(of path: String) throws(LayerError) -> Range<Int64>? {
        var current: [UInt8] = []
        try EntryPath.normalize(Array(path.utf8), into: &current, UnpackLimits())
        for _ in 0..<40 {
            switch members[current] {
            case .data(let range): return range
            case .link(let target): current = target
            case .other, nil: return nil
            }
        }
        return nil
    }

    package var paths: [[UInt8]] { Array(members.keys) }
}
