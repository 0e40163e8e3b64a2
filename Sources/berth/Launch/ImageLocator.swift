internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig
internal import Store

/// An image that is there to be run, and stays there as long as the leases are open.
struct LocatedImage {
    let image: ContainerImage
    /// An existing directory to cover with the container's mounts.
    let mountPoint: String
    /// Keep the image, and layers of it in other stores, from being collected.
    let leases: [DescriptorBox]
}

/// Finds the image of a request, whatever kind of source it has, and pulls or unpacks it first where it is not there.
struct ImageLocator {
    let request: LaunchRequest

    init(_ request: LaunchRequest) { self.request = request }

    private var options: LaunchOptions { request.options }
    private var name: String { options.image }

    /// The image, pulled first where `--pull` wants it.
    func locate() throws(Failure) -> LocatedImage {
        do throws(Failure) { return try locateOrPull() } catch {
            guard request.audience == .tasksOfPlugin, case .reportedAlready = error else { throw error }
            // Pyxis' words, which monitoring of sites looks for.
            throw .report(Report("failed to import docker image: \(name)", hint: "see the error of `berth pull` above"))
        }
    }

    private func locateOrPull() throws(Failure) -> LocatedImage {
        guard case .stored = request.source else { return try find() }
        if options.pull == .always {
            try pull()
        } else if options.pull == .newer {
            do throws(Failure) { try pull() } catch {
                guard case .reportedAlready = error, let image = try lookUp() else { throw error }
                if !options.quiet { Terminal.note("--pull newer: using the image that is in the store") }
                return image
            }
        } else if let image = try lookUp() {
            return image
        } else if options.pull == .missing {
            try pull()
        }
        return try find()
    }

    /// The image as it is now, without pulling it. A squashfs file is unpacked if it was not yet.
    func find() throws(Failure) -> LocatedImage {
        switch request.source {
        case .directory(let path): return try directory(path)
        case .squashfs(let file):
            let tree = try UnpackedSquashfs(file, storePath: request.settings.storePath, deadline: request.deadline)
            return LocatedImage(tree, name: name)
        case .stored: break
        }
        if let image = try lookUp() { return image }
        throw .report(
            Report(
                "the image \(name) is not in the store \(request.settings.storePath)",
                hint: options.pull == .never
                    ? "pull it with `berth pull \(name)`, or leave out --pull never"
                    : "pull it again with `berth pull \(name)`"))
    }

    /// The very image that a named container was made from: its files lie over the trees of no other.
    ///
    /// - Parameter text: The digest; empty where any image of this name will do.
    func locate(digest text: String) throws(Failure) -> LocatedImage {
        if text.isEmpty { return try locate() }
        guard let digest = try? Digest(parsing: text) else {  // what is wrong with it helps nobody
            throw .report(
                Report(
                    "the container's record names no image: its digest is \"\(text)\"",
                    hint: "remove the container with `berth containers rm`, and create it again"))
        }
        if let image = try lookUp(digest) { return image }
        let image = try locate()
        guard image.image.digest == text else {
            throw .report(
                Report(
                    "the image of this container, \(name), is no longer in the store, and now stands for another",
                    details: ["made from \(text)", "now \(image.image.digest)"],
                    hint: "pull the old one by its digest with `berth pull`, or create the container again"))
        }
        return image
    }

    private func lookUp(_ digest: Digest? = nil) throws(Failure) -> LocatedImage? {
        let places = request.settings.storePlaces
        if let digest {
            return try mapError(to: Failure.store) { () throws(StoreError) in
                guard let lease = try ImageStores.lease(digest, in: places) else { return nil }
                return LocatedImage(lease, name: name)
            }
        }
        guard case .stored(let source) = request.source else { return nil }
        let platform = request.platform
        return try mapError(to: Failure.store) { () throws(StoreError) in
            let key = try ImageKey(source, platform: platform)
            guard let lease = try ImageStores.lease(key, in: places) else { return nil }
            return LocatedImage(lease, name: name)
        }
    }

    private func pull() throws(Failure) {
        guard case .stored(let source) = request.source else { return }
        // A path as it was resolved; a reference as it was written, for messages.
        let argument = source.path == nil ? name : source.description
        var arguments: [String] = []
        if options.quiet { arguments.append("--quiet") }
        // Of many launches at once one pulls; the others wait for it and take what it brought.
        if options.pull == .missing { arguments.append("--if-missing") }
        if let platform = options.platform { arguments += ["--platform", platform] }
        // Whoever ends this program alone does not want the pull to go on.
        arguments += ["--ends-with", "\(Processes.ownID)", "--store", request.settings.storePath, argument]
        let (caller, configuration) = (request.caller, request.configuration)
        var environment = caller.environment
        if !configuration.insecureRegistries.isEmpty {
            let all =
                [caller.variable("BERTH_INSECURE_REGISTRIES")].compactMap { $0 } + configuration.insecureRegistries
            environment.removeAll { $0.hasPrefix("BERTH_INSECURE_REGISTRIES=") }
            environment.append("BERTH_INSECURE_REGISTRIES=" + all.joined(separator: ","))
        }
        let (given, deadline) = (environment, request.deadline)
        try ImageTool.handing(configuration, given) { (environment) throws(Failure) in
            try ImageTool.pull(arguments, environment: environment, deadline: deadline, image: name)
        }
    }

    private func directory(_ path: String) throws(Failure) -> LocatedImage {
        let status = try mapError(to: { (error: SystemError) in
            .report(
                Report(
                    "cannot use \(path) as a root file system: \(error.sentence)",
                    hint: "dir: takes a directory that holds /bin, /etc, …"))
        }) { () throws(SystemError) in try FileStatus(of: path) }
        guard status.kind == .directory else {
            throw .report(
                Report(
                    "cannot use \(path) as a root file system: it is no directory",
                    hint: "for a tar file write oci-archive:\(path) or docker-archive:\(path)"))
        }
        // Search permission is enough: the names in a tree of mode 0711 are the caller's to know.
        do throws(SystemError) { _ = try OwnedFileDescriptor(opening: path + "/.", .path | .directory) } catch {
            throw .report(
                Report(
                    "cannot use \(path) as a root file system: \(error.sentence): owned by uid \(status.userID), "
                        + "mode \(String(status.permissions, radix: 8))",
                    hint: error.errno == Errno.EACCES
                        ? "the owner can open it to other users with `chmod go+x \(path)`, or copy it and use the copy"
                        : nil))
        }
        // There is nothing to mount the container on: whatever is mounted on the root, those who stand in it see what lies below.
        if let top = try? FileStatus(of: "/"), top.device == status.device, top.inode == status.inode {  // unreadable: not it
            throw .report(
                Report(
                    "cannot use \(path) as a root file system: it is the root of this host",
                    hint: "run an image and mount what you need of the host: berth run -v /opt:/opt IMAGE"))
        }
        return LocatedImage(
            image: ContainerImage(trees: [path], command: ["/bin/sh"], name: name), mountPoint: path, leases: [])
    }
}

extension LocatedImage {
    init(_ lease: consuming ImageLease, name: String) {
        let record = lease.record
        image = ContainerImage(
            trees: lease.trees, overlay: record.overlay, environment: record.environment,
            // Records of earlier versions may hold it: Docker takes it for no entrypoint.
            entrypoint: record.entrypoint == [""] ? [] : record.entrypoint,
            command: record.command, user: record.user, workingDirectory: record.workingDirectory, name: name,
            digest: record.digest.description)
        mountPoint = lease.mountPoint
        leases = [lease.box] + lease.layers
    }
}
