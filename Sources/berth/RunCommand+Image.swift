internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig
internal import Store

/// An image that is there to be run.
struct PreparedImage {
    let image: ContainerImage
    /// An existing directory to cover with the container's mounts.
    let mountPoint: String
    /// Keep the image, and layers of it in other stores, from being collected.
    let leases: [DescriptorBox]
}

extension RunCommand {
    /// The image, pulled first where the policy wants it.
    func prepare() throws(Failure) -> PreparedImage {
        if let squashfs { return PreparedImage(squashfs, name: squashfs.path) }
        if case .directory = source { return try found() }
        if options.pull == .always {
            try pull()
        } else if let image = try lookUp() {
            return image
        } else if options.pull == .missing {
            try pull()
        }
        return try found()
    }

    /// The image as it is in the store now.
    func found() throws(Failure) -> PreparedImage {
        if let squashfs { return PreparedImage(squashfs, name: squashfs.path) }
        if case .directory(let path) = source { return try directory(path) }
        if let image = try lookUp() { return image }
        throw .report(
            Report(
                "the image \(options.image) is not in the store \(storePath)",
                hint: options.pull == .never
                    ? "pull it with `berth pull \(options.image)`, or leave out --pull never"
                    : "pull it again with `berth pull \(options.image)`"))
    }

    /// The very image that a named container was made from: its files lie over the trees of no other.
    func prepare(pinned container: NamedContainer?) throws(Failure) -> PreparedImage {
        try prepare(digest: container?.digest ?? "")
    }

    func prepare(digest text: String) throws(Failure) -> PreparedImage {
        guard !text.isEmpty, let digest = try? Digest(parsing: text) else { return try prepare() }  // none: any will do
        if let image = try lookUp(digest) { return image }
        let image = try prepare()
        guard image.image.digest == text else {
            throw .report(
                Report(
                    "the image of this container, \(options.image), is no longer in the store, and now stands for another",
                    details: ["made from \(text)", "now \(image.image.digest)"],
                    hint: "pull the old one by its digest with `berth pull`, or make the container anew"))
        }
        return image
    }

    private func lookUp(_ digest: Digest? = nil) throws(Failure) -> PreparedImage? {
        let (places, source, platform) = (storePlaces, source, platform)
        return try named(Failure.store) { () throws(StoreError) in
            if let digest {
                guard let lease = try ImageStores.lease(digest, in: places) else { return nil }
                return PreparedImage(lease, name: options.image)
            }
            guard let lease = try ImageStores.lease(try ImageKey(source, platform: platform), in: places) else {
                return nil
            }
            return PreparedImage(lease, name: options.image)
        }
    }

    /// The caller's own store, then the site's.
    private var storePlaces: [StorePlace] {
        if configuration.sharedStores.isEmpty { return [StorePlace(path: storePath)] }
        let shared = configuration.sharedStores.map { StorePlace(path: $0.path, owner: $0.owner) }
        // The site may vouch for it where it is the own one, too.
        let own = shared.first { $0.path == storePath } ?? StorePlace(path: storePath)
        return [own] + shared.filter { $0.path != storePath }
    }

    private func pull() throws(Failure) {
        var arguments: [String] = []
        if options.quiet { arguments.append("--quiet") }
        // Of many launches at once one pulls; the others wait for it and take what it brought.
        if options.pull == .missing { arguments.append("--if-missing") }
        if let platform = options.platform { arguments += ["--platform", platform] }
        // Whoever ends this program alone does not want the pull to go on.
        arguments += ["--ends-with", "\(Processes.ownID)", "--store", storePath, options.image]
        var environment = host.environment
        if !configuration.insecureRegistries.isEmpty {
            let all = [host.variable("BERTH_INSECURE_REGISTRIES")].compactMap { $0 } + configuration.insecureRegistries
            environment.removeAll { $0.hasPrefix("BERTH_INSECURE_REGISTRIES=") }
            environment.append("BERTH_INSECURE_REGISTRIES=" + all.joined(separator: ","))
        }
        let given = environment
        do throws(Failure) {
            try RichProgram.handing(configuration, given) { (environment) throws(Failure) in
                try RichProgram.pull(arguments, environment: environment, deadline: deadline, image: options.image)
            }
        } catch {
            guard isForOthers, case .reportedAlready = error else { throw error }
            // Pyxis' words, which monitoring of sites looks for.
            throw .report(Report("failed to import docker image: \(options.image)", hint: "see the error of `berth pull` above"))
        }
    }

    private func directory(_ path: String) throws(Failure) -> PreparedImage {
        let status = try named({ (error: SystemError) in
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
                    hint: error.errno == 13
                        ? "the owner can open it to other users with `chmod go+x \(path)`, or copy it and use the copy" : nil))
        }
        // There is nothing to mount the container on: whatever is mounted on the root, those who stand in it see what lies below.
        if let top = try? FileStatus(of: "/"), top.device == status.device, top.inode == status.inode {  // unreadable: not it
            throw .report(
                Report(
                    "cannot use \(path) as a root file system: it is the root of this host",
                    hint: "run an image and mount what you need of the host: berth run -v /opt:/opt IMAGE"))
        }
        return PreparedImage(
            image: ContainerImage(trees: [path], command: ["/bin/sh"], name: options.image), mountPoint: path,
            leases: [])
    }
}

extension PreparedImage {
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
