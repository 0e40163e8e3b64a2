internal import Distribution
package import ImageSpec
package import Layers
internal import LinuxKernel

/// An OCI image layout, in a directory or in an archive.
///
/// https://github.com/opencontainers/image-spec/blob/main/image-layout.md
package final class LayoutOrigin: ImageOrigin {
    private let files: any LocalFiles
    private let tag: String?

    /// `oci:DIRECTORY[:TAG]`
    package init(directory path: String, tag: String?) throws(PullError) {
        files = try DirectoryFiles(path)
        self.tag = tag
    }

    /// `oci-archive:FILE[:TAG]`
    package init(archive path: String, tag: String?) throws(PullError) {
        files = try ArchiveFiles(path)
        self.tag = tag
    }

    private struct Version: Decodable { let imageLayoutVersion: String }

    /// Accepts a layout without the version file, as other tools do, but rejects unknown versions.
    private func checkVersion() throws(PullError) {
        guard let bytes = try files.contents(of: "oci-layout", limit: 1 << 16) else { return }
        let version = try files.decode(Version.self, bytes, "oci-layout", as: .layout).imageLayoutVersion
        guard version == "1" || version.hasPrefix("1.") else {
            throw .local(.notAnImage("its layout version is \"\(version)\"; Berth reads version 1"), path: files.path)
        }
    }

    package func resolve(for platform: Platform) async throws(PullError) -> ResolvedImage {
        try checkVersion()
        guard let bytes = try files.contents(of: "index.json") else { throw files.missing("index.json") }
        let index = try files.decode(ImageIndex.self, bytes, "index.json", as: .manifest)
        let root = try select(index, platform)
        var chosen = root
        if root.mediaType.isIndex {
            let nested = try load(root)
            chosen = try find(platform, nested)
        }
        guard chosen.mediaType.isManifest else {
            throw .local(.unsupportedMediaType(chosen.mediaType), path: files.path)
        }
        return try image(chosen, root: root.digest, platform)
    }

    private func image(_ chosen: Descriptor, root: Digest, _ platform: Platform) throws(PullError) -> ResolvedImage {
        let manifestBytes = try files.blob(chosen)
        let manifest = try files.decode(Manifest.self, manifestBytes, chosen.digest.description, as: .manifest)
        // All readers must agree on the type of a document (CVE-2021-41190).
        guard manifest.mediaType.map({ $0 == chosen.mediaType }) ?? true else {
            throw .local(
                .notAnImage("the manifest \(chosen.digest) is of another type than the index says"), path: files.path)
        }
        return try files.image(digest: root, manifestDigest: chosen.digest, manifest, manifestBytes, platform)
    }

    private func load(_ descriptor: Descriptor) throws(PullError) -> ImageIndex {
        try files.decode(ImageIndex.self, try files.blob(descriptor), descriptor.digest.description, as: .manifest)
    }

    private func find(_ platform: Platform, _ index: ImageIndex) throws(PullError) -> Descriptor {
        var offered = index.platforms
        var lookups = 0
        let load = { (entry: Descriptor) throws(PullError) -> ImageIndex in
            lookups += 1
            return try self.load(entry)
        }
        let found = try index.select(for: platform, load: load) { (entry) throws(PullError) -> Bool in
            lookups += 1
            do throws(PullError) {
                _ = try image(entry, root: entry.digest, platform)
                return true
            } catch {
                guard case .local(let fault, _) = error else { throw error }
                switch fault {
                case .noMatchingPlatform(_, let others): offered += others
                case .unsupportedMediaType: break
                default: throw error
                }
                return false
            }
        }
        guard let found else {
            if lookups >= ImageIndex.maximumLookups {
                throw .local(
                    .tooManyEntries(limit: ImageIndex.maximumLookups, wanted: platform), path: files.path)
            }
            throw .local(.noMatchingPlatform(wanted: platform, offered: offered), path: files.path)
        }
        return found
    }

    /// The entry of index.json with the tag, or the only entry.
    private func select(_ index: ImageIndex, _ platform: Platform) throws(PullError) -> Descriptor {
        let images = index.manifests.filter { $0.mediaType.isManifest || $0.mediaType.isIndex }
        let tags = images.compactMap(\.tag)
        if let tag {
            if let found = images.first(where: { $0.tag == tag || $0.reference == tag }) { return found }
            throw .local(.unknownTag(tag, present: tags), path: files.path)
        }
        if images.count == 1, let only = images.first { return only }
        // A multi-platform image without a nested index.
        if tags.isEmpty || Set(tags).count == 1 {
            return try find(platform, index)
        }
        throw .local(.unknownTag(nil, present: tags), path: files.path)
    }

    package func open(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> any ChunkSource {
        guard let (source, _) = try files.open(blob.digest.blobPath) else {
            throw .local(.notAnImage("the blob \(blob.digest) is missing"), path: files.path)
        }
        return source
    }

    package func close() async {}
}

extension Descriptor {
    /// https://github.com/opencontainers/image-spec/blob/main/annotations.md#pre-defined-annotation-keys
    fileprivate var tag: String? { annotations["org.opencontainers.image.ref.name"] }
    /// The full reference, which containerd and newer Docker also write.
    fileprivate var reference: String? { annotations["io.containerd.image.name"] }
}

extension LocalFiles {
    func decode<Value: Decodable>(
        _ type: Value.Type, _ bytes: [UInt8], _ name: String, as shape: DocumentShape
    ) throws(PullError) -> Value {
        do throws(DocumentFault) { return try Documents.decode(type, from: bytes, as: shape) } catch {
            throw .local(.notAnImage("cannot read \(name): \(error)"), path: path)
        }
    }

    /// Reads and checks the configuration that a manifest names.
    func image(
        digest: Digest, manifestDigest: Digest, _ manifest: Manifest, _ manifestBytes: [UInt8], _ platform: Platform
    ) throws(PullError) -> ResolvedImage {
        guard manifest.config.mediaType.isConfig else {
            throw .local(.unsupportedMediaType(manifest.config.mediaType), path: path)
        }
        for layer in manifest.layers where layer.mediaType.layerCompression == nil {
            throw .local(.unsupportedMediaType(layer.mediaType), path: path)
        }
        let configBytes = try blob(manifest.config)
        return try image(
            digest: digest, manifestDigest: manifestDigest, manifest, manifestBytes, configBytes, platform)
    }

    func image(
        digest: Digest, manifestDigest: Digest, _ manifest: Manifest, _ manifestBytes: [UInt8],
        _ configBytes: [UInt8], _ platform: Platform
    ) throws(PullError) -> ResolvedImage {
        let config = try decode(ImageConfig.self, configBytes, "the configuration", as: .config)
        guard config.rootfs.diffIDs.count == manifest.layers.count else {
            throw .local(
                .notAnImage("\(config.rootfs.diffIDs.count) diff_ids for \(manifest.layers.count) layers"), path: path)
        }
        guard platform.canRun(config.platform) else {
            throw .local(.noMatchingPlatform(wanted: platform, offered: [config.platform]), path: path)
        }
        return ResolvedImage(
            digest: digest, manifestDigest: manifestDigest, manifest: manifest, manifestBytes: manifestBytes,
            config: config, configBytes: configBytes)
    }
}
