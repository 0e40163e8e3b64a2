package import Distribution
internal import FoundationEssentials
internal import Hashing
package import ImageSpec
internal import LinuxKernel
package import Store

/// Exports an image of the store or a root file system: each tree becomes a layer, and the changes of a container
/// become the topmost layer.
package struct ImageExporter: Sendable {
    package struct Image: Sendable {
        /// The lowest tree first.
        let trees: [String]
        let platform: Platform
        let manifest: [UInt8]?
        let config: [UInt8]?
        /// The registry reference that the image was pulled from. Its layers need not be uploaded to the same registry.
        let origin: Reference?
        /// Held while the image is read.
        let leases: [DescriptorBox]

        /// A root file system in a directory.
        package init(directory path: String, platform: Platform) {
            (trees, self.platform, manifest, config, origin, leases) = ([path], platform, nil, nil, nil, [])
        }

        /// - Parameter root: A root file system to export instead of the image's own.
        package init(_ held: Held, origin: Reference?, root: String?) {
            if let root { trees = [root] } else { trees = held.trees }
            platform = held.record.platform
            manifest = root == nil ? held.manifest : nil
            config = held.config
            self.origin = origin
            leases = held.leases
        }
    }

    /// An image of a store, protected from being collected.
    package struct Held: Sendable {
        let record: LaunchRecord
        let trees: [String]
        let leases: [DescriptorBox]
        let manifest: [UInt8]
        let config: [UInt8]

        /// Returns `nil` if the store has no image with this digest.
        package init?(_ digest: Digest, in store: ImageStore) throws(StoreError) {
            guard let lease = try store.lease(digest), let documents = try store.documents(of: digest) else {
                return nil
            }
            (record, trees, leases) = (lease.record, lease.trees, [lease.box] + lease.layers)
            (manifest, config) = (documents.manifest, documents.config)
        }
    }

    package struct Exported: Equatable, Sendable {
        package let digest: Digest
        package let layers: Int
        /// The number of layers that existed already and are reused unchanged.
        package let reusedLayers: Int
        /// The size of the blobs that were written or uploaded.
        package let writtenBytes: Int64
        package let skipped: Skipped
    }

    let image: Image
    let changes: ContainerChanges?
    /// Of the changes, in the image's history.
    let comment: String
    let compression: ExportCompression
    let owners: @Sendable (String) throws(ExportError) -> Owners

    /// - Parameter preservingOwners: Whether files keep their owners. The caller's files become root's in any case.
    package init(
        image: Image, changes: ContainerChanges?, comment: String = "changes", compression: ExportCompression,
        preservingOwners: Bool
    ) {
        self.image = image
        self.changes = changes
        self.comment = comment
        self.compression = compression
        owners = { (tree) throws(ExportError) in
            guard preservingOwners else { return .root }
            do throws(SystemError) {
                let status = try FileStatus(of: tree)
                return .preserved(rootUser: status.userID, rootGroup: status.groupID)
            } catch {
                throw .entry(tree: tree, path: [], .system(error))
            }
        }
    }

    /// - Parameter staging: The directory for blobs before the upload.
    package func export(
        to destination: ExportDestination, client: RegistryClient, staging: String
    ) async throws(ExportError) -> Exported {
        let target: any ExportTarget =
            switch destination {
            case .layout(let path, let tag): try LayoutTarget(path: path, tag: tag)
            case .archive(let path, let tag): try ArchiveTarget(path: path, tag: tag)
            case .registry(let reference): RegistryTarget(reference, client: client, staging: staging)
            }
        defer { target.abandon() }
        return try await export(to: target)
    }

    private func export(to target: any ExportTarget) async throws(ExportError) -> Exported {
        var (base, added): ([ImageDocuments.Layer], ImageDocuments.Layer?) = ([], nil)
        var (skipped, bytes, newest): (Skipped, Int64, Timestamp?) = (Skipped(), 0, nil)
        let original = try originalLayers()
        var reuses = false
        if !original.isEmpty {
            reuses = try await target.holds(original.map(\.descriptor), pulledFrom: image.origin)
        }
        if reuses {
            base = original
        } else {
            for (index, tree) in image.trees.enumerated() {
                let form: LayerTreeWriter.Form = image.manifest == nil ? .plain : index == 0 ? .base : .overlay
                let written = try await write(tree, form, "layer \(index + 1) of \(image.trees.count)", to: target)
                base.append(written.layer)
                skipped += written.skipped
                bytes += written.layer.descriptor.size
                newest = written.newest ?? newest
            }
        }
        if let changes {
            let form = if case .merged = changes { LayerTreeWriter.Form.merged } else { LayerTreeWriter.Form.overlay }
            let written = try await write(changes.path, form, comment, to: target)
            added = written.layer
            skipped += written.skipped
            bytes += written.layer.descriptor.size
            newest = written.newest
        }
        // Use the newest file's time rather than now, so that the same files yield the same image.
        let own = try ownConfig()
        let isChanged = changes != nil || image.manifest == nil
        let created = isChanged ? ImageDocuments.text(newest ?? Timestamp(seconds: 0)) : own?["created"]?.string
        let config = ImageDocuments.config(
            from: own, base: base, added: added, platform: image.platform, created: created)
        let configDescriptor = Descriptor(
            mediaType: .ociConfig, digest: Digest(hashing: config, with: .sha256), size: Int64(config.count))
        try await target.add(config, as: configDescriptor)
        let layers = base + (added.map { [$0] } ?? [])
        let manifest = ImageDocuments.manifest(config: configDescriptor, layers: layers)
        let descriptor = Descriptor(
            mediaType: .ociManifest, digest: Digest(hashing: manifest, with: .sha256), size: Int64(manifest.count),
            platform: image.platform)
        if Task.isCancelled { throw .cancelled }
        try await target.publish(descriptor, manifest)
        return Exported(
            digest: descriptor.digest, layers: layers.count, reusedLayers: reuses ? base.count : 0,
            writtenBytes: bytes, skipped: skipped)
    }

    private struct Written: Sendable {
        let layer: ImageDocuments.Layer
        let skipped: Skipped
        let newest: Timestamp?
    }

    private func write(
        _ tree: String, _ form: LayerTreeWriter.Form, _ comment: String, to target: any ExportTarget
    ) async throws(ExportError) -> Written {
        let owners = try self.owners(tree)
        let (compression, lower) = (compression, form == .merged ? image.trees : [])
        let (file, written) = try await blocking { (cancellation) throws(ExportError) in
            let file = try target.open()
            let blob = try BlobWriter(file, compression, cancellation, nameWriteError: target.writeFailed)
            var writer = LayerTreeWriter(tree: tree, form: form, owners: owners, writer: blob, lower: lower)
            try writer.writeAll()
            let result = try blob.finish()
            let layer = ImageDocuments.Layer(
                descriptor: Descriptor(mediaType: compression.mediaType, digest: result.digest, size: result.size),
                diffID: result.diffID, comment: comment)
            return (file, Written(layer: layer, skipped: writer.skipped, newest: writer.newest))
        }
        try await target.add(written.layer.descriptor, file)
        return written
    }

    private func ownConfig() throws(ExportError) -> JSONValue? {
        guard let config = image.config else { return nil }
        do throws(DocumentFault) {
            // `originalLayers` has already decoded it as an object.
            return try Documents.decode(JSONValue.self, from: config, as: .config)
        } catch {
            throw .documents("the configuration of the image in the store: \(error)")
        }
    }

    /// The layers from which the image was pulled.
    private func originalLayers() throws(ExportError) -> [ImageDocuments.Layer] {
        guard let manifest = image.manifest, let config = image.config else { return [] }
        do throws(DocumentFault) {
            let manifest = try Documents.decode(Manifest.self, from: manifest, as: .manifest)
            let config = try Documents.decode(ImageConfig.self, from: config, as: .config)
            return zip(manifest.layers, config.rootfs.diffIDs).map { layer, diffID in
                ImageDocuments.Layer(descriptor: layer.asOCILayer, diffID: diffID, comment: "")
            }
        } catch {
            throw .documents("the manifest or configuration of the image in the store")
        }
    }
}
