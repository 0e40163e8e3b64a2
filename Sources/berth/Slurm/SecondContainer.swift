internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox

/// A second container over the files of one that runs. overlayfs must not be mounted twice over one upper directory, so the
/// second shows the first one's mount, and must belong to its user namespace to be allowed to.
extension PrepareCommand {
    /// A copy of the running container's root, without what is mounted below it. Taking it means to stand inside, from
    /// where there is no way back: another process does.
    func rootCopy(of running: RunningContainer) throws(Failure) -> DescriptorBox {
        let namespaces = try mapError(to: Failure.system) { () throws(SystemError) in try running.namespaces() }
        func handle(_ kind: NamespaceKinds) throws(SystemError) -> (box: DescriptorBox, number: Int32)? {
            guard let space = namespaces.first(where: { $0.kind == kind }) else { return nil }
            return try space.descriptor.descriptor.inheritableCopy()
        }
        return try mapError(to: Failure.system) { () throws(SystemError) in
            let (own, other) = try LocalSockets.pair()
            let (user, mounts) = (try handle(.user), try handle(.mount))
            let answer = try other.descriptor.inheritableCopy()
            let words =
                [
                    "berth", "slurm-copy-root", "--socket=\(answer.number)", "--mount=\(mounts?.number ?? -1)",
                    "--node=\(Terminal.node)",
                ] + (user.map { ["--user=\($0.number)"] } ?? [])
            let ended = try Processes.run(
                try Processes.ownPath(), arguments: words, environment: [], output: .standardError,
                deadline: Clock.monotonicNanoseconds + 60_000_000_000)
            guard ended.status == 0, try own.descriptor.isReadable(withinMilliseconds: 0),
                let copy = try own.descriptor.receive()?.descriptors.first
            else { throw SystemError(call: "open_tree", errno: Errno.EPERM, subject: "the running container's root") }
            return copy
        }
    }

    /// Into the running container's user namespace; the plan makes no other.
    func join(_ running: RunningContainer, _ plan: inout LaunchPlan) throws(Failure) {
        let namespaces = try mapError(to: Failure.system) { () throws(SystemError) in try running.namespaces() }
        guard let user = namespaces.first(where: { $0.kind == .user }) else { return }
        try mapError(to: Failure.sandbox) { () throws(SandboxError) in
            do throws(SystemError) { try Namespaces.join(user.descriptor.descriptor, .user) } catch {
                throw .process(.join, error)
            }
        }
        for (index, step) in plan.steps.enumerated() {
            guard case .createNamespaces(let kinds, _) = step.action else { continue }
            plan.steps[index] = PlannedStep(.createNamespaces(kinds.subtracting(.user), nil), step.origin)
        }
    }
}

/// `berth slurm-copy-root`: the other process. It ends where it stands, inside.
enum CopyRootCommand {
    static func carryOut(_ words: [String]) -> Never {
        do throws(Failure) {
            let arguments = try InternalArguments(words, verb: "slurm-copy-root", ["--socket", "--user", "--mount", "--node"])
            Terminal.node = arguments.value("--node") ?? ""
            let socket = try arguments.descriptor("--socket")
            let mount = try arguments.descriptor("--mount")
            if arguments.has("--user") {
                let user = try arguments.descriptor("--user")
                do throws(SystemError) { try Namespaces.join(user, .user) } catch { throw .system(error) }
            }
            do throws(SystemError) {
                try Namespaces.join(mount, .mount)
                guard let copy = try Mounts.detachedCopy(of: "/", recursive: false) else {
                    throw SystemError(call: "open_tree", errno: Errno.ENOSYS, subject: "/")
                }
                try socket.send([0], [DescriptorBox(copy)])
            } catch {
                throw .system(error)
            }
        } catch {
            Processes.exit(PluginFailure.say(error))
        }
        Processes.exit(0)
    }
}
