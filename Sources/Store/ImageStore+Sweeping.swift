internal import LinuxKernel

/// Removes what dead processes left.
extension ImageStore {
    /// Identifies the node in a draft's name. If locks do not work across nodes, an unlocked draft of another node may
    /// still be in use.
    static let node: String = {
        let name = (try? contents(of: "/proc/sys/kernel/hostname", limit: 4096))?.displayPath ?? ""  // all nodes alike
        return String(fingerprint(name), radix: 36)
    }()

    static func draftName() throws(SystemError) -> String { node + "-" + (try Random.hexadecimal(bytes: 12)) }

    /// FNV-1a.
    static func fingerprint(_ text: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return hash
    }

    /// The drafts of dead processes. A live process holds a lock on its draft.
    ///
    /// - Parameter noPulls: The caller holds the store's activity lock exclusively, so no draft is in use.
    func deadDrafts(noPulls: Bool = false, scope: LockScope? = nil) -> [[UInt8]] {
        // Best effort: a failure must not prevent a pull.
        guard let drafts = try? root.open("drafts", .readOnly | .directory | .noFollow),  // best effort
            let names = try? drafts.entries()  // likewise
        else { return [] }
        var scope = scope
        return names.filter { noPulls || isDead($0, in: drafts, &scope) }
    }

    func sweep(_ drafts: [[UInt8]]) {
        guard let directory = try? root.open("drafts", .readOnly | .directory | .noFollow) else { return }  // best effort
        for name in drafts { try? directory.removeTree(name) }  // likewise
    }

    private func isDead(_ name: [UInt8], in drafts: borrowing OwnedFileDescriptor, _ scope: inout LockScope?) -> Bool {
        guard let directory = try? drafts.open(name, .readOnly | .directory | .noFollow) else {  // gone, or a file
            guard let status = try? drafts.status(of: name), status.kind != .directory else { return false }  // gone
            return Clock.now.seconds - status.modified.seconds > 3600
        }
        let isElsewhere = !name.displayPath.hasPrefix(Self.node + "-")
        if isElsewhere {
            let known = scope ?? LockScope(of: root, path: path)
            scope = known
            if known == .node { return isOlder(directory, than: 86_400) }
        }
        let lock =
            (try? directory.open("alive", .readWrite | .noFollow | .nonBlocking))  // a layer's or a rootfs'
            ?? (try? directory.open("lease", .readWrite | .noFollow | .nonBlocking))  // an image's
        if let lock { return (try? lock.tryLock(.exclusive)) == true }  // without locks: assume it is in use
        // The maker has created it and not locked it yet, or has unlocked it to publish it.
        return isOlder(directory, than: 3600)
    }

    func isOlder(_ directory: borrowing OwnedFileDescriptor, than seconds: Int64) -> Bool {
        guard let status = try? directory.status() else { return false }  // gone
        return Clock.now.seconds - status.modified.seconds > seconds
    }

    /// Removes what killed pulls left beside names, and unlocked lock files. Call it only while no pull runs.
    func sweepNamesAndLocks() {
        sweepLocks()
        // Best effort.
        if let names = try? root.entries() {  // best effort
            for name in names where name.starts(with: "version.".utf8) || name.starts(with: ".removed-".utf8) {
                try? root.removeTree(name)  // likewise
            }
        }
        if let refs = try? root.open("refs", .readOnly | .directory | .noFollow) {  // absent: skip
            sweepNames(refs, depth: 0)
        }
    }

    /// Removes the cached image listing of earlier versions.
    func sweepCachedListing() {
        for name in ["listing", "changes"] { try? root.removeTree(name) }  // mostly absent
    }

    private func sweepNames(_ directory: borrowing OwnedFileDescriptor, depth: Int) {
        guard depth < 64, let names = try? directory.entries() else { return }  // skip it
        for name in names {
            if name.displayPath.hasPrefix(".draft-") {
                try? directory.removeFile(name)  // best effort
            } else if let inner = try? directory.open(name, .readOnly | .directory | .noFollow) {  // not a directory
                sweepNames(inner, depth: depth + 1)
                // Fails for a directory that still contains names.
                try? directory.removeDirectory(name)  // not empty
            }
        }
    }
}
