internal import Distribution
package import ImageSpec
package import Layers
internal import LinuxKernel
package import Store

/// Pulls an image into a store: resolves it, unpacks the missing layers, composes them and publishes the image.
///
/// Layers are processed in parallel. Each is verified and decompressed directly into files, so the disk holds only what
/// the image consists of. Nothing is visible before it is complete.
package struct ImagePuller: Sendable {
    let store: ImageStore
    /// Stores to search for existing layers and images, too.
    let stores: ImageStores
    let origin: any ImageOrigin
    let report: @Sendable (PullEvent) -> Void
    /// How to unpack layers.
    package var unpacker = LayerUnpacker()
    /// The memory limit of this process's cgroups, in bytes. They are charged for dirty pages, too.
    package var memoryLimit: UInt64?

    package init(store: ImageStore, origin: any ImageOrigin, report: @escaping @Sendable (PullEvent) -> Void) {
        self.init(stores: ImageStores(own: store), origin: origin, report: report)
    }

    package init(stores: ImageStores, origin: any ImageOrigin, report: @escaping @Sendable (PullEvent) -> Void) {
        store = stores.own
        self.stores = stores
        self.origin = origin
        self.report = report
        unpacker.ownership = Identity.isRoot ? .preserve : .caller
    }

    /// - Parameter refresh: `true` queries the origin even if the name is known, as for `berth pull`. `false` uses an
    ///   image that is present, possibly pulled by another process in the meantime, as for `--pull missing`.
    package func pull(
        _ source: ImageSource, platform: Platform, refresh: Bool
    ) async throws(PullError) -> PulledImage {
        let key = try mapError(to: PullError.store) { () throws(StoreError) in try ImageKey(source, platform: platform)
        }
        // The activity lock first: see `beginPulling`.
        let activity = try mapError(to: PullError.store) { () throws(StoreError) in LockBox(try store.beginPulling()) }
        let lock = try await lock(key)
        defer { withExtendedLifetime((lock, activity)) {} }
        if !refresh, let present = try present(key) { return present }
        // Flush what earlier pulls left.
        try await flush()
        if refresh, let present = try await upToDate(source, key, platform) { return present }

        let image = try await origin.resolve(for: platform)
        if let excess = image.config.config.excess(pageBytes: Memory.pageBytes) { throw .unstartable(excess) }
        let diffIDs = image.config.rootfs.diffIDs
        let found = try await blocking { () throws(PullError) in try LayersFound(image, stores) }
        let states = zip(image.manifest.layers, diffIDs).map { layer, diffID in
            PullEvent.LayerState(digest: layer.digest, size: layer.size, isPresent: found.isPresent(diffID))
        }
        report(.resolved(digest: image.digest, layers: states))
        let holder = stores.store(of: image.manifestDigest)
        let isWhole =
            try holder.map { (holder) throws(PullError) in try hasDocuments(holder, image.manifestDigest) } ?? false
        var unpacked = Unpacked()
        if !isWhole { unpacked = try await unpackLayers(image, states) }
        let record =
            try await isWhole
            ? nil : blocking { () throws(PullError) in try compose(image, found, name: source.description) }
        let keys = try mapError(to: PullError.store) { () throws(StoreError) in
            try names(key, source, platform, image)
        }
        try await blocking { () throws(PullError) in
            try mapError(to: PullError.store) { () throws(StoreError) in
                if let record {
                    try store.publish(
                        record, manifest: image.manifestBytes, config: image.configBytes, names: keys,
                        replacing: holder != nil)
                } else {
                    try store.name(image.manifestDigest, keys)
                }
            }
        }
        try await flush()
        return PulledImage(
            digest: image.digest, manifestDigest: image.manifestDigest, layers: diffIDs.count,
            downloadedBytes: unpacked.downloaded, unpackedBytes: unpacked.written, wasPresent: isWhole)
    }

    private func flush() async throws(PullError) {
        try await blocking { () throws(PullError) in
            try mapError(to: PullError.store) { () throws(StoreError) in try store.flushIfQuick() }
        }
    }

    private func lock(_ key: ImageKey) async throws(PullError) -> LockBox {
        if let lock = try mapError(to: PullError.store, { () throws(StoreError) in try store.tryLockPull(of: key) }) {
            return LockBox(lock)
        }
        report(.waiting)
        return try await blocking { () throws(PullError) in
            try mapError(to: PullError.store) { () throws(StoreError) in LockBox(try store.lockPull(of: key)) }
        }
    }

    /// The requested name and, for a registry image, its digests, so that a pinned reference to the same image needs no
    /// request.
    private func names(
        _ key: ImageKey, _ source: ImageSource, _ platform: Platform, _ image: ResolvedImage
    ) throws(StoreError) -> [ImageKey] {
        var names = [key]
        if case .docker(let reference) = source {
            for digest in [image.digest, image.manifestDigest] {
                let pinned = try ImageKey(.docker(reference.pinned(to: digest)), platform: platform)
                if !names.contains(pinned) { names.append(pinned) }
            }
        }
        return names
    }
}

/// The layers of an image that exist, and their stores. Leases protect those in shared stores from being collected.
struct LayersFound: Sendable {
    private var own: Set<Digest> = []
    private var shared: [Digest: (store: ImageStore, tree: String, hold: DescriptorBox)] = [:]

    init(_ image: ResolvedImage, _ stores: ImageStores) throws(PullError) {
        for diffID in image.config.rootfs.diffIDs {
            try mapError(to: PullError.store) { () throws(StoreError) in
                if try stores.own.hasLayer(diffID) {
                    if try Self.hasSummary(stores.own, diffID) {
                        own.insert(diffID)
                        return
                    }
                    // It is unpacked again.
                    try stores.own.forgetDamagedLayer(diffID)
                }
                for store in stores.shared {
                    guard let (tree, hold) = try store.sharedLayer(diffID), try Self.hasSummary(store, diffID) else {
                        continue
                    }
                    shared[diffID] = (store, tree, hold)
                    return
                }
            }
        }
    }

    private static func hasSummary(_ store: ImageStore, _ diffID: Digest) throws(StoreError) -> Bool {
        guard let bytes = try store.layerSummary(diffID) else { return false }
        return (try? LayerSummary(decoding: bytes)) != nil  // damaged
    }

    func isPresent(_ diffID: Digest) -> Bool { own.contains(diffID) || shared[diffID] != nil }

    /// The store of a layer, by default the puller's own, and the path of its tree in a record.
    func place(of diffID: Digest, own store: ImageStore) -> (store: ImageStore, tree: String) {
        if let found = shared[diffID] { return (found.store, found.tree) }
        return (store, "layers/\(diffID.directoryName)/tree")
    }
}

/// Holds a work lock for a task.
private final class LockBox: Sendable {
    let lock: WorkLock
    init(_ lock: consuming WorkLock) { self.lock = lock }
}
