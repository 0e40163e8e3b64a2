package import ImageSpec
internal import LinuxKernel

/// What an image takes on disk, in bytes.
package struct ImageSize: Equatable, Sendable {
    /// Of the trees that no other image of the store has.
    package var unique: UInt64 = 0
    /// Of those that others have as well, or that lie in another store.
    package var shared: UInt64 = 0

    package init(unique: UInt64 = 0, shared: UInt64 = 0) { (self.unique, self.shared) = (unique, shared) }
}

/// What things of one kind take in a store.
package struct DiskUse: Equatable, Sendable {
    package var total = 0
    /// Those that are in use.
    package var active = 0
    package var bytes: UInt64 = 0
    /// What `prune --all` frees of that.
    package var reclaimable: UInt64 = 0

    package init(total: Int = 0, active: Int = 0, bytes: UInt64 = 0, reclaimable: UInt64 = 0) {
        (self.total, self.active, self.bytes, self.reclaimable) = (total, active, bytes, reclaimable)
    }
}

/// What a store consists of.
package struct StoreUse: Equatable, Sendable {
    /// With the layers and flattened trees that they consist of, each counted once.
    package var images = DiskUse()
    /// Layers and flattened trees of no image.
    package var layers = DiskUse()
    /// Unpacked squashfs files.
    package var files = DiskUse()
    /// Named ones, and what was written in them.
    package var containers = DiskUse()

    package init() {}
}

extension ImageStore {
    /// - Parameter images: All of the store: `images()`.
    package func sizes(of images: [StoredImage]) throws(StoreError) -> [Digest: ImageSize] {
        var references: [String: Int] = [:]
        for image in images { for part in Set(image.record.parts) { references[part, default: 0] += 1 } }
        var known: [String: UInt64] = [:]
        var sizes: [Digest: ImageSize] = [:]
        for image in images {
            var size = ImageSize()
            for part in Set(image.record.parts) {
                let bytes: UInt64
                if let found = known[part] { bytes = found } else { bytes = try self.bytes(of: part) }
                known[part] = bytes
                if references[part] == 1 { size.unique += bytes } else { size.shared += bytes }
            }
            for tree in Set(image.record.trees) where tree.utf8.first == UInt8(ascii: "/") {
                let base = String(tree.dropLast("/tree".utf8.count))
                let bytes = try sparingDamage { () throws(StoreError) in try Self.layer(base)?.bytes(of: ".") }
                size.shared += bytes ?? 0
            }
            sizes[image.record.digest] = size
        }
        return sizes
    }

    /// What is reclaimable is asked of the collection itself, which then removes nothing.
    package func use() throws(StoreError) -> StoreUse {
        var use = StoreUse()
        let images = try images()
        let parts = Set(images.flatMap(\.record.parts))
        use.images.total = images.count
        for image in images where try useLease(of: image.record.digest) != nil { use.images.active += 1 }
        for kind in ["layers", "rootfs"] {
            for name in try entries(kind) {
                let place = kind + "/" + name
                let bytes = try bytes(of: place)
                if parts.contains(place) {
                    use.images.bytes += bytes
                } else {
                    use.layers.total += 1
                    use.layers.bytes += bytes
                }
            }
        }
        for file in try unpackedFiles() {
            use.files.total += 1
            use.files.bytes += file.bytes
            if try useLease(ofPlace: file.place) != nil { use.files.active += 1 }
        }
        for container in try containers() {
            use.containers.total += 1
            use.containers.bytes += container.bytes
            if container.isRunning { use.containers.active += 1 } else { use.containers.reclaimable += container.bytes }
        }
        var rules = CollectionRules()
        (rules.includesNamed, rules.dryRun) = (true, true)
        var removed: [CollectedItem] = []
        _ = try collect(rules, item: { removed.append($0) })
        for item in removed {
            switch item.kind {
            case .image, .draft: break
            case .file: use.files.reclaimable += item.bytes
            case .layer where parts.contains(item.place): use.images.reclaimable += item.bytes
            case .layer: use.layers.reclaimable += item.bytes
            }
        }
        return use
    }
}
