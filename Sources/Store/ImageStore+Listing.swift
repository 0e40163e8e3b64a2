package import ImageSpec
package import LinuxKernel

/// An image in the store with its names.
package struct StoredImage: Equatable, Sendable {
    package let record: LaunchRecord
    /// The names as a user would write them: `docker.io/library/debian:12`, `oci archive …`.
    package let names: [String]
    /// Seconds since 1970, to the day.
    package let lastUse: Int64

    init(_ record: LaunchRecord, names: [String], lastUse: Int64? = nil) {
        self.record = record
        self.names = names
        self.lastUse = lastUse ?? record.created
    }

    init(_ record: LaunchRecord, _ keys: [ImageKey], lastUse: Int64) {
        // Several tags of an archive may have the same display name.
        self.init(record, names: Set(keys.map { $0.display(pulledAs: record.name) }).sorted(), lastUse: lastUse)
    }
}

extension ImageStore {
    /// All complete images, newest first. Reads one small file per image.
    package func images() throws(StoreError) -> [StoredImage] {
        var names: [Digest: [ImageKey]] = [:]
        for naming in try namesAndDigests(includingPinned: false) {
            names[naming.digest, default: []].append(naming.key)
        }
        var images: [StoredImage] = []
        for name in try entries("images") {
            guard let (record, lastUse) = try recordForHousekeeping("images/\(name)/record") else { continue }
            images.append(StoredImage(record, names[record.digest] ?? [], lastUse: lastUse))
        }
        func place(_ image: StoredImage) -> (Int64, String, String) {
            (image.record.created, image.record.name, image.record.digest.hex)
        }
        return images.sorted { place($0) > place($1) }
    }

    /// One image, or `nil` if it is missing. The cost does not depend on the number of images.
    package func image(_ digest: Digest) throws(StoreError) -> StoredImage? {
        guard let (record, lastUse) = try recordForHousekeeping("images/\(digest.directoryName)/record") else {
            return nil
        }
        return StoredImage(record, try names(of: digest).filter { !$0.isPinned }, lastUse: lastUse)
    }

    /// The manifest and the configuration of an image, for `berth inspect`.
    package func documents(of digest: Digest) throws(StoreError) -> (manifest: [UInt8], config: [UInt8])? {
        let directory = "images/" + digest.directoryName
        let manifest = try fileContents(directory + "/manifest.json", limit: DocumentLimits.maximumBytes)
        let config = try fileContents(directory + "/config.json", limit: DocumentLimits.maximumBytes)
        guard let manifest, let config else { return nil }
        return (manifest, config)
    }

    /// The names of layouts and archives whose display name satisfies `matches`. Names of changed or deleted files are
    /// included.
    package func localNames(where matches: (String) -> Bool) throws(StoreError) -> [(key: ImageKey, digest: Digest)] {
        var found: [(key: ImageKey, digest: Digest)] = []
        for naming in try namesAndDigests(includingPinned: false) where naming.key.components[0] != "docker" {
            // Older versions did not write the source into the name, but the image's record has it.
            let record = naming.key.source == nil ? try anyRecord("images/\(naming.digest.directoryName)/record") : nil
            if matches(naming.key.display(pulledAs: record?.record.name ?? "")) {
                found.append((naming.key, naming.digest))
            }
        }
        return found
    }

    /// The images whose hexadecimal digest begins with `prefix`, as `berth images` lists them.
    package func digests(beginningWith prefix: String) throws(StoreError) -> [Digest] {
        var found: [Digest] = []
        for name in try entries("images") {
            for algorithm in Digest.Algorithm.allCases where name.hasPrefix(algorithm.rawValue + "-" + prefix) {
                let hex = name.dropFirst(algorithm.rawValue.utf8.count + 1)
                if let digest = try? Digest(parsing: "\(algorithm.rawValue):\(hex)") {  // no image
                    found.append(digest)
                }
            }
        }
        return found
    }

    /// The lease of an image that is in use on this node or, if locks work across nodes, on another.
    package func useLease(of digest: Digest) throws(StoreError) -> DescriptorBox? {
        try useLease(ofPlace: "images/\(digest.directoryName)")
    }

    /// - Parameter place: `images/sha256-…` or `squashfs/…`.
    func useLease(ofPlace place: String) throws(StoreError) -> DescriptorBox? {
        let lease = try sparingDamage { () throws(StoreError) in try openLease(place + "/lease") }
        // A file system without locks shows no uses.
        guard let lease, (try? lease.descriptor.isUnlocked()) == false else { return nil }  // no locks
        return lease
    }

    /// Removes names of one image. The next `prune` removes the image if it has no other name.
    package func removeNames(_ keys: [ImageKey], of digest: Digest) throws(StoreError) {
        let others = try names(of: digest).filter { !keys.contains($0) }
        // A pull also recorded the digest as a name. Alone, it would keep the image forever.
        let gone = keys + (others.allSatisfy(\.isPinned) ? others : [])
        for key in gone {
            // Another process may have removed it already.
            _ = try optional { () throws(SystemError) in try root.removeFile("refs/" + key.path) }
        }
    }

    /// Whether the caller owns the store. Root must not create files in a user's store that the user cannot replace.
    var isCallers: Bool { (try? root.status())?.userID == Identity.userID }  // unreadable: assume not

    struct Naming {
        let key: ImageKey
        let digest: Digest
    }

    /// Reads every name in the store, one small file each. Half of them are digests, which `includingPinned` skips.
    func namesAndDigests(includingPinned: Bool = true) throws(StoreError) -> [Naming] {
        var found: [Naming] = []
        let top = try optional { () throws(SystemError) in
            try root.open("refs", .readOnly | .directory | .noFollow)
        }
        if let top { try collectNames(in: top, [], includingPinned, into: &found) }
        return found
    }

    private func collectNames(
        in directory: borrowing OwnedFileDescriptor, _ components: [String], _ includingPinned: Bool,
        into found: inout [Naming]
    ) throws(StoreError) {
        for name in try mapError({ () throws(SystemError) in try directory.entries() }) {
            // Other entries are directories: see `ImageKey`.
            let isName = name.first == UInt8(ascii: ":") || name.first == UInt8(ascii: "@")
            if name.first == UInt8(ascii: ".") || (!includingPinned && name.first == UInt8(ascii: "@")) { continue }
            // Skip entries that are gone or have the wrong type. An unreadable directory is an error, because the
            // images named below it would seem to have no name.
            guard let status = try optional({ () throws(SystemError) in try directory.status(of: name) }),
                fault(status, isName ? .regular : .directory) == nil,
                let place = try optional({ () throws(SystemError) in
                    try directory.open(name, isName ? .readOnly | .noFollow | .nonBlocking : .readOnly | .directory)
                })
            else { continue }
            let inner = components + [name.displayPath]
            if !isName {
                try collectNames(in: place, inner, includingPinned, into: &found)
            } else if status.size <= Self.largestName, var key = ImageKey(components: inner) {
                let bytes = try mapError { () throws(SystemError) in try place.readAll(limit: 1 << 16) }
                guard let digest = Self.digest(inName: bytes) else { continue }
                key.source = Self.source(inName: bytes)
                found.append(Naming(key: key, digest: digest))
            }
        }
    }
}

extension ImageKey {
    /// Whether the key names a digest rather than a tag.
    package var isPinned: Bool { components.last?.hasPrefix("@") ?? false }

    /// The name as a user would write it. The key of a local source contains only stat(2) fields, so `name` is used if
    /// the image was first pulled from a source of that kind.
    package func display(pulledAs name: String) -> String {
        let kind = components[0]
        if let source { return source }
        // An older version wrote the key without the source.
        if kind != "docker", name.hasPrefix(kind + ":") { return name }
        let rest = components.dropFirst().dropLast()
        guard let last = components.last else { return kind }
        let suffix = last.hasPrefix("@") ? "@" + last.dropFirst().map { $0 == "-" ? ":" : String($0) }.joined() : last
        return (kind == "docker" ? "" : kind + ":") + rest.joined(separator: "/") + suffix
    }
}
