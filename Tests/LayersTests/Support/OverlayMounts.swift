import Foundation
import LinuxKernel
import TestSupport

/// Mounts stacks of layer trees with overlayfs as a launch does, in a mount namespace that a child keeps open.
final class OverlayMounts {
    private let holder: Running
    private let place: Workplace
    private static let isRoot = geteuid() == 0

    /// - Parameter stacks: Directories, lowest first; at least two in each.
    init(_ stacks: [[String]]) throws {
        place = try Workplace()
        let mounts = stacks.enumerated().map { number, trees in
            "mkdir m\(number) && mount -t overlay overlay -o userxattr,lowerdir=\(trees.reversed().joined(separator: ":")) m\(number)"
        }
        let script = "set -e\ncd \(place.path)\n" + mounts.joined(separator: "\n") + "\necho ready\nexec sleep 600"
        holder = try Command(["unshare"] + (Self.isRoot ? ["-m"] : ["-Urm"]) + ["sh", "-c", script]).start()
        try holder.until("the mounts") { $0.printed.contains("ready") }
    }

    deinit {
        holder.signal(SIGKILL)
        _ = try? holder.wait()  // best effort
    }

    /// The merged tree of one stack.
    func tree(_ number: Int) throws -> OwnedFileDescriptor {
        try OwnedFileDescriptor(
            opening: "/proc/\(holder.processID)/root\(place.path)/m\(number)", [.readOnly, .directory])
    }

    /// Whether the test's user can mount overlayfs on this kernel; prints a warning if not.
    static let isPossible: Bool = {
        do {
            let place = try Workplace()
            _ = (try place.directory("a"), try place.directory("b"))
            _ = try OverlayMounts([[place.path + "/a", place.path + "/b"]])
            return true
        } catch {
            FileHandle.standardError.write(Data("\n*** SKIPPED: no overlayfs with userxattr here: \(error)\n\n".utf8))
            return false
        }
    }()
}
