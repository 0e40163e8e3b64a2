internal import Devices
internal import LaunchPlanning
internal import LinuxKernel

/// What devices ask for beside nodes and mounts.
extension PlanInterpreter {
    /// Libraries that were mounted, made known to the image's dynamic loader: its cache is read and written anew, as
    /// nothing of the image may run before its command.
    mutating func updateLoader(_ update: LoaderUpdate) throws(StepFailure) {
        var libraries = update.libraries
        if let compatibility = update.compatibility {
            libraries = compatibilityLibraries(compatibility) + libraries
        }
        if !libraries.isEmpty || !update.fallbacks.isEmpty {
            let image = try inside().contents(of: "etc/ld.so.cache")
            libraries += Self.lacking(update.fallbacks, in: image)
            if !libraries.isEmpty, let bytes = LoaderCache.adding(libraries, to: image) {
                try put(bytes, at: "/etc/ld.so.cache")
            }
        }
        try tellMusl(update.folders)
    }

    private static func lacking(_ fallbacks: [LoaderCache.Library], in image: [UInt8]) -> [LoaderCache.Library] {
        guard !fallbacks.isEmpty, let cache = LoaderCache(image) else { return fallbacks }
        let present = cache.libraries
        return fallbacks.filter { wanted in !present.contains { $0.soname == wanted.soname } }
    }

    /// musl's loader has a list of directories and no cache.
    private mutating func tellMusl(_ folders: [String]) throws(StepFailure) {
        guard !folders.isEmpty, let name = Self.muslName, inside().isThere("lib/ld-musl-\(name).so.1") else { return }
        let path = "etc/ld-musl-\(name).path"
        var lines = String(decoding: try inside().contents(of: path), as: UTF8.self)
            .split { $0 == "\n" || $0 == ":" }.map(String.init)
        if lines.isEmpty { lines = ["/lib", "/usr/local/lib", "/usr/lib"] }
        let added = folders.filter { !lines.contains($0) }
        guard !added.isEmpty else { return }
        try put(Array(((lines + added).joined(separator: "\n") + "\n").utf8), at: "/" + path)
    }

    private static var muslName: String? {
        #if arch(x86_64)
            "x86_64"
        #elseif arch(arm64)
            "aarch64"
        #else
            nil
        #endif
    }

    /// The libraries of a newer driver that the image brings, where they are to be used. What can not be read or does
    /// not look as it should is not used: the host's driver always works.
    private func compatibilityLibraries(_ compatibility: CUDACompatibility) -> [LoaderCache.Library] {
        let path = String(compatibility.directory.drop { $0 == "/" })
        let root = inside().directory
        guard let directory = try? root.descriptor.resolve(path, .readOnly | .directory),  // most images have none
            let names = try? directory.entries()
        else { return [] }
        let drivers = names.map(\.displayPath).filter { name in
            guard name.hasPrefix("libcuda.so."), name.dropFirst(11).contains(".") else { return false }
            return (try? directory.status(of: name).kind) == .regular  // gone meanwhile: not usable
        }
        guard drivers.count == 1,
            let library = try? directory.open(drivers[0], .readOnly | .noFollow | .nonBlocking)
        else { return [] }
        let note = ELFFile(library)?.note(section: CUDACompatibility.section, owner: CUDACompatibility.owner)
        guard compatibility.isUsable(version: String(drivers[0].dropFirst(11)), note: note) else { return [] }
        return names.map(\.displayPath).sorted().filter(Self.isSoname).map { name in
            LoaderCache.Library(soname: name, path: compatibility.directory + "/" + name)
        }
    }

    /// `libNAME.so.NUMBER`.
    private static func isSoname(_ name: String) -> Bool {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 3 && parts[0].hasPrefix("lib") && parts[1] == "so" && Int(parts[2]) != nil
    }

    /// Our own content over a file of a file system that takes none, such as /proc.
    mutating func cover(_ path: String, _ bytes: [UInt8]) throws(StepFailure) {
        guard let scratch else { preconditionFailure("the scratch step comes first") }
        let target: RootDirectory.Place
        do throws(StepFailure) { target = try inside().place(path, creating: .nothing) } catch {
            if case .targetMissing = error { return }
            throw error
        }
        let source = try system { () throws(SystemError) in try makeFile(bytes, in: scratch.descriptor) }
        try system { () throws(SystemError) in
            try Mounts.bind(source, over: target.box.descriptor, recursive: false)
        }
    }

    /// Only of directories on the container's own file systems: a mounted one is the host's.
    func setMode(_ path: String, _ mode: UInt32) throws(StepFailure) {
        guard let place = try? inside().place(path, creating: .nothing), place.isDirectory else { return }  // as ldconfig: absent is fine
        try system { () throws(SystemError) in
            let own = [try inside().directory.descriptor.status().device] + ownDevices
            guard own.contains(try place.box.descriptor.status().device) else { return }
            let directory = try place.box.descriptor.open(".", .readOnly | .directory)
            do throws(SystemError) { try directory.setPermissions(mode) } catch {
                if error.errno != Errno.EPERM && error.errno != Errno.EROFS { throw error }
            }
        }
    }

    /// The file systems of the container's own /dev.
    private var ownDevices: [UInt64] {
        guard let place = try? inside().place("/dev", creating: .nothing),  // a container without /dev
            let status = try? place.box.descriptor.status()
        else { return [] }
        return [status.device]
    }

    /// Runs a program of the host with the state that the runtime-spec has a hook read, and no variable but the hook's
    /// own. https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#state
    mutating func run(_ hook: HookCall) throws(StepFailure) {
        let process = Processes.ownID
        let rootPath = hook.isInside ? "/" : mountPoint + "/root"
        var bundle = "/"
        if !hook.isInside, let scratch {
            // Hooks that know no `root` in the state look for config.json in the bundle.
            let bytes = Array("{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\(Self.quoted(rootPath))}}\n".utf8)
            try system { () throws(SystemError) in
                try makeBundle(bytes, in: scratch.descriptor)
            }
            bundle = mountPoint + "/bundle"
        }
        let state =
            "{\"ociVersion\":\"1.2.0\",\"id\":\"berth-\(process)\",\"status\":\"creating\",\"pid\":\(process),"
            + "\"root\":\(Self.quoted(rootPath)),\"bundle\":\(Self.quoted(bundle))}\n"
        let deadline = hook.timeout.map { Clock.monotonicNanoseconds + UInt64(max(0, $0)) * 1_000_000_000 }
        let ended: Processes.Ended
        do throws(SystemError) {
            ended = try Processes.run(
                hook.path, arguments: hook.arguments, environment: hook.environment,
                output: deadline == nil ? .standardError : .capture(limit: 65536), input: Array(state.utf8),
                deadline: deadline)
        } catch {
            throw error.errno == Errno.ETIMEDOUT ? .hookLate(hook.path) : .system(error)
        }
        guard ended.status == 0 else { throw .hookFailed(hook.path, status: ended.status) }
        // It may have mounted or replaced anything.
        root?.forget()
    }

    private func makeBundle(
        _ bytes: [UInt8], in scratch: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        do throws(SystemError) { try scratch.makeDirectory("bundle", mode: 0o755) } catch {
            if error.errno == Errno.EEXIST { return }  // an earlier hook's
            throw error
        }
        try scratch.open("bundle/config.json", .writeOnly | .create | .exclusive, mode: 0o644).writeAll(bytes)
    }

    /// A JSON string.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\" + String(scalar)
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
