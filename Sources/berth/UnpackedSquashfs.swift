internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Store

/// A squashfs file of Enroot's, unpacked once into the user's store as `squashfs/DEVICE-INODE-SIZE-TIME/tree`, and never as
/// another user than the one who runs it.
struct UnpackedSquashfs {
    let path: String
    let tree: String
    let lease: DescriptorBox?

    init(_ path: String, _ status: FileStatus, storePath: String, deadline: UInt64?) throws(Failure) {
        self.path = path
        guard status.kind == .regular, Self.isSquashfs(path) else {
            throw .report(
                Report(
                    "cannot run \(path): it is neither a directory nor a squashfs file",
                    hint: "for an archive write oci-archive:\(path) or docker-archive:\(path)"))
        }
        let store = try named(Failure.store) { () throws(StoreError) in
            try ImageStore.openOrCreate(storePath)
        }
        let key = ImageStore.fileKey(status)
        let place = try named(Failure.store) { () throws(StoreError) in try store.unpackedFile(key) }
        if let lease = place.lease {
            (tree, self.lease) = (place.tree, lease)
            return
        }
        try Self.unpack(path, to: place.draft, over: store.mountPoint, deadline)
        (tree, self.lease) = try named(Failure.store) { () throws(StoreError) in try store.publish(place, source: path) }
    }

    private static func isSquashfs(_ path: String) -> Bool {
        guard let file = try? OwnedFileDescriptor(opening: path, .readOnly | .nonBlocking) else { return true }  // unsquashfs says why
        var magic = [UInt8](repeating: 0, count: 4)
        let count = magic.withUnsafeMutableBytes { try? file.read(into: $0) }  // unreadable: likewise
        return count.map { $0 == 4 && magic == Array("hsqs".utf8) } ?? true
    }

    private static let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"]

    private static func find(_ program: String) -> String? {
        for place in places where (try? FileStatus(of: place + "/" + program)) != nil { return place + "/" + program }  // not there
        return nil
    }

    /// Mounted where nobody else sees it, and copied: the file system and the process behind it end with the copying.
    private static let copying =
        "squashfuse -o ro \"$1\" \"$2\" && cp -R -P --preserve=mode,timestamps,links \"$2\" \"$3\""

    private static func unpack(
        _ path: String, to draft: String, over mountPoint: String, _ deadline: UInt64?
    ) throws(Failure) {
        let (name, program, arguments): (String, String, [String])
        if let unsquashfs = find("unsquashfs") {
            (name, program) = ("unsquashfs", unsquashfs)
            arguments = ["unsquashfs", "-no-progress", "-no-xattrs", "-d", draft, path]
        } else if find("squashfuse") != nil, let unshare = find("unshare") {
            (name, program) = ("squashfuse", unshare)
            let user = Identity.isRoot ? [] : ["--user", "--map-root-user"]
            let other = [
                "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", copying, "sh", path, mountPoint, draft,
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
                    error.errno == 110  // ETIMEDOUT
                        ? "\(path) was still being unpacked at the end of the start time-out"
                        : "cannot unpack \(path): \(error.sentence)", hint: HoldCommand.timeoutHint))
        }
        // 2 is for what an ordinary user can not make, such as device nodes, which no container needs.
        guard ended.status == 0 || (ended.status == 2 && name == "unsquashfs") else {
            let said = String(decoding: ended.output, as: UTF8.self).split(separator: "\n").suffix(5).map(String.init)
            throw .report(
                Report("cannot unpack \(path): \(name) ended with status \(ended.status)", details: said))
        }
    }
}

extension PreparedImage {
    /// Enroot keeps an image's configuration in files of its own: `SavedImage`.
    init(_ squashfs: UnpackedSquashfs, name: String) {
        func file(_ path: String) -> [UInt8] {
            // Not made by Enroot, or not what belongs there; a link in the tree stays in it.
            guard let tree = try? OwnedFileDescriptor(opening: squashfs.tree, .path | .directory),  // see above
                let file = try? tree.resolve(path, .readOnly | .nonBlocking),  // see above
                (try? file.status().kind) == .regular  // see above
            else { return [] }
            return (try? file.readAll(limit: 16 << 20)) ?? []  // see above
        }
        let saved = SavedImage(
            environment: file(SavedImage.environmentPath), script: file(SavedImage.scriptPath),
            exact: file(SavedImage.exactPath))
        image = ContainerImage(
            trees: [squashfs.tree], environment: saved.environment, entrypoint: saved.entrypoint,
            command: saved.command, user: saved.user, workingDirectory: saved.workingDirectory, name: name)
        mountPoint = squashfs.tree
        leases = [squashfs.lease].compactMap { $0 }
    }
}
