internal import Distribution
internal import Hashing
internal import ImageSpec
internal import Layers
internal import LinuxKernel
internal import Store

extension ImagePuller {
    /// Composes the layers in the store: as they are if overlayfs can stack them, otherwise flattened.
    func compose(_ image: ResolvedImage, _ found: LayersFound, name: String) throws(PullError) -> LaunchRecord {
        let all = image.config.rootfs.diffIDs
        let diffIDs = Self.lastOccurrences(all)
        var layers: [LayerTree] = []
        for diffID in diffIDs { layers.append(try layerTree(diffID, found.place(of: diffID, own: store).store)) }
        var stacks = [layers]
        if diffIDs.count < all.count {
            // Also as listed in the image: a layer between two occurrences may refer to the lower one.
            stacks.append(
                try all.map { diffID throws(PullError) in
                    try layerTree(diffID, found.place(of: diffID, own: store).store)
                })
        }
        var compatibility = OverlayCompatibility.compatible
        for stack in stacks where compatibility == .compatible {
            compatibility = try mapError(to: PullError.composition) { () throws(LayerError) in
                try OverlayCompatibility.check(stack)
            }
        }
        var record = LaunchRecord(
            digest: image.manifestDigest, platform: image.config.platform, trees: [], overlay: true)
        switch compatibility {
        case .compatible where !layers.isEmpty:
            report(.composing(flattenedBecause: nil))
            record.trees = diffIDs.map { found.place(of: $0, own: store).tree }
        case .compatible:
            record.trees = [try flatten(all, found)]
        case .incompatible(let reason):
            record.compositionReason = reason.summary
            report(.composing(flattenedBecause: reason.summary))
            record.trees = [try flatten(all, found)]
        }
        let execution = image.config.config
        record.environment = execution.env
        // Docker writes this for an image without an entrypoint.
        record.entrypoint = execution.entrypoint == [""] ? [] : execution.entrypoint
        record.command = execution.cmd
        record.user = execution.user ?? ""
        record.workingDirectory = execution.workingDir ?? ""
        record.name = name
        record.size = UInt64(clamping: layers.reduce(0) { $0 + $1.summary.fileBytes })
        record.entries = UInt64(clamping: layers.reduce(0) { $0 + $1.summary.entries })
        record.created = Clock.now.seconds
        return record
    }

    /// overlayfs rejects a directory that occurs twice. The upper occurrence of a layer repeats all that the lower one
    /// adds or hides, so only the last one matters.
    static func lastOccurrences(_ diffIDs: [Digest]) -> [Digest] {
        var seen: Set<Digest> = []
        return diffIDs.reversed().filter { seen.insert($0).inserted }.reversed()
    }

    private func layerTree(_ diffID: Digest, _ store: ImageStore) throws(PullError) -> LayerTree {
        let damaged = StoreError.damaged(path: "\(store.path)/layers/\(diffID.directoryName)", reason: "no summary")
        let bytes = try mapError(to: PullError.store) { () throws(StoreError) in
            guard let bytes = try store.layerSummary(diffID) else { throw damaged }
            return bytes
        }
        guard let summary = try? LayerSummary(decoding: bytes) else { throw .store(damaged) }  // damaged
        let tree = try mapError(to: PullError.store) { () throws(StoreError) in
            guard let tree = try store.layerTree(diffID) else { throw damaged }
            return DescriptorBox(tree)
        }
        return LayerTree(tree, summary)
    }

    private func flatten(_ diffIDs: [Digest], _ found: LayersFound) throws(PullError) -> String {
        var layers: [LayerTree] = []
        for diffID in diffIDs { layers.append(try layerTree(diffID, found.place(of: diffID, own: store).store)) }
        let chain = Self.chainID(diffIDs)
        let draft = try mapError(to: PullError.store) { () throws(StoreError) in try store.draftRootfs(chain) }
        if let draft {
            do throws(PullError) {
                try mapError(to: PullError.composition) { () throws(LayerError) in
                    try Flattener(limits: unpacker.limits).compose(layers, into: draft.tree)
                }
                try mapError(to: { (error: SystemError) in .store(.system(error)) }) { () throws(SystemError) in
                    try Self.makeMountPoints(in: draft.tree.descriptor)
                }
                try mapError(to: PullError.store) { () throws(StoreError) in try store.publish(draft, summary: []) }
            } catch {
                store.discard(draft)
                throw error
            }
        }
        return "rootfs/\(chain.directoryName)/tree"
    }

    /// Creates the mount points of a launch without an overlay, which cannot create them in a read-only tree.
    private static func makeMountPoints(in tree: borrowing OwnedFileDescriptor) throws(SystemError) {
        let status = try tree.status()
        try tree.setPermissions(status.permissions | 0o700)
        for (name, mode) in [("proc", UInt32(0o555)), ("sys", 0o555), ("dev", 0o755), ("tmp", 0o1777)] {
            do throws(SystemError) { try tree.makeDirectory(name, mode: mode) } catch {
                if error.errno == Errno.EEXIST { continue }
                throw error
            }
            // A fixed time, so that the tree does not depend on the user.
            try tree.setTimes(of: name, modified: Timestamp(seconds: 0))
        }
        try tree.setTimes(modified: status.modified)
        try tree.setPermissions(status.permissions)
    }

    /// https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
    static func chainID(_ diffIDs: [Digest]) -> Digest {
        func digest(_ text: String) -> Digest {
            Digest(hashing: Array(text.utf8), with: .sha256)
        }
        guard let first = diffIDs.first else { return digest("") }
        return diffIDs.dropFirst().reduce(first) { digest("\($0) \($1)") }
    }
}

extension OverlayCompatibility.Reason {
    /// The text in the record and in `berth inspect`.
    var summary: String {
        switch self {
        case .marksMissing(let layer): "the file system took no whiteouts or attributes (layer \(layer + 1))"
        case .openHardLink(let layer, let path):
            "layer \(layer + 1) has a hard link into a lower layer: \(path.displayPath)"
        case .implicitDirectory(let layer, let path):
            "layer \(layer + 1) leaves out the entry of a directory that lower layers have otherwise: "
                + "\(path.displayPath)"
        case .orphanWhiteout(let layer, let path):
            "layer \(layer + 1) hides a name in a directory that no layer below it has: \(path.displayPath)"
        case .opaqueRoot(let layer): "layer \(layer + 1) hides everything below it"
        case .tooManyLayers(let count): "\(count) layers are more than overlayfs joins"
        }
    }
}

extension LayerError.SourceFailure {
    /// The error of this module that a layer has wrapped.
    var pullError: PullError? {
        if let error = underlying as? RegistryError { return .registry(error) }
        return underlying as? PullError
    }
}
