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
        let key =
            "\(status.device)-\(status.inode)-\(status.size)-\(status.modified.seconds).\(status.modified.nanoseconds)"
        let place = try named(Failure.store) { () throws(StoreError) in try store.unpackedFile(key) }
        if let lease = place.lease {
            (tree, self.lease) = (place.tree, lease)
            return
        }
        try Self.unpack(path, to: place.draft, over: store.mountPoint, deadline)
        (tree, self.lease) = try named(Failure.store) { () throws(StoreError) in try store.publish(place) }
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
    /// Enroot keeps an image's configuration in files of its own: /etc/environment, and the script /etc/rc.
    init(_ squashfs: UnpackedSquashfs, name: String) {
        func lines(_ path: String) -> [String] {
            // The tree is the user's own, and so is whatever a link in it leads to.
            let bytes = (try? contents(of: squashfs.tree + path, limit: 1 << 20)) ?? []  // not made by Enroot
            return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        }
        func quoted(_ line: String, _ quote: Character) -> [String] {
            line.split(separator: quote, omittingEmptySubsequences: false).enumerated()
                .filter { $0.offset % 2 == 1 }.map { String($0.element) }
        }
        let environment = lines("/etc/environment").filter { $0.contains("=") && !$0.hasPrefix("#") }
        let rc = lines("/etc/rc")
        let directory = rc.first { $0.hasPrefix("cd \"") }.flatMap { quoted($0, "\"").first } ?? ""
        let entrypoint = rc.first { $0.contains("exec '") && $0.contains("\"$@\"") }.map { quoted($0, "'") } ?? []
        image = ContainerImage(
            trees: [squashfs.tree], environment: environment, entrypoint: entrypoint, command: ["/bin/sh"],
            workingDirectory: directory, name: name)
        mountPoint = squashfs.tree
        leases = [squashfs.lease].compactMap { $0 }
    }
}
