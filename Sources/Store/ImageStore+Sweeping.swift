internal import LinuxKernel

/// Removing what the dead left behind.
extension ImageStore {
    /// The first part of a draft's name: which node makes it. Where locks do not reach other nodes, a free lock says
    /// nothing of a draft that is made elsewhere.
    static let node: String = {
        let name = (try? contents(of: "/proc/sys/kernel/hostname", limit: 4096))?.displayPath ?? ""  // one node like all others
        return String(fingerprint(name), radix: 36)
    }()

    static func draftName() throws(SystemError) -> String { node + "-" + (try Random.hexadecimal(bytes: 12)) }

    /// FNV-1a.
    static func fingerprint(_ text: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return hash
    }

    /// Removes the drafts of processes that died. A draft whose maker lives is locked by it.
    ///
    /// - Parameter nobodyPulls: Held alone, the store's activity lock tells that no draft can belong to anybody.
    func sweepDrafts(nobodyPulls: Bool = false, reach: LockReach? = nil) {
        // Sweeping is tidying: failing to is no reason not to pull.
        guard let drafts = try? root.open("drafts", .readOnly | .directory | .noFollow),
            let names = try? drafts.entries()
        else { return }
        var reach = reach
        for name in names {
            if !nobodyPulls, !isDead(name, in: drafts, &reach) { continue }
            try? drafts.removeTree(name)
        }
    }

    private func isDead(_ name: [UInt8], in drafts: borrowing OwnedFileDescriptor, _ reach: inout LockReach?) -> Bool {
        guard let directory = try? drafts.open(name, .readOnly | .directory | .noFollow) else {  // gone, or a listing
            guard let status = try? drafts.status(of: name), status.kind != .directory else { return false }  // gone
            return Clock.now.seconds - status.modified.seconds > 3600
        }
        let isElsewhere = !name.displayPath.hasPrefix(Self.node + "-")
        if isElsewhere {
            let known = reach ?? LockReach(of: root, path: path)
            reach = known
            if known == .thisNode { return isOlder(directory, than: 86_400) }
        }
        let lock =
            (try? directory.open("alive", .readWrite | .noFollow | .nonBlocking))  // a layer's or a rootfs'
            ?? (try? directory.open("lease", .readWrite | .noFollow | .nonBlocking))  // an image's
        if let lock { return (try? lock.tryLock(.exclusive)) == true }  // no way to know: alive
        // Just made and not locked yet, or just unlocked and about to be published.
        return isOlder(directory, than: 3600)
    }

    func isOlder(_ directory: borrowing OwnedFileDescriptor, than seconds: Int64) -> Bool {
        guard let status = try? directory.status() else { return false }  // gone
        return Clock.now.seconds - status.modified.seconds > seconds
    }

    /// Removes what killed pulls left beside names, and lock files that no process holds. Only while no pull is running.
    func sweepNamesAndLocks() {
        sweepLocks()
        // Tidying, as above.
        if let names = try? root.entries() {
            for name in names where name.starts(with: "version.".utf8) || name.starts(with: ".removed-".utf8) {
                try? root.removeTree(name)
            }
        }
        if let refs = try? root.open("refs", .readOnly | .directory | .noFollow) { sweepNames(refs, depth: 0) }
    }

    /// What earlier versions kept of `berth images`.
    func sweepKeptListing() {
        for name in ["listing", "changes"] { try? root.removeTree(name) }  // mostly absent
    }

    private func sweepNames(_ directory: borrowing OwnedFileDescriptor, depth: Int) {
        guard depth < 64, let names = try? directory.entries() else { return }
        for name in names {
            if name.displayPath.hasPrefix(".draft-") {
                try? directory.removeFile(name)
            } else if let inner = try? directory.open(name, .readOnly | .directory | .noFollow) {  // a name, no directory
                sweepNames(inner, depth: depth + 1)
                // The last name below it may be gone; one that is not empty stays.
                try? directory.removeDirectory(name)
            }
        }
    }
}
