package import LinuxKernel

/// What `srun`, `sbatch` and their kin need inside, found on the host: programs, Slurm's own libraries and plugins, its
/// configuration, munge's socket, and the few other libraries that these ask for.
package struct SlurmClient: Sendable {
    package static let programs = [
        "srun", "sbatch", "salloc", "sbcast", "sattach", "scancel", "squeue", "sinfo", "scontrol", "sacct", "sstat",
    ]
    /// Where sockets of authentication lie: munge's, and Slurm's own (auth/slurm).
    package static let sockets = ["/run/munge", "/var/run/munge", "/run/slurm"]

    private let host: HostTree
    /// Each at the place that it has on the host.
    package private(set) var files: [String] = []
    package private(set) var directories: [String] = []
    /// What the image may have itself: soname and file.
    package private(set) var libraries: [LoaderCache.Library] = []

    /// `nil` where srun(1) is in none of the directories.
    ///
    /// - Parameters:
    ///   - configuration: The directory of slurm.conf.
    ///   - pluginDirectories: `PluginDir` of slurm.conf; beside them, what srun itself names is looked through.
    ///   - spankPlugins: Files that plugstack.conf names.
    ///   - socket: `socket=` of `AuthInfo`.
    ///   - path: Directories to look for programs in, the first one first.
    package init?(
        configuration: String, pluginDirectories: [String], spankPlugins: [String], socket: String?, path: [String],
        host: HostTree = HostTree()
    ) throws(SystemError) {
        self.host = host
        var elves: [String] = []
        for name in Self.programs {
            guard let place = path.map({ $0 + "/" + name }).first(where: host.exists) else { continue }
            files.append(place)
            elves.append(place)
        }
        guard let srun = elves.first, srun.hasSuffix("/srun") else { return nil }
        let own = (ELFFile(path: host.path(host.resolved(srun)))?.searchPath ?? []) + pluginDirectories
        for directory in own where try host.names(directory).contains(where: { $0.hasPrefix("libslurm") }) {
            add(directory: directory)
        }
        for directory in pluginDirectories { add(directory: directory) }
        for directory in directories {
            elves += try host.names(directory).filter { $0.hasSuffix(".so") && Self.isOfClient($0) }.map {
                directory + "/" + $0
            }
        }
        for plugin in spankPlugins where host.exists(plugin) && !isShown(plugin) {
            files.append(plugin)
            elves.append(plugin)
        }
        add(directory: configuration)
        for place in [socket.flatMap(Self.parent)].compactMap({ $0 }) + Self.sockets where host.link(place) == nil {
            add(directory: place)
        }
        findLibraries(of: elves)
    }

    private mutating func add(directory: String) {
        let path = HostTree.normalized(directory)
        if directory.hasPrefix("/"), path != "/", host.status(path)?.kind == .directory, !directories.contains(path) {
            directories.append(path)
        }
    }

    private func isShown(_ file: String) -> Bool { directories.contains { file.hasPrefix($0 + "/") } }

    private static func parent(_ path: String) -> String? {
        path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[..<$0]) }
    }

    /// Of Slurm's plugins those that a client loads; the daemons' ask for much more.
    private static func isOfClient(_ name: String) -> Bool {
        ["libslurm", "auth_", "cred_", "hash_", "tls_", "mpi_", "select_", "serializer_", "launch_", "switch_"]
            .contains { name.hasPrefix($0) }
    }

    /// What they need, and what that needs, but the C library's own: those are of one piece with the image's loader.
    private mutating func findLibraries(of elves: [String]) {
        guard let bytes = host.contents("/etc/ld.so.cache", limit: 64 << 20), let cache = LoaderCache(bytes) else {
            return
        }
        let ofTheLoader = [
            "ld-", "libc.", "libm.", "libdl.", "libpthread.", "librt.", "libresolv.", "libnss_", "libutil.",
        ]
        var names: [String] = []
        var left = elves
        while let next = left.popLast() {
            for name in ELFFile(path: host.path(host.resolved(next)))?.needed ?? []
            where !names.contains(name) && !ofTheLoader.contains(where: { name.hasPrefix($0) })
                && !directories.contains(where: { host.exists($0 + "/" + name) })
            {
                names.append(name)
                let wanted = Array(name.utf8)
                guard let found = cache.libraries(where: { $0.elementsEqual(wanted) }).first else { continue }
                libraries.append(LoaderCache.Library(soname: name, path: host.resolved(found.path)))
                left.append(found.path)
            }
        }
    }

    /// Where libraries that the image lacks are shown.
    static let libraryDirectory = "/usr/local/lib/berth-slurm"

    package func edits() -> [DeviceEdit] {
        let origin = DeviceEdit.Origin.option("--slurm")
        let attributes: MountAttributes = [.readOnly, .noSetUserID, .noDevices]
        func bind(_ source: String, _ path: String, recursive: Bool) -> DeviceEdit {
            DeviceEdit(
                .bind(source: host.path(source), path: path, recursive: recursive, attributes: attributes), origin)
        }
        var edits = directories.map { bind($0, $0, recursive: true) } + files.map { bind($0, $0, recursive: false) }
        var known: [LoaderCache.Library] = []
        for library in libraries {
            let path = Self.libraryDirectory + "/" + library.soname
            edits.append(bind(library.path, path, recursive: false))
            known.append(LoaderCache.Library(soname: library.soname, path: path))
        }
        // Programs that the image's PATH does not lead to.
        let usual = ["/usr/local/bin/", "/usr/bin/", "/bin/"]
        for file in files where !file.hasSuffix(".so") && !usual.contains(where: { file.hasPrefix($0) }) {
            let name = file.split(separator: "/").last.map(String.init) ?? file
            edits.append(DeviceEdit(.symlink(path: "/usr/local/bin/" + name, target: file), origin))
        }
        edits.append(DeviceEdit(.loader(LoaderUpdate(fallbacks: known)), origin))
        return edits
    }
}
