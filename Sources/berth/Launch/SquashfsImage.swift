internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Store

/// A file that holds a squashfs file system: Enroot's, or Apptainer's from an offset on.
struct SquashfsFile {
    let path: String
    let status: FileStatus
    /// Where the file system begins, in bytes.
    let offset: UInt64
}

/// A squashfs file system, unpacked once into the user's store as `squashfs/DEVICE-INODE-SIZE-TIMES/tree`, and never as
/// another user than the one who runs it.
struct UnpackedSquashfs {
    let path: String
    let tree: String
    let lease: DescriptorBox?

    init(_ file: SquashfsFile, storePath: String, deadline: UInt64?) throws(Failure) {
        path = file.path
        let store = try mapError(to: Failure.store) { () throws(StoreError) in
            try ImageStore.openOrCreate(storePath)
        }
        let place = try Self.place(of: file, in: store, deadline)
        if let lease = place.lease {
            (tree, self.lease) = (place.tree, lease)
            return
        }
        do throws(Failure) {
            try Self.unpack(file, to: place.draft, over: store.mountPoint, deadline)
            (tree, self.lease) = try mapError(to: Failure.store) { () throws(StoreError) in
                try store.publish(place, source: file.path)
            }
        } catch {
            store.abandon(place)
            throw error
        }
    }

    /// Waits until no other process unpacks the file.
    private static func place(
        of file: SquashfsFile, in store: ImageStore, _ deadline: UInt64?
    ) throws(Failure) -> UnpackedFile {
        let key = ImageStore.fileKey(file.status)
        let waiting = Waiting(
            activity: "is unpacking \(file.path)", hint: deadline == nil ? "" : PrepareCommand.timeoutHint,
            deadline: deadline)
        return try waiting.until(holders: { store.unpackers(of: key) }) { () throws(Failure) in
            try mapError(to: Failure.store) { () throws(StoreError) in try store.unpackedFile(key) }
        }
    }

    /// Whether a launch finds it unpacked. Looks only.
    static func exists(_ file: SquashfsFile, storePath: String) -> Bool {
        let tree = storePath + "/squashfs/" + ImageStore.fileKey(file.status) + "/tree"
        return (try? FileStatus(of: tree)) != nil  // absent, or not to be seen: to be unpacked
    }

    private static let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"]

    private static func find(_ program: String) -> String? {
        for place in places where (try? FileStatus(of: place + "/" + program)) != nil { return place + "/" + program }  // not there
        return nil
    }

    /// Mounted where nobody else sees it, and copied: the file system and the process behind it end with the copying.
    private static let copying =
        "squashfuse -o \"ro,offset=$4\" \"$1\" \"$2\" && cp -R -P --preserve=mode,timestamps,links \"$2\" \"$3\""

    private static func unpack(
        _ file: SquashfsFile, to draft: String, over mountPoint: String, _ deadline: UInt64?
    ) throws(Failure) {
        let path = file.path
        let (name, program, arguments): (String, String, [String])
        if let unsquashfs = find("unsquashfs") {
            (name, program) = ("unsquashfs", unsquashfs)
            let offset = file.offset == 0 ? [] : ["-offset", "\(file.offset)"]
            arguments = ["unsquashfs", "-no-progress", "-no-xattrs"] + offset + ["-d", draft, path]
        } else if find("squashfuse") != nil, let unshare = find("unshare") {
            (name, program) = ("squashfuse", unshare)
            let user = Identity.isRoot ? [] : ["--user", "--map-root-user"]
            let other = [
                "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", copying, "sh", path, mountPoint, draft,
                "\(file.offset)",
            ]
            arguments = ["unshare"] + user + other
        } else {
            throw .report(
                Report(
                    "cannot unpack \(path): this node has no unsquashfs, and no squashfuse",
                    hint: "install squashfs-tools on the nodes, or use the image by its name in a registry"))
        }
        let ended: Processes.Ended
        do throws(SystemError) {
            ended = try Processes.run(
                program, arguments: arguments, environment: ["PATH=" + places.joined(separator: ":")],
                output: .captureBoth(limit: 1 << 16), deadline: deadline ?? .max)
        } catch {
            throw .report(
                Report(
                    error.errno == Errno.ETIMEDOUT
                        ? "\(path) was still being unpacked at the end of the start time-out"
                        : "cannot unpack \(path): \(error.sentence)", hint: PrepareCommand.timeoutHint))
        }
        // 2 is for what an ordinary user can not make, such as device nodes, which no container needs.
        guard ended.status == 0 || (ended.status == 2 && name == "unsquashfs") else {
            let said = String(decoding: ended.output, as: UTF8.self).split(separator: "\n").suffix(5).map(String.init)
            throw .report(
                Report("cannot unpack \(path): \(name) ended with status \(ended.status)", details: said))
        }
    }
}

/// Where Apptainer keeps the environment and the command of an image in a SIF file.
enum ApptainerImage {
    static let environmentPath = ".singularity.d/env/10-docker2singularity.sh"
    static let scriptPath = ".singularity.d/runscript"
}

extension LocatedImage {
    /// Enroot keeps an image's configuration in files of its own: `SavedImage`.
    init(_ squashfs: UnpackedSquashfs, name: String) {
        func file(_ path: String) -> [UInt8] {
            // Not made by Enroot, or not what belongs there; a link in the tree stays in it.
            guard let tree = try? OwnedFileDescriptor(opening: squashfs.tree, .path | .directory),
                let file = try? tree.resolve(path, .readOnly | .nonBlocking),
                (try? file.status().kind) == .regular
            else { return [] }
            return (try? file.readAll(limit: 16 << 20)) ?? []
        }
        let (script, exact) = (file(SavedImage.scriptPath), file(SavedImage.exactPath))
        if script.isEmpty, exact.isEmpty, !file(ApptainerImage.scriptPath).isEmpty {
            let environment = ApptainerEnvironment(script: file(ApptainerImage.environmentPath))
            var found = ContainerImage(
                trees: [squashfs.tree], environment: environment.fixed, command: ["/" + ApptainerImage.scriptPath],
                name: name)
            found.defaults = environment.defaults
            image = found
        } else {
            let saved = SavedImage(environment: file(SavedImage.environmentPath), script: script, exact: exact)
            image = ContainerImage(
                trees: [squashfs.tree], environment: saved.environment, entrypoint: saved.entrypoint,
                command: saved.command, user: saved.user, workingDirectory: saved.workingDirectory, name: name)
        }
        mountPoint = squashfs.tree
        leases = [squashfs.lease].compactMap { $0 }
    }
}
