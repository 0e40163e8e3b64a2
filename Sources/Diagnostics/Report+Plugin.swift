internal import LinuxKernel

extension Report {
    /// As the Slurm plugin says it: with the node, as a step may have many, and with the flags that its users write.
    package func forPlugin(node: String) -> Report {
        var report = self
        report.what = (node.isEmpty ? "" : node + ": ") + Self.withPluginFlags(what)
        // Other details are the output of other programs.
        report.details = details.map { $0.hasPrefix("step ") ? Self.withPluginFlags($0) : $0 }
        report.hint = hint.map(Self.withPluginFlags)
        return report
    }

    /// Options of `berth run`, and the plugin's flags for them. Longer ones come before those that they contain.
    private static let flags = [
        ("`berth run --help`", "`srun --help`"), ("--volume or --mount", "--container-mounts"),
        ("--volume", "--container-mounts"), ("--mount", "--container-mounts"), ("-v", "--container-mounts"),
        ("--workdir", "--container-workdir"), ("-w", "--container-workdir"), ("--env", "--container-env"),
        ("-e", "--container-env"), ("--entrypoint", "--container-entrypoint"), ("--gpus", "--container-gpus"),
        ("--device", "--container-device"), ("--fabric", "--container-fabric"), ("--profile", "--container-profile"),
        ("--slurm", "--container-slurm"), ("--ulimit", "--container-ulimit"), ("--require", "--container-require"),
        ("--read-only", "--container-readonly"), ("--root", "--container-remap-root"),
        ("--no-root", "--no-container-remap-root"), ("--home", "--container-mount-home"),
        ("--no-home", "--no-container-mount-home"), ("--unshare", "--container-unshare"),
        ("--pull", "--container-pull"), ("--file", "--container-file"), ("--seccomp", "--container-seccomp"),
    ]

    static func withPluginFlags(_ line: String) -> String {
        var line = Array(line.utf8)
        for (option, flag) in flags {
            let wanted = Array(option.utf8)
            var position = 0
            while position + wanted.count <= line.count {
                let end = position + wanted.count
                let isWord =
                    (position == 0 || !isOfWord(line[position - 1])) && (end == line.count || !isOfWord(line[end]))
                if isWord, line[position..<end].elementsEqual(wanted) {
                    line.replaceSubrange(position..<end, with: flag.utf8)
                    position += flag.utf8.count
                } else {
                    position += 1
                }
            }
        }
        return String(decoding: line, as: UTF8.self)
    }

    /// `-e` is no option within a word, nor within a path.
    private static func isOfWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "/"),
            UInt8(ascii: "."), 0x80...0xFF:
            true
        default: false
        }
    }
}
