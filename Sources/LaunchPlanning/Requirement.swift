package import Devices
package import LinuxKernel

/// What must hold for the command to start at all: `--require`, and `require =` of a site.
///
/// Each is something that libraries do without in silence when it is missing: NCCL goes over TCP, a loader's workers
/// die of a full /dev/shm hours later.
package enum Requirement: Equatable, Sendable {
    package enum Fabric: String, CaseIterable, Sendable {
        /// Any device with verbs.
        case rdma
        /// InfiniBand or RoCE: verbs of anything but EFA.
        case ib
        case efa
        /// HPE Slingshot.
        case cxi
    }

    /// At least so many GPUs in this task.
    case gpu(count: Int)
    case fabric(Fabric)
    /// Bytes that may be locked; `UInt64.max` is "unlimited".
    case lockedMemory(UInt64)
    /// Bytes that can be written below /dev/shm.
    case sharedMemory(UInt64)
    /// A channel of NVIDIA's IMEX, for NVLink between nodes.
    case imex
    /// The library by which NCCL uses the fabric that is shown.
    case nccl
}

extension Requirement {
    static let forms = "rdma, ib, efa, cxi, gpu[=COUNT], memlock[=SIZE], shm=SIZE, imex or nccl, separated by commas"

    /// The words of one option or setting.
    package static func parse(_ text: String, option: String = "--require") throws(OptionError) -> [Requirement] {
        var result: [Requirement] = []
        for word in text.split(whereSeparator: { $0 == "," || $0 == " " || $0 == "\t" }) {
            guard let requirement = Requirement(word: word) else {
                throw .badValue(option: option, value: text, expected: forms)
            }
            result.append(requirement)
        }
        guard !result.isEmpty else { throw .badValue(option: option, value: text, expected: forms) }
        return result
    }

    private init?(word: Substring) {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(parts[0])
        let value: String? = parts.count == 2 ? String(parts[1]) : nil
        if value == nil, let fabric = Fabric(rawValue: name) {
            self = .fabric(fabric)
            return
        }
        switch (name, value) {
        case ("imex", nil): self = .imex
        case ("nccl", nil): self = .nccl
        case ("gpu", nil): self = .gpu(count: 1)
        case ("gpu", let value?):
            guard let count = Int(value), count > 0 else { return nil }
            self = .gpu(count: count)
        case ("memlock", nil), ("memlock", "unlimited"): self = .lockedMemory(.max)
        case ("memlock", let value?):
            guard let bytes = byteCount(value) else { return nil }
            self = .lockedMemory(bytes)
        case ("shm", let value?):
            guard let bytes = byteCount(value), bytes > 0 else { return nil }
            self = .sharedMemory(bytes)
        default: return nil
        }
    }

    /// As it is written.
    package var word: String {
        switch self {
        case .gpu(let count): count == 1 ? "gpu" : "gpu=\(count)"
        case .fabric(let fabric): fabric.rawValue
        case .lockedMemory(let bytes): bytes == .max ? "memlock" : "memlock=\(Self.spelled(bytes))"
        case .sharedMemory(let bytes): "shm=\(Self.spelled(bytes))"
        case .imex: "imex"
        case .nccl: "nccl"
        }
    }

    /// With the largest unit that leaves a whole number.
    private static func spelled(_ bytes: UInt64) -> String {
        let units: [(String, UInt64)] = [("t", 40), ("g", 30), ("m", 20), ("k", 10)]
        guard bytes > 0, let (unit, shift) = units.first(where: { bytes & (1 << $0.1 - 1) == 0 }) else { return "\(bytes)" }
        return "\(bytes >> shift)\(unit)"
    }
}

/// A requirement, and who has it.
package struct PlacedRequirement: Equatable, Sendable {
    package let requirement: Requirement
    package let origin: Origin
    package init(_ requirement: Requirement, _ origin: Origin) {
        self.requirement = requirement
        self.origin = origin
    }
}

/// What the planner has to know of the host where something is required, and not otherwise.
package struct RequirementFacts: Equatable, Sendable {
    /// A fabric's device, as sysfs has it.
    package struct FabricDevice: Equatable, Sendable {
        package enum Port: Sendable { case active, down, unknown }
        /// Below /dev.
        package var node: DeviceNode
        /// `mlx5_0`; empty where sysfs knows none.
        package var name: String
        /// `mlx5_core`, `efa`; empty where sysfs knows none.
        package var driver: String
        package var port: Port
        package init(node: DeviceNode, name: String = "", driver: String = "", port: Port = .unknown) {
            self.node = node
            self.name = name
            self.driver = driver
            self.port = port
        }
    }

    package var fabrics: [FabricDevice]
    /// Of this task alone: a step's container may show its neighbours' as well.
    package var ownGPUs: Int
    /// Bytes of the host's /dev/shm, `nil` where it has none.
    package var sharedMemory: FileSystemSpace?
    /// The memlock limits of the processes that this one has its own from.
    package var lockedMemory: LimitSources

    package init(
        fabrics: [FabricDevice] = [], ownGPUs: Int = 0, sharedMemory: FileSystemSpace? = nil,
        lockedMemory: LimitSources = LimitSources()
    ) {
        self.fabrics = fabrics
        self.ownGPUs = ownGPUs
        self.sharedMemory = sharedMemory
        self.lockedMemory = lockedMemory
    }
}
