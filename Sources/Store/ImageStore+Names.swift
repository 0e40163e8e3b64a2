package import ImageSpec
internal import LinuxKernel

/// Finds the names of an image: files `names…` next to its record list every key that it was given. They are hints that
/// save reading every name in the store. Only `refs` decides which image a name refers to.
extension ImageStore {
    /// Written with the image. Each later addition gets its own file, so no two writers share one on any file system.
    static let noteOfNames = "names"

    /// Keys separated by NUL, which no key contains. Never empty: an empty file is the result of a power failure.
    static func note(of keys: [ImageKey]) -> [UInt8] {
        var bytes: [UInt8] = [0]
        for key in keys {
            bytes += key.path.utf8
            bytes.append(0)
        }
        return bytes
    }

    /// The names that refer to the image at present.
    package func names(of digest: Digest) throws(StoreError) -> [ImageKey] {
        let (noted, isComplete) = try notedNames(of: digest)
        // An older version wrote no notes, or a power failure left an empty one.
        guard isComplete else { return try namesAndDigests().filter { $0.digest == digest }.map(\.key) }
        var names: [ImageKey] = []
        for var key in noted {
            // A damaged name counts as absent, as in `images`.
            let bytes = try sparingDamage { () throws(StoreError) in
                try fileContents("refs/" + key.path, limit: Self.largestName)
            }
            guard let bytes, Self.digest(inName: bytes) == digest else { continue }
            key.source = Self.source(inName: bytes)
            names.append(key)
        }
        return names
    }

    /// Records the keys that are not recorded yet.
    func noteNames(_ keys: [ImageKey], of digest: Digest) throws(StoreError) {
        let (noted, _) = try notedNames(of: digest)
        let new = keys.filter { !noted.contains($0) }
        if new.isEmpty { return }
        // Absent if the image is in another store or a collection has removed it.
        _ = try optional { () throws(SystemError) in
            let file = "images/\(digest.directoryName)/\(Self.noteOfNames)-" + (try Random.hexadecimal(bytes: 8))
            try root.open(file, .writeOnly | .create | .exclusive, mode: 0o644).writeAll(Self.note(of: new))
        }
    }

    /// - Returns: The keys, and whether they include the keys that the image was published with.
    private func notedNames(of digest: Digest) throws(StoreError) -> (keys: Set<ImageKey>, isComplete: Bool) {
        let directory = "images/" + digest.directoryName
        let files = try optional { () throws(SystemError) in
            try root.open(directory, .readOnly | .directory | .noFollow).entries().map(\.displayPath)
        }
        var (keys, isComplete): (Set<ImageKey>, Bool) = ([], false)
        for file in files ?? [] where file == Self.noteOfNames || file.hasPrefix(Self.noteOfNames + "-") {
            // A damaged hint counts as lost, as after a power failure.
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
