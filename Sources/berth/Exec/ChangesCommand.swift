internal import Diagnostics
internal import LinuxKernel
internal import Sandbox
internal import Store

/// `berth container-changes --container=NAME [--to=DESTINATION] -- VERB WORDS…`, for `berth commit` and `berth diff`. It
/// finds the container, and becomes that verb of the image tool with the container's files and its image's digest and name.
///
/// The image tool reads in a user namespace of its own, from which the kernel does not let it open the root directory of a
/// container. This program is in the caller's.
struct ChangesCommand {
    /// Where the files are.
    private var words: [String] = []
    private var image = ""
    private var digest = ""
    /// What keeps them as long as they are read.
    private var leases: [DescriptorBox] = []
    /// Inherited under the number that the words name.
    private var root: DescriptorBox?

    static func carryOut(_ words: [String]) throws(Failure) -> Never {
        let arguments = try InternalArguments(
            words, verb: "container-changes", ["--container", "--store", "--to"])
        let caller = CallerContext()
        var found = ChangesCommand()
        let name = arguments.value("--container") ?? ""
        let isKept =
            try ContainerFinder.exists(name) ? false : found.open(kept: name, arguments.value("--store"), caller)
        if !isKept { try found.open(running: name) }
        try found.become(arguments)
    }

    /// - Returns: Whether there is a named container of that name.
    private mutating func open(kept name: String, _ store: String?, _ caller: CallerContext) throws(Failure) -> Bool {
        guard !name.isEmpty, !name.hasPrefix("."), !name.contains("/") else { return false }
        let settings = try LaunchSettings(caller: caller, workingDirectory: caller.workingDirectory, store: store)
        let path = settings.storePath
        let names = [name] + (caller.variable("SLURM_JOB_ID").map { ["job-\($0)-\(name)"] } ?? [])
        let kept = try mapError(to: Failure.store) { () throws(StoreError) in
            guard let store = try ImageStore.open(existing: path) else { return NamedContainer?.none }
            for name in names { if let kept = try store.container(name) { return kept } }
            return nil
        }
        guard let kept else { return false }
        try mapError(to: Failure.system) { () throws(SystemError) in
            do throws(SystemError) { try kept.lease.descriptor.lock(.shared) } catch {
                if !error.meansNoLocks { throw error }
            }
        }
        words = ["--upper", kept.path + "/upper"]
        (image, digest, leases) = (kept.image, kept.digest, [kept.lease])
        return true
    }

    private mutating func open(running name: String) throws(Failure) {
        let container = try ContainerFinder.find(name)
        let root: DescriptorBox? = try mapError(to: Failure.system) { () throws(SystemError) in
            while let process = container.pin() {
                do throws(SystemError) {
                    // Root reads what root started. What another user wrote is for that user to read.
                    if Identity.isRoot, try process.namespaces().contains(where: { $0.kind == .user }) { return nil }
                    leases = process.leases()
                    let root = try process.root()
                    // Else it may be another process's.
                    if process.isRunning { return root }
                } catch {
                    if process.isRunning { throw error }
                }
            }
            throw SystemError(call: "open", errno: Errno.ESRCH, subject: "/proc")
        }
        guard let root else {
            throw .report(
                Report(
                    "the container \(container.shownName) belongs to another user, as whom root does not read its files",
                    hint: "run the command as that user: `berth ps` shows the name, sudo -u USER changes to it"))
        }
        let copy = try mapError(to: Failure.system) { () throws(SystemError) in try root.descriptor.inheritableCopy() }
        words = ["--merged", "/proc/self/fd/\(copy.number)"]
        self.root = copy.box
        (image, digest) = (container.label.image, container.label.digest)
    }

    private func become(_ arguments: InternalArguments) throws(Failure) -> Never {
        var (words, image) = (self.words, self.image)
        if !digest.isEmpty {
            words += ["--digest", digest]
        } else if image.hasPrefix("/"), (try? FileStatus(of: image).kind) == .directory {  // absent: said below
            image = "dir:" + image
        } else if !image.hasPrefix("dir:") {
            throw .report(
                Report(
                    "the container was made from \(image), which has no layers to put its changes on",
                    hint: "save it whole in the job step, with srun --container-save"))
        }
        if let store = arguments.value("--store") { words += ["--store", store] }
        words = arguments.rest + words + ["--", image] + (arguments.value("--to").map { [$0] } ?? [])
        try mapError(to: Failure.system) { () throws(SystemError) in
            for lease in leases { try lease.descriptor.duplicate().inheritAcrossExec() }
        }
        withExtendedLifetime(root) { ImageTool.become(words) }
    }
}
