package import LinuxKernel

/// How far a lock of fcntl(2) on a store is seen: whether a lock that is free proves that nobody holds it.
package enum LockReach: Equatable, Sendable {
    /// By everybody who can reach the store.
    case everybody
    /// By the processes of this node only, as far as can be told.
    case thisNode

    /// Judged by the mount a directory is on, since the calls themselves succeed either way.
    package init(of directory: borrowing OwnedFileDescriptor, path: String) {
        guard let device = try? directory.status().device,  // not to be told: the cautious answer
            let table = try? contents(of: "/proc/self/mountinfo")  // likewise
        else {
            self = .thisNode
            return
        }
        self.init(mountinfo: table, device: device, path: path)
    }

    /// The uppermost mount of the device, else the one that the path lies on: proc_pid_mountinfo(5).
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
            self = .thisNode
        }
    }

    private init(type: String, options: [Substring]) {
        switch type {
        case "nfs", "nfs4":
            // nfs(5): `local_lock` and `nolock` keep locks to the client.
            let isLocal = options.contains { ["nolock", "local_lock=posix", "local_lock=all"].contains($0) }
            self = isLocal ? .thisNode : .everybody
        case "lustre": self = options.contains("flock") ? .everybody : .thisNode
        // Their `localflocks` is for those who know that one node alone locks.
        case "gfs2", "ocfs2": self = options.contains("localflocks") ? .thisNode : .everybody
        case "ceph", "gpfs": self = .everybody
        // BeeGFS, 9p, virtiofs, AFS, CIFS, OrangeFS, FUSE, and whatever nobody has looked at yet.
        default: self = Self.local.contains(type) ? .everybody : .thisNode
        }
    }

    /// File systems that one kernel has to itself: who can reach the store is on this node.
    private static let local: Set<String> = [
        "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfsplus", "jfs", "nilfs2",
        "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "ubifs", "vfat", "xfs", "zfs",
    ]

    /// As stat(2) puts the two numbers together: makedev(3).
    private static func device(_ major: UInt64, _ minor: UInt64) -> UInt64 {
        (major & 0xFFF) << 8 | (major & ~0xFFF) << 32 | (minor & 0xFF) | (minor & ~0xFF) << 12
    }
}

extension ImageStore {
    /// Whether a last use may have left no trace: where locks stay on their node, others than the owner start images, and
    /// reading sets no access time. Tried out: mount options tell neither of the server's nor of FUSE's.
    func mayHideUses(_ reach: LockReach) -> Bool {
        reach == .thisNode && isShared && !keepsAccessTimes
    }

    private var keepsAccessTimes: Bool {
        // Under a name that the next collection sweeps. What fails leaves the question open: no.
        guard let name = try? "drafts/removed-" + Random.hexadecimal(bytes: 8) else { return false }
        defer { try? root.removeFile(name) }
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
