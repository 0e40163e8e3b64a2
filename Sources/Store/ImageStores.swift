package import ImageSpec
package import LinuxKernel

/// Where a store is, and who besides root and the caller may own it.
package struct StorePlace: Equatable, Sendable {
    package let path: String
    package let owner: UInt32?

    package init(path: String, owner: UInt32? = nil) {
        self.path = path
        self.owner = owner
    }
}

/// The caller's own store and those that are shared with him, which he only reads.
///
/// The own one comes first, so that what somebody pulls is what he gets, then the others as the site lists them. A
/// shared store is not opened before it is needed: where everything is in the own one, the others cost nothing.
package struct ImageStores: Sendable {
    package let own: ImageStore
    package let shared: [ImageStore]

    /// - Throws: `StoreError.untrusted` for a store that may not be used; one that is not there is passed over.
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

    /// The store that has the image, whole.
    package func store(of digest: Digest) -> ImageStore? { all.first { $0.isWhole(digest) } }

    /// The store that has the layer.
    package func store(ofLayer diffID: Digest) throws(StoreError) -> ImageStore? {
        for store in all where try store.hasLayer(diffID) { return store }
        return nil
    }

    /// Whether one of the stores has a name for it. What is wrong with a store, looking the image up says.
    package static func haveName(of source: ImageSource, _ platform: Platform, in places: [StorePlace]) -> Bool {
        guard let key = try? ImageKey(source, platform: platform) else { return false }  // the file is gone meanwhile
        return places.contains { (try? FileStatus(of: $0.path + "/refs/" + key.path)) != nil }  // absent
    }

    /// An image by the name it was asked for, wherever name and image are; for a launch.
    package static func lease(_ key: ImageKey, in places: [StorePlace]) throws(StoreError) -> ImageLease? {
        for place in places {
            guard let store = try ImageStore.open(existing: place.path, owner: place.owner),
                let digest = try store.digest(of: key)
            else { continue }
            if let lease = try store.lease(digest) { return lease }
            // A name of one's own for an image that a shared store has.
            if let lease = try Self.lease(digest, in: places.filter { $0.path != place.path }) { return lease }
        }
        return nil
    }

    /// An image by the digest of its manifest, wherever it is.
    package static func lease(_ digest: Digest, in places: [StorePlace]) throws(StoreError) -> ImageLease? {
        for place in places {
            guard let store = try ImageStore.open(existing: place.path, owner: place.owner) else { continue }
            if let lease = try store.lease(digest) { return lease }
        }
        return nil
    }
}

extension ImageStore {
    /// A layer that another store's image is being made of: its tree's absolute path, and what keeps it meanwhile.
    package func sharedLayer(_ diffID: Digest) throws(StoreError) -> (path: String, hold: DescriptorBox)? {
        let path = "\(path)/layers/\(diffID.directoryName)/tree"
        guard try hasLayer(diffID), let hold = try Self.hold(path) else { return nil }
        return (path, hold)
    }
}
