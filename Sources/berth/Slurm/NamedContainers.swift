internal import Allocation
internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import Store

extension PrepareCommand {
    /// A named container: the one that runs, the one that is kept, or a new one.
    func container(named name: ContainerName) throws(Failure) -> JoinSpec {
        let (path, image) = (try plugin.settings().storePath, plugin.options.image)
        let store = try mapError(to: Failure.store) { () throws(StoreError) in
            try ImageStore.openOrCreate(path)
        }
        // A step that runs needs no lock, whose file would stay.
        let isKept = try mapError(to: Failure.store) { () throws(StoreError) in
            try store.container(name.directory) != nil
        }
        if !isKept, let step = try attach(toStep: name) { return step }
        // Held until the container stands: of two steps that want the name at once one builds, the other joins.
        let lock = try lock(name, in: store)
        defer { withExtendedLifetime(lock.self) {} }
        let kept = try mapError(to: Failure.store) { () throws(StoreError) in try store.container(name.directory) }
        let isRunning = kept.map { !Self.isFree($0.lease) } ?? false
        switch name.when {
        case .create where kept != nil:
            throw .report(
                Report(
                    "a container named \(name.name) exists already on this node",
                    hint: "leave out :create to use it, or choose another name"))
        case .exec where !isRunning:
            throw .report(Self.notRunning(name.name))
        case .noExec where isRunning:
            if let kept, let running = try running(name, kept) {
                return try build(try plugin.request(image: kept.image), in: kept, beside: running)
            }
        case .auto where isRunning, .exec:
            if let kept, let running = try running(name, kept) {
                return try attach(to: running, name.name, kept.lease)
            }
            if name.when == .exec { throw .report(Self.notRunning(name.name)) }
        default: break
        }
        // Nothing runs in it, or nothing does any more.
        if let kept {
            let given = (try? plugin.canonicalImage()) ?? image  // a file that is not here: another image all the same
            if !image.isEmpty, given != kept.image {
                Terminal.note(
                    "the container \(name.name) exists and was made from \(kept.image): --container-image is ignored")
            }
            try Self.take(kept.lease)
            return try build(try plugin.request(image: kept.image), in: kept)
        }
        guard !image.isEmpty else {
            throw .report(
                Report(
                    "no container named \(name.name) exists on this node",
                    hint:
                        "say with --container-image what to make it from; named containers belong to one node and one user"
                ))
        }
        let request = try plugin.request(image: image)
        let located = try ImageLocator(request).locate()
        let (text, digest, tree) = (try plugin.canonicalImage(), located.image.digest, located.image.trees.last)
        let made = try mapError(to: Failure.store) { () throws(StoreError) in
            try store.makeContainer(name.directory, image: text, digest: digest, root: tree)
        }
        try Self.take(made.lease)
        return try build(request, in: made, of: located)
    }

    /// Waits for the step that has it, which may be pulling the image: as long as this one may take.
    private func lock(_ name: ContainerName, in store: ImageStore) throws(Failure) -> WorkLock {
        let waiting = Waiting(
            activity: "is creating the container \(name.name)", hint: Self.timeoutHint, deadline: plugin.deadline)
        return try waiting.until(holders: { store.containerLockHolders(name.directory) }) { () throws(Failure) in
            try mapError(to: Failure.store) { () throws(StoreError) in try store.tryLockContainer(name.directory) }
        }
    }

    private static func isFree(_ lease: DescriptorBox) -> Bool {
        // Where nothing can be locked nothing can be known to run.
        (try? lease.descriptor.tryLock(.exclusive)) ?? true
    }

    /// From exclusive to shared: the same description, inherited by every task.
    private static func take(_ lease: DescriptorBox) throws(Failure) {
        try mapError(to: Failure.system) { () throws(SystemError) in
            do throws(SystemError) { try lease.descriptor.lock(.shared) } catch {
                if !error.meansNoLocks { throw error }
            }
        }
    }

    /// The files of the container take the place of the scratch that would end with the step.
    func keep(_ plan: inout LaunchPlan, in container: NamedContainer) throws(Failure) {
        for (index, step) in plan.steps.enumerated() {
            switch step.action {
            case .scratch: plan.steps[index] = PlannedStep(.scratch(.container(path: container.path)), step.origin)
            case .root(.tree(let path)):
                throw .report(
                    Report(
                        "a container made from \(path) can not be kept under a name: it can not be written to",
                        hint: "`berth inspect` says why overlayfs can not be used for this image"))
            default: break
            }
        }
    }

    private static func notRunning(_ name: String) -> Report {
        Report("no container named \(name) is running on this node", hint: "leave out :exec to start it")
    }

    /// The container with these files, its lease held; `nil` where its last process has ended meanwhile. By its files: one
    /// of the same name may still run that has been removed.
    private func running(
        _ name: ContainerName, _ kept: NamedContainer
    ) throws(Failure) -> RunningContainer? {
        let files = try kept.identity()
        for _ in 0..<100 {
            if let running = try find({ $0.files == files }) {
                try Self.take(kept.lease)
                return running
            }
            if Self.isFree(kept.lease) { return nil }
            // Its tasks have the lease and are about to join.
            Processes.sleep(milliseconds: 50)
        }
        throw .report(
            Report(
                "the container \(name.name) is in use on this node, but no process of it can be found",
                hint: "a process that has left the container may hold it: look for it with `fuser`"))
    }

    /// A name such as `1234.0` may be that of a running step's container.
    private func attach(toStep name: ContainerName) throws(Failure) -> JoinSpec? {
        let parts = name.name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, Int(parts[0]) != nil, Int(parts[1]) != nil || parts[1] == "batch",
            name.when == .auto || name.when == .exec, plugin.options.image.isEmpty,
            let running = try find({ $0.step == name.name })
        else { return nil }
        let environment = running.pin().flatMap { try? $0.environment() } ?? []  // ended: joining says so
        return try attach(to: running, name.name, environment: environment)
    }

    private func find(_ matches: (ContainerLabel) -> Bool) throws(Failure) -> RunningContainer? {
        try mapError(to: Failure.system) { () throws(SystemError) in
            try RunningContainer.find(matches)
        }
    }

    /// - Parameter environment: Of the container's first process. It wins over the caller's, as for `berth exec`, but not
    ///   over the variables that are each task's own, or that `--container-env` names.
    private func attach(
        to running: RunningContainer, _ name: String, _ lease: DescriptorBox? = nil, environment: [String] = []
    ) throws(Failure) -> JoinSpec {
        let label = running.label
        let namespaces = try mapError(to: Failure.system) { () throws(SystemError) in try running.namespaces() }
        var kinds = namespaces.reduce(into: NamespaceKinds()) { $0.formUnion($1.kind) }
        let processes = try mapError(to: Failure.system) { () throws(SystemError) in
            try running.processNamespace()
        }
        if processes != nil { kinds.insert(.process) }
        let words: [(NamespaceKinds, String)] = [
            (.network, "network"), (.ipc, "IPC"), (.hostname, "UTS"), (.process, "PID"),
        ]
        for (kind, word) in words where plugin.options.unshare.contains(kind) && !kinds.contains(kind) {
            throw .report(
                Report(
                    "the running container \(name) is not in a separate \(word) namespace",
                    hint: "leave out --container-unshare, or end the container first"))
        }
        let options = plugin.options
        for (isGiven, flag) in [
            (hasMounts, "mounts"), (options.gpus != .granted, "gpus"),
            (!options.devices.isEmpty || !options.cdiDevices.isEmpty, "device"),
        ] where isGiven {
            Terminal.note("attaching to the running container \(name): ignoring --container-\(flag)")
        }
        let request = try plugin.request(image: label.image, isAttached: true)
        let image = try ImageLocator(request).locate(digest: label.digest)
        let planner = LaunchPlanner(request, image)
        let grant = try DeviceGrant(request)
        var process = try planner.plan(grant, gpus: []).process
        // An unnamed container's files may be in a scratch directory that only its own processes hold.
        let leases = image.leases + [lease].compactMap { $0 } + (running.pin()?.leases() ?? [])  // ended: joining says so
        process.filters = try LaunchRequest.filters(of: label, keeping: process.filters)
        var spec = try mapError(to: Failure.system) { () throws(SystemError) in
            try JoinSpec(namespaces: namespaces, leases: leases)
        }
        try mapError(to: Failure.sandbox) { () throws(SandboxError) in try spec.join() }
        if let processes { spec.enter(processes: processes) }
        spec.directory = try enterWorkingDirectory(process)
        let named = zip(process.environment, process.environmentSources)
            .filter { $0.1 == VariableSource.option.rawValue }.map(\.0)
        drop(&process)
        process.environment.set(environment.filter { !TaskVariables.contain($0) })
        process.environment.set(named)
        spec.add(process, outside: plugin.caller.environment)
        spec.signalsReachEveryProcess = signalsReachEveryProcess(isApart: processes != nil)
        if planner.selector(grant).wantsPyTorch { spec.addRanks(chosen: request.options.variables) }
        if usesPMIx { spec.addPMIx() }
        return spec
    }
}

extension PluginRequest {
    /// The containers of a job that is over.
    func removeContainers(ofJob job: String) throws(Failure) {
        let path = try settings().storePath
        try mapError(to: Failure.store) { () throws(StoreError) in
            try ImageStore.open(existing: path)?.removeContainers { $0.hasPrefix("job-\(job)-") }
        }
    }
}

extension NamedContainer {
    /// Device and inode of its upper directory, which no other can have as long as an overlay uses it.
    func identity() throws(Failure) -> String {
        let status = try mapError(to: Failure.system) { () throws(SystemError) in
            try FileStatus(of: path + "/upper", followLinks: false)
        }
        return "\(status.device).\(status.inode)"
    }
}
