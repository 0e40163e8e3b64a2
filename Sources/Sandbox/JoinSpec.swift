package import Devices
package import LinuxKernel

/// All that a process needs to become a command in a container that another process has built: namespaces, leases, the
/// working directory, and what is to change in the process itself.
///
/// Handed over a unix(7) socket to the tasks of a step, whether they run Berth or wait in the Slurm plugin, which reads the
/// same form in Plugin/join.c. The packet holds `version` and the descriptors. The first of these is a file in memory with
/// NUL-terminated words, since an environment may be larger than a packet; a word's first letter says what it is.
package struct JoinSpec: Sendable {
    /// A change to the process that joins, in the order in which they are made.
    package enum Change: Equatable, Sendable {
        /// `NAME=VALUE`.
        case setVariable(String)
        case unsetVariable(String)
        /// A variable that gets the value of another one of the process's own, unless it is set.
        case copyVariable(to: String, from: String)
        /// RLIMIT_* by number, in the kernel's units: setrlimit(2).
        case limit(number: Int32, soft: UInt64, hard: UInt64)
        /// A PID namespace and a mount namespace of the process's own: it continues in a child, which is process 1 and has a
        /// /proc of its own, with these paths in it read-only.
        case becomeFirstProcess(`init`: Bool, readOnly: [String])
        /// To continue in a child, which is in the PID namespace that was entered.
        case continueInside
        /// The only capabilities, by number, that root keeps: capabilities(7).
        case keepCapabilities([Int])
        /// prctl(2), `PR_SET_NO_NEW_PRIVS`.
        case noNewPrivileges
        /// seccomp(2): `SECCOMP_FILTER_FLAG_*`, and an array of the kernel's `struct sock_filter`.
        case filter(flags: UInt32, instructions: [UInt8])
    }

    /// GPUs as the host orders them, and which of them the container shows: lists by number count those.
    package struct Renumbering: Equatable, Sendable {
        package let hostIndex: [DeviceNode]
        package let containerIndex: [DeviceNode]
        package let isAMD: Bool

        package init(hostIndex: [DeviceNode], containerIndex: [DeviceNode], isAMD: Bool) {
            (self.hostIndex, self.containerIndex, self.isAMD) = (hostIndex, containerIndex, isAMD)
        }
    }

    /// The user namespace first: only its rights allow to enter the others.
    package private(set) var namespaces: [(kind: NamespaceKinds, descriptor: DescriptorBox)]
    package var directory: DescriptorBox?
    /// Keeps everything that the container runs from in use: one descriptor, however many leases there are.
    package private(set) var lease: DescriptorBox?
    /// The container's root, for who saves it later.
    package var root: DescriptorBox?
    /// Device nodes that the container was built with.
    package var grantedNodes: [DeviceNode] = []
    /// Done before the namespaces are entered: the nodes are the host's.
    package var renumbering: Renumbering?
    package var changes: [Change] = []
    /// Slurm signals every process of a step, so that none passes its signals on.
    package var signalsReachEveryProcess = false

    package init(
        namespaces: [(kind: NamespaceKinds, descriptor: DescriptorBox)], leases: [DescriptorBox]
    ) throws(SystemError) {
        self.namespaces = namespaces
        if !leases.isEmpty { lease = leases.count == 1 ? leases[0] : try LocalSockets.bundle(leases) }
    }

    /// A PID namespace, which only children are in. After the others: their rights allow it.
    package mutating func enter(processes: DescriptorBox) {
        namespaces.append((.process, processes))
        changes.append(.continueInside)
    }

    /// The namespaces of these kinds in which this process stands.
    ///
    /// - Parameter own: `Namespaces.own`, from before the container's /proc took the host's place.
    package init(
        standingIn kinds: NamespaceKinds, _ own: borrowing OwnedFileDescriptor, leases: [DescriptorBox]
    ) throws(SystemError) {
        var namespaces: [(kind: NamespaceKinds, descriptor: DescriptorBox)] = []
        for (kind, name) in NamespaceKinds.names where kinds.contains(kind) {
            namespaces.append((kind, DescriptorBox(try Namespaces.current(name, in: own))))
        }
        try self.init(namespaces: namespaces, leases: leases)
    }

    /// setns(2) for each namespace.
    package func join() throws(SandboxError) {
        for (kind, box) in namespaces {
            do throws(SystemError) { try Namespaces.join(box.descriptor, kind) } catch {
                throw .process(.join, error)
            }
        }
    }
}

// MARK: Codec

extension JoinSpec {
    /// What a packet begins with. Another version of Berth, which replaced this one during a job, has another number.
    static let version = Array("berth-container 7\0".utf8)

    /// Sends it to as many processes as read one packet each.
    ///
    /// - Throws: `EPIPE` or `ECONNRESET` if the other end is closed.
    package func send(over connection: borrowing OwnedFileDescriptor, copies: Int = 1) throws(SystemError) {
        let all = try attachments()
        for _ in 0..<copies { try connection.send(Self.version, all) }
    }

    /// The descriptors that go with a packet: the same for every process.
    func attachments() throws(SystemError) -> [DescriptorBox] {
        let (words, descriptors) = encoded()
        let file = try OwnedFileDescriptor(inMemory: "berth-container")
        try file.writeAll(words)
        return [DescriptorBox(file)] + descriptors
    }

    /// `nil` where the packet is not one, or of another version.
    package init?(_ packet: Packet) throws(SystemError) {
        guard packet.bytes == Self.version, let file = packet.descriptors.first else { return nil }
        // Without an offset: the file is everybody's.
        let bytes = try file.descriptor.read(exactly: Int(file.descriptor.status().size), at: 0)
        self.init(bytes, Array(packet.descriptors.dropFirst()))
    }

    /// A filter as the plugin reads it.
    package static func words(filter flags: UInt32, _ instructions: [UInt8]) -> String {
        "\(flags) \(hexadecimal(instructions))"
    }

    /// Words end at a NUL, of which instructions are full.
    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count * 2)
        for byte in bytes { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
        return String(decoding: text, as: UTF8.self)
    }

    func encoded() -> (words: [UInt8], descriptors: [DescriptorBox]) {
        var words: [UInt8] = []
        var descriptors: [DescriptorBox] = []
        func add(_ letter: Character, _ value: String = "", _ descriptor: DescriptorBox? = nil) {
            words += String(letter).utf8
            words += value.kernelBytes
            words.append(0)
            if let descriptor { descriptors.append(descriptor) }
        }
        if let renumbering {
            let nodes = renumbering.hostIndex.map { renumbering.containerIndex.contains($0) ? $0.path : "-" + $0.path }
            add(renumbering.isAMD ? "A" : "G", nodes.joined(separator: ","))
        }
        for (kind, descriptor) in namespaces {
            add("N", NamespaceKinds.names.first { $0.kind == kind }?.name ?? "", descriptor)
        }
        if let directory { add("D", "", directory) }
        if signalsReachEveryProcess { add("B") }
        if let lease { add("K", "", lease) }
        if let root { add("R", "", root) }
        for node in grantedNodes { add("V", node.path) }
        for change in changes {
            switch change {
            case .setVariable(let entry): add("+", entry)
            case .unsetVariable(let name): add("-", name)
            case .copyVariable(let name, let source): add("=", name + "=" + source)
            case .limit(let number, let soft, let hard): add("L", "\(number) \(soft) \(hard)")
            case .becomeFirstProcess(let `init`, let paths): add(`init` ? "I" : "U", paths.joined(separator: ","))
            case .continueInside: add("E")
            case .keepCapabilities(let numbers): add("C", numbers.map(String.init).joined(separator: ","))
            case .noNewPrivileges: add("P")
            case .filter(let flags, let instructions): add("F", Self.words(filter: flags, instructions))
            }
        }
        return (words, descriptors)
    }

    /// Of the words only those that Swift reads: what changes in a process of the plugin's is the plugin's to read.
    private init?(_ words: [UInt8], _ descriptors: [DescriptorBox]) {
        namespaces = []
        var rest = descriptors[...]
        for word in words.split(separator: 0) {
            let value = RawText.string(word.dropFirst())
            switch word[word.startIndex] {
            case UInt8(ascii: "N"):
                guard let box = rest.popFirst(),
                    let kind = NamespaceKinds.names.first(where: { $0.name == value })?.kind
                else { return nil }
                namespaces.append((kind, box))
            case UInt8(ascii: "D"): directory = rest.popFirst()
            case UInt8(ascii: "K"): lease = rest.popFirst()
            case UInt8(ascii: "R"): root = rest.popFirst()
            case UInt8(ascii: "V"): grantedNodes.append(DeviceNode(value))
            default: return nil
            }
        }
        if !rest.isEmpty { return nil }
    }
}
