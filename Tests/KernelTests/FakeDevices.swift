import Foundation
import TestSupport
import Testing

/// A /dev of the test's own, with nodes behind which there is no driver: what opens one is told `ENXIO`, which is no
/// refusal. In a private mount namespace, so that nobody else sees it and nothing of it stays.
struct FakeDevices: Sendable {
    struct Node: Sendable {
        let path: String
        let major: Int
        let minor: Int
        var mode = "666"
        var group = 0
    }

    /// The first minor number of uverbs, and the majors that NVIDIA has.
    static let verbs = [Node(path: "infiniband/uverbs0", major: 231, minor: 192)]
    static func gpus(_ count: Int) -> [Node] {
        (0..<count).map { Node(path: "nvidia\($0)", major: 195, minor: $0) }
            + [Node(path: "nvidiactl", major: 195, minor: 255)]
    }

    let nodes: [Node]

    private var script: String {
        var lines = [
            "set -e", "mount --make-rprivate /", "d=$(mktemp -d)", "mount -t tmpfs -o mode=755 dev $d", "mkdir $d/shm",
            "chmod 1777 $d/shm",
            "for n in null zero full random urandom tty; do touch $d/$n; mount --bind /dev/$n $d/$n; done",
        ]
        for node in nodes {
            lines.append("mkdir -p $d/$(dirname \(node.path))")
            lines.append("mknod -m \(node.mode) $d/\(node.path) c \(node.major) \(node.minor)")
            if node.group != 0 { lines.append("chgrp \(node.group) $d/\(node.path)") }
        }
        // Moved away before the command starts: the directory that it was made on can go.
        return (lines + ["mount --move $d /dev", "rmdir $d", "exec \"$@\""]).joined(separator: "\n")
    }

    /// The command, started where these nodes are.
    func around(_ command: Command) -> Command {
        var changed = command
        changed.arguments = ["unshare", "-m", "sh", "-c", script, "sh"] + command.arguments
        return changed
    }

    /// Whether nodes can be made here at all: not in every container that calls its user root.
    static let arePossible: Bool = {
        guard Caller.isRoot, Caller.holds(capability: 27) else { return false }
        let ended = try? FakeDevices(nodes: verbs).around(Command(["stat", "/dev/infiniband/uverbs0"])).run()  // then not
        if ended?.status != 0 {
            FileHandle.standardError.write(
                Data("\n*** no device nodes can be made here: tests with fake devices are skipped\n\n".utf8))
        }
        return ended?.status == 0
    }()
}

extension Trait where Self == ConditionTrait {
    static var needsFakeDevices: Self {
        .enabled(if: FakeDevices.arePossible, "needs root, CAP_MKNOD and a private mount namespace")
    }
}
