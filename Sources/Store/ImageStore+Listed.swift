internal import LinuxKernel

/// The listing that is kept in the store: docs/explanation/store.md
///
/// Nobody has to believe it, and it is believed only as it was made: by the same boot where the machine's end could have
/// taken what it tells of, and with `changes` and `images` as they were before it was begun.
extension ImageStore {
    static let keptListing = "listing"
    /// Nanoseconds after which a change of a directory has times of its own: some file systems keep no fractions.
    static let coarsest: Int64 = 2_000_000_000
    /// Bytes; a few hundred for an image.
    private static let largestListing: Int64 = 1 << 30

    /// What `images()` finds, from the kept listing where that is true, else read and kept.
    package func listing() throws(StoreError) -> ImageListing { try listing(coarsest: Self.coarsest) }

    func listing(coarsest: Int64) throws(StoreError) -> ImageListing {
        if let kept = believedListing() { return kept }
        let draft = beginListing(coarsest: coarsest)
        defer { if let draft { removeDraft(draft.name) } }
        let (images, hasMarks) = try scan()
        let listing = ImageListing(images)
        if let draft { keep(listing, draft, hasMarks: hasMarks) }
        return listing
    }

    func believedListing() -> ImageListing? {
        // Whatever is wrong with it, there is another way. The state first: what is read later is no older.
        guard let state = try? directoryState(),  // see above
            let file = try? root.open(  // see above
                Self.keptListing, .readOnly | .noFollow | .nonBlocking),  // see above
            let status = try? file.status(), status.kind == .regular, status.size <= Self.largestListing,  // see above
            let bytes = try? file.read(exactly: Int(status.size))  // see above
        else { return nil }
        let (anyBoot, thisBoot) = (state.heading(boot: nil), Boot.identifier.map { state.heading(boot: $0) })
        for heading in [anyBoot, thisBoot] {
            guard let heading, bytes.count >= heading.count + Self.sumLength, bytes[..<heading.count].holds(heading)
            else { continue }
            let start = heading.count + Self.sumLength
            guard bytes[heading.count..<start].holds(Self.sum(of: bytes, from: start)) else { return nil }
            return ImageListing(bytes: bytes, start: start)
        }
        return nil
    }

    /// A listing that is being made.
    struct ListingDraft {
        let name: String
        fileprivate let file: DescriptorBox
        fileprivate let state: DirectoryState
    }

    /// To be called before the store is read. `nil` where what is found can not be kept: in others' stores, while
    /// something changes, and so soon after it that the next change might leave the same times.
    func beginListing(coarsest: Int64 = coarsest) -> ListingDraft? {
        guard isOwn, let changes = changesForOwner(),
            let name = try? Self.draftName(),  // without one nothing is kept
            // First, as its time is the file system's own, whatever the clocks of the nodes say.
            let file = try? root.open("drafts/" + name, .writeOnly | .create | .exclusive | .noFollow, mode: 0o644)  // likewise
        else { return nil }
        let box = DescriptorBox(file)
        guard let now = try? box.descriptor.status().changed,  // likewise
            let state = try? directoryState(), state.isOlder(than: now, by: coarsest),  // likewise
            // After the state: what has gone by now has changed it.
            let markers = try? changes.descriptor.entries()  // likewise
        else {
            removeDraft(name)
            return nil
        }
        guard markers.isEmpty else {
            removeDraft(name)
            // Of the dead, perhaps; the next listing can be kept then.
            sweepChanges()
            return nil
        }
        return ListingDraft(name: name, file: box, state: state)
    }

    /// - Parameter hasMarks: Whether images were seen that other boots do not believe.
    func keep(_ listing: ImageListing, _ draft: ListingDraft, hasMarks: Bool) {
        // Not being able to costs the next one the same work.
        do throws(SystemError) {
            let anyBoot = isRemote && !hasMarks
            guard let boot = anyBoot ? "" : Boot.identifier else { return }
            guard try directoryState() == draft.state else { return }
            let bytes = listing.bytes[listing.start...]
            let heading = draft.state.heading(boot: anyBoot ? nil : boot)
            try draft.file.descriptor.writeAll(heading + Self.sum(of: listing.bytes, from: listing.start) + bytes)
            // Other nodes believe it after this one has stopped: with it must come what it tells of.
            if anyBoot { try root.synchronizeFileSystem() }
            try root.replace("drafts/" + draft.name, as: Self.keptListing)
        } catch {
            return
        }
    }

    private func removeDraft(_ name: String) {
        try? root.removeFile("drafts/" + name)  // kept under its other name, or swept
    }

    // MARK: What it is believed by

    /// The two directories, as a listing was made of them.
    fileprivate struct DirectoryState: Equatable {
        let changes, images: FileStatus

        /// Not the device's number: for NFS and others it is another after each mount.
        func heading(boot: String?) -> [UInt8] {
            var text = "berth-listing 1\n"
            for status in [changes, images] {
                text += "\(status.inode) \(status.modified.seconds).\(status.modified.nanoseconds)"
                text += " \(status.changed.seconds).\(status.changed.nanoseconds)\n"
            }
            text += (boot ?? "any boot") + "\n"
            return Array(text.utf8)
        }

        func isOlder(than now: Timestamp, by nanoseconds: Int64) -> Bool {
            [changes.modified, changes.changed, images.modified, images.changed].allSatisfy {
                let seconds = now.seconds - $0.seconds
                // Years apart, it would not fit.
                return seconds > 1000
                    || seconds >= 0
                        && seconds * 1_000_000_000 + Int64(now.nanoseconds) - Int64($0.nanoseconds) > nanoseconds
            }
        }

        static func == (one: Self, other: Self) -> Bool { one.heading(boot: nil) == other.heading(boot: nil) }
    }

    /// Opened, not looked at by name: on NFS that asks the server: nfs(5), close-to-open.
    private func directoryState() throws(SystemError) -> DirectoryState {
        let changes = try root.open(Self.changes, .readOnly | .directory | .noFollow).status()
        let images = try root.open("images", .readOnly | .directory | .noFollow).status()
        return DirectoryState(changes: changes, images: images)
    }

    private static let sumLength = 17

    /// Against what a machine that stopped may leave of a file: FNV-1a, of eight bytes at a time, and a line's end.
    private static func sum(of bytes: [UInt8], from start: Int) -> [UInt8] {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(bytes.count - start)
        bytes.withUnsafeBytes { bytes in
            var position = start
            while position + 8 <= bytes.count {
                let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
                hash = (hash ^ word) &* 0x100_0000_01b3
                // The product's upper half into the lower, which by itself sees no upper byte.
                hash ^= hash >> 32
                position += 8
            }
            for byte in bytes[position...] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        }
        let digits = String(hash, radix: 16)
        return Array((String(repeating: "0", count: 16 - digits.count) + digits + "\n").utf8)
    }
}
