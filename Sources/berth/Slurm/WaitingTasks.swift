internal import Devices
internal import Diagnostics
internal import LinuxKernel
internal import Sandbox

/// The step's tasks on this node, at the other end of the socket. They say what only they know before they wait for the
/// container: `report` in Plugin/join.c.
final class WaitingTasks {
    struct Reports {
        /// Nodes of GPUs and MIG slices that any task may open, as it says; `nil` where that is not gathered.
        var openable: [DeviceNode]?
        /// PMIx' variable, which names a directory to be mounted.
        var variables: [String] = []
    }

    private let connection: DescriptorBox
    private let tasks: Int
    private let gathers: Bool
    private let hasPMIx: Bool
    /// How many have something to say.
    let expected: Int
    private var heard: Reports?

    /// From its start to its report a task only does what Slurm and its plugins have it do; one that died never comes.
    private static let patience: UInt64 = 60_000_000_000
    /// Of the whole preparation, in `Clock.monotonicNanoseconds`.
    private let deadline: UInt64?

    /// - Parameters:
    ///   - gathers: Every task tells what it may open.
    ///   - hasPMIx: The first one has something to tell in any case.
    init(
        _ connection: DescriptorBox, tasks: Int, gathers: Bool, hasPMIx: Bool, deadline: UInt64?
    ) {
        self.connection = connection
        (self.tasks, self.gathers, self.hasPMIx, self.deadline) = (tasks, gathers, hasPMIx, deadline)
        expected = gathers ? tasks : hasPMIx ? 1 : 0
    }

    /// As late as can be, so that they need not be awaited; but before any of them is handed something.
    func reports() throws(Failure) -> Reports {
        if let heard { return heard }
        var result = Reports(openable: gathers ? [] : nil)
        let end = min(Clock.monotonicNanoseconds + Self.patience, deadline ?? UInt64.max)
        var missing = expected
        let connection = self.connection
        while missing > 0 {
            let now = Clock.monotonicNanoseconds
            guard now < end else { break }
            let left = Int((end - now) / 1_000_000) + 1
            let packet = try mapError(to: Failure.system) { () throws(SystemError) -> Packet? in
                guard try connection.descriptor.isReadable(withinMilliseconds: left) else { return nil }
                // Where all tasks have ended slurmstepd is about to end this process, too.
                guard let packet = try connection.descriptor.receive() else { Processes.exit(0) }
                return packet
            }
            guard let packet else { continue }
            let words = packet.bytes.split(separator: 0).map { RawText.string($0) }
            if let first = words.first, first.hasPrefix("/"), hasPMIx {
                result.variables = ["PMIX_SERVER_TMPDIR=" + first]
            }
            result.openable?.append(contentsOf: words.dropFirst().map { DeviceNode($0) })
            missing -= 1
        }
        if missing > 0 {
            // Who comes now must not be held up by what nobody reads any more.
            connection.descriptor.stopReceiving()
            if gathers {
                Terminal.note(
                    "warning: \(missing) of \(tasks) tasks have not reported in time which GPUs they may open: the container "
                        + "shows those of the others")
            }
        }
        heard = result
        return result
    }

    /// In place of a container, where there is none and the reason has been said. Each task looks at it and leaves it.
    static let failure = Array("berth-failed\0".utf8)

    /// Each takes one packet. A task that has been cancelled meanwhile takes nothing; when all have, nobody is left to tell.
    func hand(_ container: JoinSpec) throws(Failure) {
        _ = try reports()
        let (connection, copies) = (self.connection, tasks)
        try mapError(to: Failure.system) { () throws(SystemError) in
            do throws(SystemError) { try container.send(over: connection.descriptor, copies: copies) } catch {
                if error.errno != Errno.EPIPE && error.errno != Errno.ECONNRESET { throw error }  // all have ended
            }
        }
    }
}
