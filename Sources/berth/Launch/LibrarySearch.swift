internal import Devices
internal import LaunchPlanning
internal import LinuxKernel

/// Which shared libraries a program inside would find, by ld.so(8): in `LD_LIBRARY_PATH`, in the loader's cache, in its
/// own directories. Looked up only where `--require nccl` asks.
struct LibrarySearch {
    private let plan: LaunchPlan
    private let trees: [String]
    private let directories: [String]
    private let cache: LoaderCache?

    init(_ plan: LaunchPlan, trees: [String]) {
        self.plan = plan
        self.trees = trees
        let prefix = "LD_LIBRARY_PATH="
        let listed = plan.process.environment.last { $0.hasPrefix(prefix) }?.dropFirst(prefix.utf8.count).split(
            separator: ":")
        directories = (listed ?? []).map(String.init).filter { $0.hasPrefix("/") } + Self.usual
        var cache: LoaderCache?
        for tree in trees.reversed() where cache == nil {
            cache = Self.open("/etc/ld.so.cache", in: tree, .readOnly) { (file) throws(SystemError) in
                LoaderCache(try file.readAll(limit: 64 << 20))
            }
        }
        self.cache = cache
    }

    private static let usual = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"].flatMap { directory in
        [directory, directory + "/x86_64-linux-gnu", directory + "/aarch64-linux-gnu"]
    }

    func finds(_ name: String) -> Bool {
        let wanted = Array(name.utf8)
        if cache?.libraries(where: { $0.elementsEqual(wanted) }).isEmpty == false { return true }
        for step in plan.steps {
            if case .loader(let update) = step.action,
                (update.libraries + update.fallbacks).contains(where: { $0.soname == name })
            {
                return true
            }
        }
        return directories.contains { isThere($0 + "/" + name) }
    }

    /// What is mounted last over a place hides what is below.
    private func isThere(_ path: String) -> Bool {
        for step in plan.steps.reversed() {
            guard case .bind(let bind) = step.action, path == bind.target || path.hasPrefix(bind.target + "/") else {
                continue
            }
            return HostTree().exists(bind.source + path.dropFirst(bind.target.utf8.count))
        }
        return trees.contains { tree in Self.open(path, in: tree, .path) { _ in true } ?? false }
    }

    /// Absent, or not to be opened: `nil`.
    private static func open<Value>(
        _ path: String, in tree: String, _ flags: OpenFlags,
        _ body: (borrowing OwnedFileDescriptor) throws(SystemError) -> Value?
    ) -> Value? {
        guard let directory = try? OwnedFileDescriptor(opening: tree, .path | .directory),
            let file = try? directory.resolve(path, flags)
        else { return nil }
        return try? body(file)
    }
}
