package import Devices
package import LinuxKernel

/// How the tasks of a step on one node come to share one container: the first to lock their `MeetingPlace` builds it, the
/// others wait at the socket in it and are handed its namespaces.
///
/// The builder removes the place; the namespaces go with the last process in them. A builder that dies before it has
/// answered closes the socket, and the others elect another one.
package enum StepRendezvous {
    /// What a task brings along: its place on the node and the device nodes that its own cgroup lets it open.
    package struct Arrival: Sendable {
        package let localID: Int
        package let grantedNodes: [DeviceNode]
        package init(localID: Int, grantedNodes: [DeviceNode]) {
            self.localID = localID
            self.grantedNodes = grantedNodes
        }
    }

    package enum Role: ~Copyable {
        case builder(Builder)
        case member(JoinSpec)
    }

    /// How long a task waits for a builder that has the lock and does not listen: it is between the two calls, or stopped.
    package static let patience: UInt64 = 60_000_000_000

    /// Takes part; returns when this task is to build, or when there is a container to join. Blocks as long as the
    /// builder is at work.
    ///
    /// - Parameters:
    ///   - places: Directories in which the tasks can meet: `MeetingPlace`.
    ///   - key: Unique to the step, the node, the user and everything that shapes the container.
    ///   - patience: In nanoseconds.
    package static func arrive(
        in places: [String], for key: String, _ own: Arrival, patience: UInt64 = patience
    ) throws(RendezvousError) -> Role {
        var end = Clock.monotonicNanoseconds + patience
        while true {
            var place = try MeetingPlace.open(in: places, for: key)
            if try talking({ () throws(SystemError) in try place.takeLock() }) {
                let listener = try talking { () throws(SystemError) in try place.listen() }
                return .builder(Builder(listener: listener, place: place))
            }
            let attempt = try talking({ () throws(SystemError) in try place.connect() })
            if case .full = attempt {
                // A builder that listens and is at work, such as on a pull: like those in its queue, for as long as it lives.
                end = Clock.monotonicNanoseconds + patience
                Processes.sleep(milliseconds: 50)
                continue
            }
            guard case .connected(let box) = attempt else {
                // Not yet, or no longer: the builder is about to listen, or has gone.
                guard Clock.monotonicNanoseconds < end else {
                    throw .system(SystemError(call: "connect", errno: Errno.ETIMEDOUT, subject: key))
                }
                Processes.sleep(milliseconds: 2)
                continue
            }
            let hello = "\(own.localID)\n" + own.grantedNodes.map(\.path).joined(separator: "\n")
            // A builder that dies meanwhile shows as a failure to send or as the end of what it says.
            guard (try? box.descriptor.send(Array(hello.utf8))) != nil,
                let answer = try talking({ () throws(SystemError) in try box.descriptor.receive() })
            else {
                end = Clock.monotonicNanoseconds + patience
                continue
            }
            if answer.bytes.first == UInt8(ascii: "E") {
                throw .builderFailed(localID: Int(answer.bytes.dropFirst().displayText) ?? -1)
            }
            guard let container = try talking({ () throws(SystemError) in try JoinSpec(answer) }) else {
                throw .otherVersion
            }
            return .member(container)
        }
    }
}

package enum RendezvousError: Error, Sendable {
    case system(SystemError)
    /// The task that built the container failed and has said why.
    case builderFailed(localID: Int)
    /// The task that built the container runs another version of Berth.
    case otherVersion
    /// None of the directories can be used. `EPERM`: another user owns it, or could rename it.
    case noPlace([UnusablePlace])

    package struct UnusablePlace: Sendable {
        package let path: String
        package let error: SystemError
        package init(path: String, error: SystemError) {
            self.path = path
            self.error = error
        }
    }
}

extension StepRendezvous {
    /// The task that builds the container for the others.
    package struct Builder: ~Copyable {
        let listener: OwnedFileDescriptor
        private var place: MeetingPlace?
        private var waiting: [(connection: DescriptorBox, arrival: Arrival)] = []

        init(listener: consuming OwnedFileDescriptor, place: consuming MeetingPlace) {
            self.listener = listener
            self.place = consume place
        }

        /// Waits for the step's other tasks on this node, so that their grants are known before the container's /dev
        /// is made and none of them comes to a builder that has gone.
        ///
        /// - Parameter limitMilliseconds: For a step in which not every task runs Berth.
        package mutating func gather(
            tasks: Int, own: Arrival, limitMilliseconds: Int
        ) throws(RendezvousError) -> [Arrival] {
            let end = Clock.monotonicNanoseconds + UInt64(limitMilliseconds) * 1_000_000
            var here: Set<Int> = [own.localID]
            while here.count < tasks {
                let now = Clock.monotonicNanoseconds
                guard now < end else { break }
                let left = Int((end - now) / 1_000_000) + 1
                guard let arrival = try accept(withinMilliseconds: left) else { continue }
                here.insert(arrival.localID)
            }
            return [own] + waiting.map(\.arrival)
        }

        private mutating func accept(withinMilliseconds limit: Int) throws(RendezvousError) -> Arrival? {
            guard
                let connection = try talking({ () throws(SystemError) in
                    try self.listener.accept(withinMilliseconds: limit)
                })
            else { return nil }
            guard try talking({ () throws(SystemError) in try connection.peer().userID }) == Identity.userID,
                let hello = try talking({ () throws(SystemError) in
                    // A task sends its hello as it connects; one that was killed in between must not hold up the rest.
                    try connection.isReadable(withinMilliseconds: 1000) ? try connection.receive() : nil
                })
            else { return nil }
            var lines = hello.bytes.displayText.split(separator: "\n").map(String.init)
            guard !lines.isEmpty, let localID = Int(lines.removeFirst()) else { return nil }
            let arrival = Arrival(localID: localID, grantedNodes: lines.map { DeviceNode($0) })
            waiting.append((DescriptorBox(connection), arrival))
            return arrival
        }

        /// Those who came while the container was being built. One that has died since must not cost those behind it
        /// their place; more than this, or for longer, are no tasks of a node.
        private mutating func acceptWhoHasCome() throws(RendezvousError) {
            let end = Clock.monotonicNanoseconds + 10_000_000_000
            for _ in 0..<4096 where Clock.monotonicNanoseconds < end {
                guard try talking({ () throws(SystemError) in try self.listener.isReadable(withinMilliseconds: 0) })
                else { return }
                _ = try accept(withinMilliseconds: 0)
            }
        }

        /// Hands the container that this process now stands in to all who wait.
        ///
        /// - Throws: What kept one of them from getting it, which then has heard of the failure; the others have it.
        package mutating func share(_ container: JoinSpec) throws(RendezvousError) {
            try acceptWhoHasCome()
            // One file in memory for all, whatever their number.
            let attachments = try talking { () throws(SystemError) in try container.attachments() }
            leave()
            var refused: [(connection: DescriptorBox, arrival: Arrival)] = []
            var failure: SystemError?
            for member in waiting {
                do throws(SystemError) { try member.connection.descriptor.send(JoinSpec.version, attachments) } catch {
                    // One that has died meanwhile is no concern of the others.
                    if error.errno == Errno.EPIPE || error.errno == Errno.ECONNRESET { continue }
                    refused.append(member)
                    failure = failure ?? error
                }
            }
            // To be told by `fail`.
            waiting = refused
            if let failure { throw .system(failure) }
        }

        /// Tells all who wait that there will be no container.
        package mutating func fail(localID: Int) {
            try? acceptWhoHasCome()  // those that cannot be told see the end of file
            leave()
            for (connection, _) in waiting { try? connection.descriptor.send(Array("E\(localID)".utf8)) }  // likewise
            waiting = []
        }

        private mutating func leave() {
            guard let place = place.take() else { return }
            place.remove()
        }
    }
}

private func talking<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(RendezvousError) -> Value {
    do throws(SystemError) { return try body() } catch { throw .system(error) }
}

extension Sequence where Element == UInt8 {
    fileprivate var displayText: String { String(decoding: Array(self), as: UTF8.self) }
}
