internal import FoundationEssentials
internal import Distribution
internal import Hashing
package import ImageSpec
package import Layers
internal import LinuxKernel

/// An archive of `docker save`, `podman save` or a builder: a tar with a `manifest.json` that lists a configuration and
/// layers by path. Layers may be links to layers of other images, or compressed with gzip under any name.
package final class DockerArchiveOrigin: ImageOrigin {
    private let files: ArchiveFiles
    private let tag: String?
    private let entry: Entry

    private struct Entry: Decodable {
        let config: String
        let repoTags: [String]?
        let layers: [String]?

        enum CodingKeys: String, CodingKey { case config = "Config", repoTags = "RepoTags", layers = "Layers" }
    }

    /// `docker-archive:FILE[:TAG]`. The tag may be a full reference.
    package init(_ path: String, tag: String?) throws(PullError) {
        files = try ArchiveFiles(path)
        self.tag = tag
        guard let bytes = try files.contents(of: "manifest.json") else { throw files.missing("manifest.json") }
        entry = try Self.select(try files.decode([Entry].self, bytes, "manifest.json", as: .archive), tag, files.path)
    }

    private static func select(_ entries: [Entry], _ tag: String?, _ path: String) throws(PullError) -> Entry {
        guard !entries.isEmpty else { throw .local(.notAnImage("its manifest.json lists no image"), path: path) }
        let present = entries.flatMap { $0.repoTags ?? [] }
        guard let tag else {
            if entries.count == 1, let only = entries.first { return only }
            throw .local(.unknownTag(nil, present: present), path: path)
        }
        let wanted = try? Reference(parsing: tag)  // may be a plain tag
        for entry in entries {
            for name in entry.repoTags ?? [] {
                // Docker writes short names, but `docker.io/library/x:1` and `x:1` are the same image.
                if name == tag { return entry }
                if let wanted, let found = try? Reference(parsing: name), found == wanted { return entry }  // likewise
            }
        }
        let byTag = entries.filter { $0.repoTags?.contains { $0.hasSuffix(":" + tag) } == true }
        if byTag.count == 1, let only = byTag.first { return only }
        throw .local(.unknownTag(tag, present: present), path: path)
    }

    package func resolve(for platform: Platform) async throws(PullError) -> ResolvedImage {
        try await blocking { [self] () throws(PullError) in try resolveBlocking(for: platform) }
    }

    private func resolveBlocking(for platform: Platform) throws(PullError) -> ResolvedImage {
        guard let configBytes = try files.contents(of: entry.config) else { throw files.missing(entry.config) }
        let configDigest = Digest(hashing: configBytes, with: .sha256)
        // Builders usually name it by its digest, `HEX.json` or `blobs/sha256/HEX`, but may choose any name.
        let stem = entry.config.split(separator: "/").last?.split(separator: ".").first.map(String.init) ?? ""
        if let named = try? Digest(parsing: "sha256:" + stem), named != configDigest {  // another name: skip the check
            throw .local(.digestMismatch(expected: named, found: configDigest), path: files.path)
        }
        let config = try files.decode(ImageConfig.self, configBytes, entry.config, as: .config)
        let paths = entry.layers ?? []
        guard config.rootfs.diffIDs.count == paths.count else {
            throw .local(
                .notAnImage("\(config.rootfs.diffIDs.count) diff_ids for \(paths.count) layers"), path: files.path)
        }
        var layers: [Descriptor] = []
        for (path, diffID) in zip(paths, config.rootfs.diffIDs) {
            layers.append(try descriptor(path, diffID))
        }
        let manifest = Manifest(
            mediaType: .dockerManifest,
            config: Descriptor(mediaType: .dockerConfig, digest: configDigest, size: Int64(configBytes.count)),
            layers: layers)
        // The archive has no manifest with a digest, so create one that depends only on the content.
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes: [UInt8]
        do { bytes = Array(try encoder.encode(manifest)) } catch {
            throw .local(.notAnImage("cannot encode its manifest"), path: files.path)
        }
        let digest = Digest(hashing: bytes, with: .sha256)
        return try files.image(
            digest: digest, manifestDigest: digest, manifest, bytes, configBytes, platform)
    }

    /// Creates a layer's descriptor, which the archive lacks. The digest of an uncompressed layer is its diffID; a
    /// compressed one is read once to compute its digest.
    private func descriptor(_ path: String, _ diffID: Digest) throws(PullError) -> Descriptor {
        guard let (source, size) = try files.open(path) else { throw files.missing(path) }
        guard try isCompressed(path) else {
            return Descriptor(mediaType: .dockerLayer, digest: diffID, size: size, annotations: [Self.pathKey: path])
        }
        let archive = files.path
        let digest = try mapError(to: { (error: LayerError) in .unreadable(error, path: archive) }) {
            () throws(LayerError) in
            try contentDigest(of: source, .sha256).digest
        }
        return Descriptor(mediaType: .dockerLayerGzip, digest: digest, size: size, annotations: [Self.pathKey: path])
    }

    private func isCompressed(_ path: String) throws(PullError) -> Bool {
        guard let (source, _) = try files.open(path) else { return false }
        let archive = files.path
        let magic = try mapError(to: { (error: LayerError) in .unreadable(error, path: archive) }) {
            () throws(LayerError) in
            Array(try source.next().prefix(4))
        }
        return magic.starts(with: [0x1F, 0x8B]) || magic.starts(with: [0x28, 0xB5, 0x2F, 0xFD])
    }

    /// The path of the layer in the archive. Only manifests created here have this annotation.
    private static let pathKey = "org.berth.archive.path"

    package func open(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> any ChunkSource {
        guard let path = blob.annotations[Self.pathKey], let (source, _) = try files.open(path) else {
            throw files.missing("layer \(blob.digest)")
        }
        return source
    }

    package func close() async {}
}
