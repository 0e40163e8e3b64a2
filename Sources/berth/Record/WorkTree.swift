internal import LaunchPlanning
internal import LinuxKernel

/// The git work tree that a run was started from: its commit, and whether files differ from it. git(1) looks while the
/// container is made.
struct WorkTree {
    private let top: String
    private let git: Processes.Child

    /// - Returns: `nil` where there is no work tree, or no git.
    /// What git reports on standard error is not for this user's terminal: a refusal leaves the commit out.
    init?(above directory: String, environment: [String]) {
        guard let top = Self.top(above: directory) else { return nil }
        let path = environment.first { $0.hasPrefix("PATH=") }.map { String($0.dropFirst(5)) } ?? "/usr/bin:/bin"
        for place in path.split(separator: ":") where place.hasPrefix("/") {
            let words = [
                "git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", top, "status", "--porcelain=v2",
                "--branch", "--untracked-files=no", "--ignore-submodules=all",
            ]
            guard
                let git = try? Processes.start(  // not here: in the next directory, or nowhere
                    place + "/git", arguments: words, environment: environment, output: .captureBoth(limit: 65_536))
            else { continue }
            (self.top, self.git) = (top, git)
            return
        }
        return nil
    }

    /// What git printed. It has had all the time that the launch took, and gets a little more.
    func state() -> JSON? {
        let deadline = Clock.monotonicNanoseconds + 200_000_000
        guard let ended = try? Processes.wait(for: git, deadline: deadline), ended.status == 0 else {  // too slow, or refused
            return .members(("directory", .string(top)))
        }
        var (commit, branch): (String?, String?)
        var changed: [String] = []
        for line in ended.output.split(separator: UInt8(ascii: "\n")).map({ RawText.string($0) }) {
            if line.hasPrefix("# branch.oid ") {
                commit = String(line.dropFirst(13))
            } else if line.hasPrefix("# branch.head ") {
                branch = String(line.dropFirst(14))
            } else if let fields = Self.fieldsBeforeName[String(line.prefix(1))] {
                let name = line.split(separator: " ", maxSplits: fields).last ?? ""
                changed.append(String(name.prefix { $0 != "\t" }))
            }
        }
        return .members(
            ("directory", .string(top)), ("commit", commit.map { .string($0) }), ("branch", branch.map { .string($0) }),
            ("changed", .strings(changed.prefix(100))))
    }

    /// git-status(1), "Porcelain Format Version 2": changed, renamed and unmerged files.
    private static let fieldsBeforeName = ["1": 8, "2": 9, "u": 10]

    /// Whether a work tree of the caller's begins here. Another user's, such as `/tmp/.git`, has a configuration that names
    /// programs for git to run.
    private static func isOwn(_ directory: String) -> Bool {
        guard let status = try? FileStatus(of: directory + "/.git", followLinks: false) else { return false }  // absent
        return status.kind != .symlink && status.userID == Identity.userID
    }

    private static func top(above directory: String) -> String? {
        var path = directory[...]
        while !path.isEmpty {
            if Self.isOwn(String(path)) { return String(path) }
            guard let slash = path.lastIndex(of: "/") else { return nil }
            path = path[..<slash]
        }
        return nil
    }
}
