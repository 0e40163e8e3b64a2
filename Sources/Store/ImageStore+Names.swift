package import ImageSpec
internal import LinuxKernel

/// From an image to its names: beside its record, files named `names…` hold the keys that it was ever given. They are
/// hints, so that nobody has to read every name in the store to find those of one image; what a name stands for is in
/// `refs` alone.
extension ImageStore {
    /// Written with the image. Further names have files of their own: no two writers meet, on any file system.
    static let noteOfNames = "names"

    /// Keys between NULs, which can occur in none of them; never empty, as only a power cut leaves a file.
    static func note(of keys: [ImageKey]) -> [UInt8] {
        var bytes: [UInt8] = [0]
        for key in keys {
            bytes += key.path.utf8
            bytes.append(0)
        }
        return bytes
    }

    /// The names that stand for the image at present.
    package func names(of digest: Digest) throws(StoreError) -> [ImageKey] {
        let (noted, isComplete) = try notedNames(of: digest)
        // An image of a berth that made no notes, or a note that a power cut left empty.
        guard isComplete else { return try namesAndDigests().filter { $0.digest == digest }.map(\.key) }
        var names: [ImageKey] = []
        for var key in noted {
            // Damaged: no name, as for `images`.
            let bytes = try sparingDamage { () throws(StoreError) in
                try fileContents("refs/" + key.path, limit: Self.largestName)
            }
            guard let bytes, Self.digest(inName: bytes) == digest else { continue }
            key.source = Self.source(inName: bytes)
            names.append(key)
        }
        return names
    }

    /// Adds what is not noted yet.
    func noteNames(_ keys: [ImageKey], of digest: Digest) throws(StoreError) {
        let (noted, _) = try notedNames(of: digest)
        let new = keys.filter { !noted.contains($0) }
        if new.isEmpty { return }
        // Not there: the image is another store's, or a collection was faster.
        _ = try optional { () throws(SystemError) in
            let file = "images/\(digest.directoryName)/\(Self.noteOfNames)-" + (try Random.hexadecimal(bytes: 8))
            try root.open(file, .writeOnly | .create | .exclusive, mode: 0o644).writeAll(Self.note(of: new))
        }
    }

    /// - Returns: The keys, and whether those are among them that the image was published with.
    private func notedNames(of digest: Digest) throws(StoreError) -> (keys: Set<ImageKey>, isComplete: Bool) {
        let directory = "images/" + digest.directoryName
        let files = try optional { () throws(SystemError) in
            try root.open(directory, .readOnly | .directory | .noFollow).entries().map(\.displayPath)
        }
        var (keys, isComplete): (Set<ImageKey>, Bool) = ([], false)
        for file in files ?? [] where file == Self.noteOfNames || file.hasPrefix(Self.noteOfNames + "-") {
            // Damaged: hints that are lost, as after a power cut.
            let bytes = try sparingDamage { () throws(StoreError) in
                try fileContents(directory + "/" + file, limit: 4 << 20)
            }
            for path in (bytes ?? []).split(separator: 0) {
                let components = path.split(separator: UInt8(ascii: "/")).map { String(decoding: $0, as: UTF8.self) }
                if let key = ImageKey(components: components) { keys.insert(key) }
            }
            if file == Self.noteOfNames, bytes?.last == 0 { isComplete = true }
        }
        return (keys, isComplete)
    }
}
