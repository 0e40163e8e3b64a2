package import LinuxKernel

/// The host files that `srun`, `sbatch` and similar commands need inside a container: the programs, Slurm's libraries
/// and plugins, its configuration, munge's socket, and the libraries that these load.
package struct SlurmClient: Sendable {
    package static let programs = [
        "srun", "sbatch", "salloc", "sbcast", "sattach", "scancel", "squeue", "sinfo", "scontrol", "sacct", "sstat",
    ]
    /// Directories of authentication sockets: munge's and Slurm's own (auth/slurm).
    package static let sockets = ["/run/munge", "/var/run/munge", "/run/slurm"]

    private let host: HostTree
    /// Files to mount at the same path.
    package private(set) var files: [String] = []
    package private(set) var directories: [String] = []
    /// Libraries to mount unless the image has them.
    package private(set) var libraries: [LoaderCache.Library] = []

    /// Returns `nil` if none of the directories contains srun(1).
    ///
    /// - Parameters:
    ///   - configuration: The directory of slurm.conf.
    ///   - pluginDirectories: `PluginDir` of slurm.conf, searched in addition to the directory that srun uses.
    ///   - spankPlugins: The files in plugstack.conf.
    ///   - socket: `socket=` of `AuthInfo`.
    ///   - path: Directories to search for programs, in this order.
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

    /// Selects the Slurm plugins that a client loads. Those of the daemons need many more libraries.
    private static func isOfClient(_ name: String) -> Bool {
        ["libslurm", "auth_", "cred_", "hash_", "tls_", "mpi_", "select_", "serializer_", "launch_", "switch_"]
            .contains { name.hasPrefix($0) }
    }

    /// Finds the libraries that these files need, recursively, except those of the C library, which must match the
    /// image's loader.
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

    /// The container directory for libraries that the image lacks.
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
        // Add links for programs outside the directories of the usual PATH.
        let usual = ["/usr/local/bin/", "/usr/bin/", "/bin/"]
        for file in files where !file.hasSuffix(".so") && !usual.contains(where: { file.hasPrefix($0) }) {
            let name = file.split(separator: "/").last.map(String.init) ?? file
            edits.append(DeviceEdit(.symlink(path: "/usr/local/bin/" + name, target: file), origin))
        }
        edits.append(DeviceEdit(.loader(LoaderUpdate(fallbacks: known)), origin))
        return edits
    }
}
