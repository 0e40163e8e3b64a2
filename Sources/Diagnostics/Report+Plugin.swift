internal import LinuxKernel

extension Report {
    /// The report as the Slurm plugin prints it: with the node's name, and with srun's flags instead of options.
    package func forPlugin(node: String) -> Report {
        var report = self
        report.summary = (node.isEmpty ? "" : node + ": ") + Self.withPluginFlags(summary)
        // Other details are output of other programs.
        report.details = details.map { $0.hasPrefix("step ") ? Self.withPluginFlags($0) : $0 }
        report.hint = hint.map(Self.withPluginFlags)
        return report
    }

    /// Options of `berth run` and the plugin's flags. An option comes before others that it contains.
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
        ("--init", "--container-init"),
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

    /// Bytes of a word or a path, within which `-e` is not an option.
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
