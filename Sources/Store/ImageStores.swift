package import ImageSpec
package import LinuxKernel

/// The path of a store, and a user who may own it in addition to root and the caller.
package struct StorePlace: Equatable, Sendable {
    package let path: String
    package let owner: UInt32?

    package init(path: String, owner: UInt32? = nil) {
        self.path = path
        self.owner = owner
    }
}

/// The caller's own store, and shared stores, which the caller only reads.
///
/// The caller's own store comes first, so that a pulled image takes effect; the others follow in the site's order. A
/// shared store is opened when it is needed, so an image in the caller's own store costs no more.
package struct ImageStores: Sendable {
    package let own: ImageStore
    package let shared: [ImageStore]

    /// - Throws: `StoreError.untrusted` for a store that must not be used. A missing store is skipped.
    package init(own: ImageStore, shared places: [StorePlace]) throws(StoreError) {
        self.own = own
        var opened: [ImageStore] = []
        for place in places where place.path != own.path {
            if let store = try ImageStore.open(existing: place.path, owner: place.owner) { opened.append(store) }
        }
        shared = opened
    }

    package init(own: ImageStore) {
        self.own = own
        shared = []
    }

    package var all: [ImageStore] { [own] + shared }

    /// The store that has the complete image.
    package func store(of digest: Digest) -> ImageStore? { all.first { $0.isWhole(digest) } }

    /// The store that has the layer.
    package func store(ofLayer diffID: Digest) throws(StoreError) -> ImageStore? {
        for store in all where try store.hasLayer(diffID) { return store }
        return nil
    }

    /// Whether one of the stores has a name for the image. It ignores errors, which the look-up of the image reports.
    package static func haveName(of source: ImageSource, _ platform: Platform, in places: [StorePlace]) -> Bool {
        guard let key = try? ImageKey(source, platform: platform) else { return false }  // the file is gone
        return places.contains { (try? FileStatus(of: $0.path + "/refs/" + key.path)) != nil }  // absent
    }

    /// Looks an image up by name for a launch. Name and image may be in different stores.
    package static func lease(_ key: ImageKey, in places: [StorePlace]) throws(StoreError) -> ImageLease? {
        for place in places {
            guard let store = try ImageStore.open(existing: place.path, owner: place.owner),
                let digest = try store.digest(of: key)
            else { continue }
            if let lease = try store.lease(digest) { return lease }
            // The caller's own store may have the name of an image in a shared store.
            if let lease = try Self.lease(digest, in: places.filter { $0.path != place.path }) { return lease }
        }
        return nil
    }

    /// Looks an image up by the digest of its manifest in all stores.
    package static func lease(_ digest: Digest, in places: [StorePlace]) throws(StoreError) -> ImageLease? {
        for place in places {
            guard let store = try ImageStore.open(existing: place.path, owner: place.owner) else { continue }
            if let lease = try store.lease(digest) { return lease }
        }
        return nil
    }
}

extension ImageStore {
    /// A layer for an image of another store: the absolute path of its tree, and its lease.
    package func sharedLayer(_ diffID: Digest) throws(StoreError) -> (path: String, hold: DescriptorBox)? {
        let path = "\(path)/layers/\(diffID.directoryName)/tree"
        guard try hasLayer(diffID), let hold = try Self.hold(path) else { return nil }
        return (path, hold)
    }
}
