internal import CLinux

/// Which recent changes to a file system survive a crash of the machine.
package enum CrashOrder: Equatable, Sendable {
    /// None: the whole file system is lost.
    case volatile
    /// A surviving change of a name implies all earlier changes of names, but file contents may be lost.
    case names
    /// Unknown, or other machines use the file system, too.
    case unknown

    /// Determined by the file system's type; `unknown` if the type is unavailable. The corresponding call is
    /// `fstatfs(2)`.
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

    /// ext2 has the same magic number, and ext4 can lack a journal.
    private static func hasJournal(_ directory: borrowing OwnedFileDescriptor) -> Bool {
        guard let device = try? directory.status().device,  // unknown: assume none
            let blocks = try? OwnedFileDescriptor(opening: "/sys/dev/block", .path | .directory),  // likewise
            let link = try? blocks.linkTarget("\(berth_major(device)):\(berth_minor(device))")  // likewise
        else { return false }
        let name = link.displayPath.split(separator: "/").last ?? ""
        return (try? FileStatus(of: "/sys/fs/ext4/\(name)/journal_task")) != nil  // absent: no journal
    }
}

/// The time from one boot of the machine to its next one.
package enum Boot {
    /// The unique ID of this boot: random(4), `boot_id`. `nil` if `/proc` is not mounted.
    package static let identifier: String? = {
        guard let bytes = try? contents(of: "/proc/sys/kernel/random/boot_id", limit: 64)  // no /proc
        else { return nil }
        return String(decoding: bytes.prefix { $0 > 0x20 }, as: UTF8.self)
    }()
}

/// Data that the machine has not written to its disks yet.
package enum WriteBack {
    /// `Dirty` plus `Writeback` of proc_meminfo(5) in bytes, for all file systems; `nil` if unavailable.
    package static var pendingBytes: UInt64? {
        guard let bytes = try? contents(of: "/proc/meminfo", limit: 65536) else { return nil }  // unknown
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
