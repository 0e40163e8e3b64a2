internal import LinuxKernel

/// A change of what a listing of the store shows, told beforehand: docs/explanation/store.md
///
/// While it lasts a file lies in `changes/`, locked by who changes. That directory's times tell that something began or
/// ended since a listing was made, and the file that one should not be made now: whoever is killed leaves it behind.
final class Change: Sendable {
    private let store: ImageStore
    /// `nil` where nobody can have made a listing yet.
    private let place: DescriptorBox?
    /// `nil` where there was no room for a file.
    private let marker: (name: String, alive: DescriptorBox)?

    fileprivate init(_ store: ImageStore, _ place: DescriptorBox?, _ marker: (name: String, alive: DescriptorBox)?) {
        self.store = store
        self.place = place
        self.marker = marker
    }

    /// To be called when it is done, or has failed half way.
    func end() {
        if let marker, let place, (try? place.descriptor.removeFile(marker.name)) != nil { return }  // swept: see below
        // Whatever a listing was made of meanwhile, it is not to be believed.
        try? (place ?? store.openChanges())?.descriptor.touch()  // a marker that stays tells as much
    }
}

extension ImageStore {
    static let changes = "changes"

    /// Whether it is the caller's: what root leaves in somebody's store, he could not use.
    var isOwn: Bool { (try? root.status())?.userID == Identity.userID }  // not to be told: not

    fileprivate func openChanges() -> DescriptorBox? {
        // Absent: no listing is believed.
        guard let place = try? root.open(Self.changes, .readOnly | .directory | .noFollow) else { return nil }  // see above
        return DescriptorBox(place)
    }

    /// The directory of changes, made where it is missing and may be made; a store of an earlier berth has none.
    func changesForOwner() -> DescriptorBox? {
        if let place = openChanges() { return place }
        guard isOwn else { return nil }
        try? root.makeDirectory(Self.changes, mode: 0o755)  // another may be faster; without it no listing is kept
        return openChanges()
    }

    /// To be called before anything is changed that `images()` shows, and ended after it.
    func beginChange() throws(StoreError) -> Change {
        guard let place = changesForOwner() else { return Change(self, nil, nil) }
        return try storing { () throws(SystemError) in
            let name = try Self.draftName()
            do throws(SystemError) {
                let alive = try place.descriptor.createLocked(name, .exclusive, mode: 0o600)
                // Root's, in another user's store: its owner sweeps it.
                try? giveToOwner(alive)  // a marker that stays costs a listing
                return Change(self, place, (name, DescriptorBox(alive)))
            } catch {
                try? place.descriptor.removeFile(name + ".new")  // mostly it was not made
                // A full disk is no reason not to make room on it.
                guard (try? place.descriptor.touch()) != nil else { throw error }  // the first error tells
                return Change(self, place, nil)
            }
        }
    }

    func changing<Value>(_ body: () throws(StoreError) -> Value) throws(StoreError) -> Value {
        let change = try beginChange()
        defer { change.end() }
        return try body()
    }

    /// Removes the marks of those who died in the middle of a change.
    ///
    /// - Parameter nobodyPulls: As for drafts; somebody may be taking a name away nevertheless.
    func sweepChanges(nobodyPulls: Bool = false) {
        // Tidying: what stays costs time and nothing else.
        guard let place = openChanges(), let names = try? place.descriptor.entries() else { return }  // see above
        var reach: LockReach?
        for name in names where isDeadMarker(name, in: place.descriptor, nobodyPulls, &reach) {
            try? place.descriptor.removeTree(name)  // see above
        }
    }

    private func isDeadMarker(
        _ name: [UInt8], in changes: borrowing OwnedFileDescriptor, _ nobodyPulls: Bool, _ reach: inout LockReach?
    ) -> Bool {
        let text = name.displayPath
        // Root's, in somebody's store, he may not write or not even read.
        guard
            let file = (try? changes.open(name, .readWrite | .noFollow | .nonBlocking))  // see above
                ?? (try? changes.open(name, .readOnly | .noFollow | .nonBlocking))  // see above
        else {
            guard let status = try? changes.status(of: name) else { return false }  // gone
            return Clock.now.seconds - status.modified.seconds > 86_400
        }
        // Just made and not locked yet.
        if text.hasSuffix(".new"), !nobodyPulls { return isOlder(file, than: 3600) }
        if !text.hasPrefix(Self.node + "-") {
            let known = reach ?? LockReach(of: root, path: path)
            reach = known
            if known == .thisNode { return isOlder(file, than: 86_400) }
        }
        do throws(SystemError) { return try file.tryLock(.exclusive) } catch { return isOlder(file, than: 86_400) }
    }
}
