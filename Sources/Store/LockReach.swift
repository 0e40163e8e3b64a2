package import LinuxKernel

/// How far flock(2) on a store is seen: whether a lock that is free proves that nobody holds it.
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
            let isLocal = options.contains { ["nolock", "local_lock=flock", "local_lock=all"].contains($0) }
            self = isLocal ? .thisNode : .everybody
        case "lustre": self = options.contains("flock") ? .everybody : .thisNode
        case "beegfs", "9p", "virtiofs", "afs": self = .thisNode
        case "fuse", "fuseblk": self = type == "fuseblk" ? .everybody : .thisNode
        default: self = type.hasPrefix("fuse.") ? .thisNode : .everybody
        }
    }

    /// As stat(2) puts the two numbers together: makedev(3).
    private static func device(_ major: UInt64, _ minor: UInt64) -> UInt64 {
        (major & 0xFFF) << 8 | (major & ~0xFFF) << 32 | (minor & 0xFF) | (minor & ~0xFF) << 12
    }
}
