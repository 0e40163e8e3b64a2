internal import LaunchPlanning
internal import LinuxKernel

/// Which paths would exist inside, for `--dry-run`, which makes no container to look into: by the plan's mounts, the
/// image's trees and the host's files.
struct PlannedPaths {
    private let plan: LaunchPlan
    private var trees: [String] = []

    init(_ plan: LaunchPlan) {
        self.plan = plan
        for step in plan.steps {
            switch step.action {
            case .root(.overlay(let lower)): trees = lower.reversed()
            case .root(.tree(let path)): trees = [path]
            default: break
            }
        }
    }

    func exists(_ path: String) -> Bool {
        var rest = Self.components(path)[...]
        var place: [String] = []
        var links = 0
        while let name = rest.popFirst() {
            if name == ".." {
                _ = place.popLast()
                continue
            }
            guard let found = status("/" + (place + [name]).joined(separator: "/")) else { return false }
            guard found.kind == .symlink, let path = found.path, let target = Self.target(of: path) else {
                place.append(name)
                continue
            }
            links += 1
            if links > 40 { return false }
            if target.hasPrefix("/") { place = [] }
            rest = Self.components(target) + rest
        }
        return true
    }

    private static func target(of path: String) -> String? {
        // Resolved from the path alone, which is absolute.
        guard let root = try? OwnedFileDescriptor(opening: "/", .path | .directory) else { return nil }  // then nothing is
        return try? RawText.string(root.linkTarget(path)[...])  // gone meanwhile
    }

    private static func components(_ path: String) -> [String] {
        path.utf8.split(separator: UInt8(ascii: "/")).map { String(Substring($0)) }.filter { $0 != "." }
    }

    /// Of one place, whose parents are no links; `path` is where it is on the host.
    private func status(_ place: String) -> (kind: FileStatus.Kind, path: String?)? {
        var sources: [String]? = trees.map { $0 + place }
        var isMade = false
        for step in plan.steps {
            switch step.action {
            case .bind(let bind) where Self.covers(bind.target, place):
                guard !bind.optional || (try? FileStatus(of: bind.source)) != nil else { continue }  // passed over
                sources = [bind.source + place.dropFirst(bind.target.utf8.count)]
                isMade = false
            case .mount(_, let target, _, _) where Self.covers(target, place),
                .deviceDirectory(let target) where Self.covers(target, place):
                sources = nil
                isMade = target == place
            case .unmount(let target) where Self.covers(target, place):
                sources = trees.map { $0 + place }
            case .bind(let bind) where Self.covers(place, bind.target): isMade = true
            case .mount(_, let target, _, _) where Self.covers(place, target): isMade = true
            case .directory(let path, _) where Self.covers(place, path): isMade = true
            case .home(let path) where Self.covers(place, path): isMade = true
            case .systemDirectory(let path, _) where Self.covers(place, path): isMade = true
            case .copy(_, let path) where path == place, .symlink(let path, _) where path == place,
                .file(_, let path) where path == place:
                isMade = true
            case .accounts where place == "/etc/passwd" || place == "/etc/group": isMade = true
            default: continue
            }
        }
        for source in sources ?? [] {
            guard let status = try? FileStatus(of: source, followLinks: false) else { continue }  // in the next
            // A whiteout: the layers below have it, the image does not.
            if status.kind == .characterDevice, status.majorNumber == 0, status.minorNumber == 0 { break }
            return (status.kind, source)
        }
        return isMade ? (.directory, nil) : nil
    }

    private static func covers(_ target: String, _ place: String) -> Bool {
        place == target
            || (place.hasPrefix(target) && place.utf8.dropFirst(target.utf8.count).first == UInt8(ascii: "/"))
    }
}
