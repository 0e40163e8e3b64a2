import Foundation
import TestSupport

/// A file system of a kind of its own, on a file.
enum LoopDisk {
    /// Makes and mounts it at `disk`, for a shell in a mount namespace of its own.
    static func script(_ kind: String) -> String {
        """
        truncate -s 600m disk.img
        mkfs.\(kind) -q \(kind == "ext4" ? "-F" : "-f") disk.img >/dev/null
        mkdir disk
        mount -o loop disk.img disk
        """
    }

    /// Whether there are a program that makes it and a kernel that mounts it; told loudly where not.
    static func isThere(_ kind: String) -> Bool {
        let known = (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8)) ?? ""  // then none
        let isKnown = known.split(separator: "\n").contains { $0.split(separator: "\t").last ?? "" == kind }
        let program = "/usr/sbin/mkfs.\(kind)"
        if Program.isRoot, isKnown, FileManager.default.isExecutableFile(atPath: program) { return true }
        FileHandle.standardError.write(
            Data("\n*** SKIPPED: \(kind): needs root, \(program) and the kernel's \(kind)\n\n".utf8))
        return false
    }
}
