internal import LinuxKernel

/// Slurm's configuration files on this node, as far as they are readable: slurm.conf(5), cgroup.conf(5).
package struct SlurmConfiguration: Equatable, Sendable {
    /// The directory; `nil` if there is none.
    package let directory: String?
    package let root: String

    /// - Parameter named: `SLURM_CONF`, the path of slurm.conf.
    package init(root: String = "", named: String? = nil) {
        self.root = root
        var candidates = ["/etc/slurm", "/run/slurm/conf", "/etc/slurm-llnl", "/usr/local/etc", "/opt/slurm/etc"]
        if let named, let slash = named.lastIndex(of: "/"), slash != named.startIndex {
            candidates.insert(String(named[..<slash]), at: 0)
        }
        directory = candidates.first { path in
            (try? FileStatus(of: root + path + "/slurm.conf")) != nil  // absent: try the next
        }
    }

    /// The lines of a file without comments; `nil` if it is unreadable.
    package func lines(of file: String) -> [String]? {
        guard let directory,
            let bytes = try? contents(of: root + directory + "/" + file, limit: 16 << 20)  // unreadable: `nil`
        else { return nil }
        return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline)
            .map { $0.prefix { $0 != "#" } }
            .map { String($0.drop { $0 == " " || $0 == "\t" }) }
            .filter { !$0.isEmpty }
    }

    /// The last value of `NAME=VALUE`; NAME ignores case. `nil` if it is not set.
    package func value(of name: String, in file: String) -> String? {
        var found: String?
        for line in lines(of: file) ?? [] {
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, Self.trimmed(parts[0]).lowercased() == name.lowercased() else { continue }
            found = Self.trimmed(parts[1])
        }
        return found
    }

    /// Whether the value is yes; `nil` if the file is unreadable.
    package func isSet(_ name: String, in file: String) -> Bool? {
        guard lines(of: file) != nil else { return nil }
        return ["yes", "true", "1"].contains(value(of: name, in: file)?.lowercased() ?? "")
    }

    /// Whether a signal to a step reaches each of its processes, and not the tasks alone: the processes that slurmstepd has
    /// started. proctrack/cgroup, the default, signals tasks unless cgroup.conf says otherwise.
    package var signalsEveryProcess: Bool {
        switch value(of: "ProctrackType", in: "slurm.conf")?.lowercased() {
        case nil, "proctrack/cgroup": isSet("SignalChildrenProcesses", in: "cgroup.conf") ?? false
        default: true
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while let first = text.first, first == " " || first == "\t" || first == "\"" { text = text.dropFirst() }
        while let last = text.last, last == " " || last == "\t" || last == "\"" { text = text.dropLast() }
        return String(text)
    }
}
