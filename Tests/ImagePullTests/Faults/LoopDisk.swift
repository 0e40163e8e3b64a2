import Foundation
import TestSupport

/// A separate file system: on a file, in memory, in memory with all restrictions of a site ("locked"), or in FUSE
/// ("fuse").
enum LoopDisk {
    /// A script that creates and mounts it at `disk` in a separate mount namespace.
    static func script(_ kind: String) -> String {
        switch kind {
        case "tmpfs": return "mkdir disk\nmount -t tmpfs -o size=200m none disk"
        case "locked": return "mkdir disk\nmount -t tmpfs -o size=200m,nodev,nosuid,noexec none disk"
        // As root, with checks by the kernel for an ordinary user.
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

    /// Whether the program and the kernel support are available; prints a warning if not.
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
