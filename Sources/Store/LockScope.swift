package import LinuxKernel

/// Where an fcntl(2) lock on a store is visible, that is, whether an unlocked file is unused on every node.
package enum LockScope: Equatable, Sendable {
    /// On all nodes that can access the store.
    case cluster
    /// On this node only, or unknown.
    case node

    /// Depends on the mount of the directory, since the lock calls succeed in both cases.
    package init(of directory: borrowing OwnedFileDescriptor, path: String) {
        guard let device = try? directory.status().device,  // unknown: the safe answer
            let table = try? contents(of: "/proc/self/mountinfo")  // likewise
        else {
            self = .node
            return
        }
        self.init(mountinfo: table, device: device, path: path)
    }

    /// Uses the topmost mount of the device, or else the mount that contains the path: proc_pid_mountinfo(5).
    init(mountinfo table: [UInt8], device: UInt64, path: String) {
        var byDevice: (type: String, options: [Substring])?
        var byPath: (length: Int, type: String, options: [Substring])?
        for line in String(decoding: table, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard let dash = words.firstIndex(of: "-"), words.count > dash + 3, words.count > 5 else { continue }
            let (point, type) = (words[4], String(words[dash + 1]))
            let options = words[dash + 3].split(separator: ",")
            let numbers = words[2].split(separator: ":").compactMap { UInt64($0) }
            if numbers.count == 2, Self.device(numbers[0], numbers[1]) == device { byDevice = (type, options) }
            let isAbove = point == "/" || path == point || path.hasPrefix(point + "/")
            if isAbove, point.utf8.count >= byPath?.length ?? 0 { byPath = (point.utf8.count, type, options) }
        }
        if let byDevice {
            self.init(type: byDevice.type, options: byDevice.options)
        } else if let byPath {
            self.init(type: byPath.type, options: byPath.options)
        } else {
            self = .node
        }
    }

    private init(type: String, options: [Substring]) {
        switch type {
        case "nfs", "nfs4":
            // nfs(5): with `local_lock` and `nolock`, locks stay on the client.
            let isLocal = options.contains { ["nolock", "local_lock=posix", "local_lock=all"].contains($0) }
            self = isLocal ? .node : .cluster
        case "lustre": self = options.contains("flock") ? .cluster : .node
        // With `localflocks`, the administrator states that only one node takes locks.
        case "gfs2", "ocfs2": self = options.contains("localflocks") ? .node : .cluster
        case "ceph", "gpfs": self = .cluster
        // BeeGFS, 9p, virtiofs, AFS, CIFS, OrangeFS, FUSE, and untested file systems.
        default: self = Self.local.contains(type) ? .cluster : .node
        }
    }

    /// File systems that only one kernel mounts at a time.
    private static let local: Set<String> = [
        "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfsplus", "jfs", "nilfs2",
        "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "ubifs", "vfat", "xfs", "zfs",
    ]

    /// Combines the two numbers as makedev(3) does for stat(2).
    private static func device(_ major: UInt64, _ minor: UInt64) -> UInt64 {
        (major & 0xFFF) << 8 | (major & ~0xFFF) << 32 | (minor & 0xFF) | (minor & ~0xFF) << 12
    }
}

extension ImageStore {
    /// Whether a use may leave no trace: locks stay on their node, other users launch images, and reads do not update
    /// access times. The last is tested, because mount options do not show what a server or FUSE does.
    func mayHideUses(_ scope: LockScope) -> Bool {
        scope == .node && isShared && !keepsAccessTimes
    }

    private var keepsAccessTimes: Bool {
        // Under a name that the next collection sweeps. If the test fails, assume no.
        guard let name = try? "drafts/removed-" + Random.hexadecimal(bytes: 8) else { return false }  // unknown: no
        defer { try? root.removeFile(name) }  // swept later
        let old = Clock.now.seconds - 3 * 86_400
        do throws(SystemError) {
            let written = try root.open(name, .readWrite | .create | .exclusive | .noFollow, mode: 0o600)
            try written.writeAll([0])
            try written.synchronize()
            try written.setTimes(accessed: Timestamp(seconds: old), modified: Timestamp(seconds: old - 86_400))
            written.forgetContents()
            let file = try root.open(name, .readOnly | .noFollow)
            _ = try file.readAll(limit: 16)
            return try file.status().accessed.seconds > old
        } catch { return false }
    }
}
