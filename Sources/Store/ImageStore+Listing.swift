package import ImageSpec
package import LinuxKernel

/// An image in the store, with the names it is known by.
package struct StoredImage: Equatable, Sendable {
    package let record: LaunchRecord
    /// As a person would write them: `docker.io/library/debian:12`, `oci archive …`.
    package let names: [String]

    init(_ record: LaunchRecord, names: [String]) {
        self.record = record
        self.names = names
    }

    init(_ record: LaunchRecord, _ keys: [ImageKey]) {
        // Tags of an archive may come to the same.
        self.init(record, names: Set(keys.map { $0.display(pulledAs: record.name) }).sorted())
    }
}

extension ImageStore {
    /// Every image that is whole, the newest first. Each costs one small file to read.
    package func images() throws(StoreError) -> [StoredImage] {
        var names: [Digest: [ImageKey]] = [:]
        for naming in try namesAndDigests(includingPinned: false) {
            names[naming.digest, default: []].append(naming.key)
        }
        var images: [StoredImage] = []
        for name in try entries("images") {
            guard let (record, _) = try anyRecord("images/\(name)/record") else { continue }
            if record.isOnDiskOrOfThisBoot { images.append(StoredImage(record, names[record.digest] ?? [])) }
        }
        func place(_ image: StoredImage) -> (Int64, String, String) {
            (image.record.created, image.record.name, image.record.digest.hex)
        }
        return images.sorted { place($0) > place($1) }
    }

    /// One image, if it is here. Costs the same, however many others there are.
    package func image(_ digest: Digest) throws(StoreError) -> StoredImage? {
        guard let (record, _) = try recordForHousekeeping("images/\(digest.directoryName)/record") else { return nil }
        return StoredImage(record, try names(of: digest).filter { !$0.isPinned })
    }

    /// What an image's manifest and configuration were, for `berth inspect`.
    package func documents(of digest: Digest) throws(StoreError) -> (manifest: [UInt8], config: [UInt8])? {
        let directory = "images/" + digest.directoryName
        let manifest = try fileContents(directory + "/manifest.json", limit: DocumentLimits.maximumBytes)
        let config = try fileContents(directory + "/config.json", limit: DocumentLimits.maximumBytes)
        guard let manifest, let config else { return nil }
        return (manifest, config)
    }

    /// The names of layouts and archives that people know as `matches` says, in whatever state of the file: a name stays when
    /// the file is gone or has changed.
    package func localNames(where matches: (String) -> Bool) throws(StoreError) -> [(key: ImageKey, digest: Digest)] {
        var found: [(key: ImageKey, digest: Digest)] = []
        for naming in try namesAndDigests(includingPinned: false) where naming.key.components[0] != "docker" {
            // A name that an older version wrote is known by the image's record.
            let record = naming.key.source == nil ? try anyRecord("images/\(naming.digest.directoryName)/record") : nil
            if matches(naming.key.display(pulledAs: record?.record.name ?? "")) {
                found.append((naming.key, naming.digest))
            }
        }
        return found
    }

    /// The images whose digest begins so, in hexadecimal, as `berth images` lists them.
    package func digests(beginningWith prefix: String) throws(StoreError) -> [Digest] {
        var found: [Digest] = []
        for name in try entries("images") {
            for algorithm in Digest.Algorithm.allCases where name.hasPrefix(algorithm.rawValue + "-" + prefix) {
                let hex = name.dropFirst(algorithm.rawValue.utf8.count + 1)
                if let digest = try? Digest(parsing: "\(algorithm.rawValue):\(hex)") { found.append(digest) }  // no image
            }
        }
        return found
    }

    /// The lease of an image that is in use on this node or, where locks reach that far, on others.
    package func useLease(of digest: Digest) throws(StoreError) -> DescriptorBox? {
        let lease = try sparingDamage { () throws(StoreError) in
            try openLease("images/\(digest.directoryName)/lease")
        }
        // Without locks there is nothing to be seen.
        guard let lease, (try? lease.descriptor.isUnlocked()) == false else { return nil }
        return lease
    }

    /// Takes names of one image away; the image goes with the next `prune` when it has no other.
    package func removeNames(_ keys: [ImageKey], of digest: Digest) throws(StoreError) {
        let others = try names(of: digest).filter { !keys.contains($0) }
        // The digests were noted along with the name; by themselves they would keep the image for ever.
        let gone = keys + (others.allSatisfy(\.isPinned) ? others : [])
        for key in gone {
            // Another removal may have been faster.
            _ = try optional { () throws(SystemError) in try root.removeFile("refs/" + key.path) }
        }
    }

    /// Whether the caller owns the store. Files that root creates in a user's store are of no use to that user.
    var isCallers: Bool { (try? root.status())?.userID == Identity.userID }  // not to be told: not

    struct Naming {
        let key: ImageKey
        let digest: Digest
    }

    /// Every name in the store, each a small file to read; half of them are digests, which not everybody wants to know.
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
        for name in try storing({ () throws(SystemError) in try directory.entries() }) {
            // What begins otherwise is a directory: `ImageKey`.
            let isName = name.first == UInt8(ascii: ":") || name.first == UInt8(ascii: "@")
            if name.first == UInt8(ascii: ".") || (!includingPinned && name.first == UInt8(ascii: "@")) { continue }
            // Gone, or not what belongs there: no name. A directory that cannot be read is an error: the images whose names
            // it holds would seem to have none.
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
                let bytes = try storing { () throws(SystemError) in try place.readAll(limit: 1 << 16) }
                guard let digest = Self.digest(inName: bytes) else { continue }
                key.source = Self.source(inName: bytes)
                found.append(Naming(key: key, digest: digest))
            }
        }
    }
}

extension ImageKey {
    /// A digest rather than a tag.
    package var isPinned: Bool { components.last?.hasPrefix("@") ?? false }

    /// As a person would write it. The key of a local source says only what stat(2) said of it; where the image was
    /// first pulled from such a one, that name is told instead.
    package func display(pulledAs name: String) -> String {
        let kind = components[0]
        if let source { return source }
        // A name that an older version wrote.
        if kind != "docker", name.hasPrefix(kind + ":") { return name }
        let rest = components.dropFirst().dropLast()
        guard let last = components.last else { return kind }
        let suffix = last.hasPrefix("@") ? "@" + last.dropFirst().map { $0 == "-" ? ":" : String($0) }.joined() : last
        return (kind == "docker" ? "" : kind + ":") + rest.joined(separator: "/") + suffix
    }
}
