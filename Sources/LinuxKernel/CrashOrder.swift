internal import CLinux

/// What is left of a file system's latest changes when the machine stops without warning.
package enum CrashOrder: Equatable, Sendable {
    /// Nothing of the whole file system.
    case volatile
    /// A change of a name that is there has all earlier changes of names with it; contents of files may lack.
    case names
    /// Not known, or other machines see the file system too.
    case unknown

    /// By the type of the file system; `unknown` too where that can not be told. The corresponding call is `fstatfs(2)`.
    package init(of directory: borrowing OwnedFileDescriptor) {
        var raw = statfs()
        guard fstatfs(directory.rawValue, &raw) == 0 else {
            self = .unknown
            return
        }
        switch UInt32(truncatingIfNeeded: raw.f_type) {
        case 0x0102_1994: self = .volatile  // tmpfs
        case 0x5846_5342, 0x9123_683E, 0xF2F5_2010: self = .names  // xfs, btrfs, f2fs
        case 0xEF53: self = Self.hasJournal(directory) ? .names : .unknown  // ext2, ext3, ext4
        default: self = .unknown
        }
    }

    /// ext2 has the same number, and ext4 can be made without a journal.
    private static func hasJournal(_ directory: borrowing OwnedFileDescriptor) -> Bool {
        guard let device = try? directory.status().device,  // not to be told: none
            let blocks = try? OwnedFileDescriptor(opening: "/sys/dev/block", .path | .directory),  // likewise
            let link = try? blocks.linkTarget("\(berth_major(device)):\(berth_minor(device))")  // likewise
        else { return false }
        let name = link.displayPath.split(separator: "/").last ?? ""
        return (try? FileStatus(of: "/sys/fs/ext4/\(name)/journal_task")) != nil  // absent: none
    }
}

/// One run of the kernel, from its start to its end.
package enum Boot {
    /// What tells this run from all others: random(4), `boot_id`. `nil` where there is no `/proc`.
    package static let identifier: String? = {
        guard let bytes = try? contents(of: "/proc/sys/kernel/random/boot_id", limit: 64) else { return nil }
        return String(decoding: bytes.prefix { $0 > 0x20 }, as: UTF8.self)
    }()
}

/// What the machine has not written to its disks yet.
package enum WriteBack {
    /// `Dirty` and `Writeback` of proc_meminfo(5) together, in bytes, of all file systems; `nil` where they are not told.
    package static var pendingBytes: UInt64? {
        guard let bytes = try? contents(of: "/proc/meminfo", limit: 65536) else { return nil }
        return pendingBytes(meminfo: String(decoding: bytes, as: UTF8.self))
    }

    package static func pendingBytes(meminfo: String) -> UInt64? {
        var total: UInt64?
        for line in meminfo.split(separator: "\n") where line.hasPrefix("Dirty:") || line.hasPrefix("Writeback:") {
            guard let kibibytes = line.split(separator: " ").dropFirst().first.flatMap({ UInt64($0) }) else {
                return nil
            }
            total = (total ?? 0) + kibibytes << 10
        }
        return total
    }
}
