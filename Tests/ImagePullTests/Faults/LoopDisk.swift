import Foundation
import TestSupport

/// A file system of a kind of its own: on a file, in memory, in memory with all that a site may forbid ("locked"), or shown
/// by a program ("fuse").
enum LoopDisk {
    /// Makes and mounts it at `disk`, for a shell in a mount namespace of its own.
    static func script(_ kind: String) -> String {
        switch kind {
        case "tmpfs": return "mkdir disk\nmount -t tmpfs -o size=200m none disk"
        case "locked": return "mkdir disk\nmount -t tmpfs -o size=200m,nodev,nosuid,noexec none disk"
        // As root: the kernel's FUSE allows others, and an ordinary user's rights are asked for there.
        case "fuse": return "mkdir -m 755 behind disk\nbindfs -o allow_other,default_permissions behind disk"
        default: break
        }
        return """
            truncate -s 600m disk.img
            mkfs.\(kind) -q \(kind == "ext4" ? "-F" : "-f") disk.img >/dev/null
            mkdir disk
            mount -o loop disk.img disk
            """
    }

    /// Whether there are a program that makes it and a kernel that mounts it; told loudly where not.
    static func isThere(_ kind: String) -> Bool {
        if ["tmpfs", "locked"].contains(kind) { return Program.isRoot }
        let known = (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8)) ?? ""  // then none
        let isKnown = known.split(separator: "\n").contains { $0.split(separator: "\t").last ?? "" == kind }
        let program = kind == "fuse" ? "/usr/bin/bindfs" : "/usr/sbin/mkfs.\(kind)"
        if Program.isRoot, isKnown, FileManager.default.isExecutableFile(atPath: program) { return true }
        FileHandle.standardError.write(
            Data("\n*** SKIPPED: \(kind): needs root, \(program) and the kernel's \(kind)\n\n".utf8))
        return false
    }
}
