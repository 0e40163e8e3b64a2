internal import Diagnostics
internal import LinuxKernel
internal import Sandbox
internal import Store

/// The name of `--name`, locked until the container can be found by it. No record of names is kept: a name is in use as long
/// as a container with that label runs.
struct NameClaim: ~Copyable {
    private let lock: WorkLock

    /// - Parameter step: Its tasks may have containers of one name.
    init(_ name: String, step: String, storePath: String, deadline: UInt64?) throws(Failure) {
        let lock = try Self.lock(name, storePath, deadline)
        try Self.refuseTaken(name, step)
        self.lock = lock
    }

    private static func lock(_ name: String, _ storePath: String, _ deadline: UInt64?) throws(Failure) -> WorkLock {
        let store = try mapError(to: Failure.store) { () throws(StoreError) in try ImageStore.openOrCreate(storePath) }
        let waiting = Waiting(
            activity: "is starting a container with the name \(name)", hint: "choose another name", deadline: deadline)
        return try waiting.until(holders: { store.containerLockHolders(name) }) { () throws(Failure) in
            try mapError(to: Failure.store) { () throws(StoreError) in try store.tryLockContainer(name) }
        }
    }

    private static func refuseTaken(_ name: String, _ step: String) throws(Failure) {
        let others = try mapError(to: Failure.system) { () throws(SystemError) in try RunningContainer.all() }
        for other in others where other.label.name == name && (step.isEmpty || other.label.step != step) {
            // Root has no user namespace, and a name of another user's is free.
            guard let process = other.pin(), let namespaces = try? process.namespaces(),  // ended meanwhile
                !Identity.isRoot || !namespaces.contains(where: { $0.kind == .user })
            else { continue }
            throw .report(
                Report(
                    "the name \(name) is in use by a running container of yours on this node",
                    details: ["process \(process.process.processID) of \(other.label.image)"],
                    hint: "choose another name, or run a command in it: berth exec \(name) COMMAND"))
        }
    }
}
