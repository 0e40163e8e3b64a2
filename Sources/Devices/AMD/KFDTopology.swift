internal import LinuxKernel

/// The GPUs in the order of AMD's compute driver. `ROCR_VISIBLE_DEVICES` counts within this list, skipping GPUs that
/// the process may not use. Each partition of a GPU is a separate entry.
///
/// https://docs.kernel.org/gpu/amdgpu/index.html, `/sys/class/kfd/kfd/topology/nodes/N/properties`
struct KFDTopology: Equatable, Sendable {
    private(set) var gpus: [GPUInventory.GPU] = []
    /// Whether every node was readable. The driver hides the properties of GPUs that the device cgroup denies.
    private(set) var isWhole = true

    static let path = "/sys/class/kfd/kfd/topology/nodes"

    /// Returns `nil` if the driver is not loaded.
    init?(_ host: HostTree) throws(SystemError) {
        let numbers = try host.names(Self.path).compactMap { Int($0) }.sorted()
        guard !numbers.isEmpty else { return nil }
        for number in numbers {
            guard let text = host.text("\(Self.path)/\(number)/properties"), !text.isEmpty else {
                isWhole = false
                continue
            }
            let properties = Properties(text)
            // CPUs are nodes as well, but have no render node.
            guard let minor = properties["drm_render_minor"], minor > 0 else { continue }
            let unique = properties["unique_id"] ?? 0
            gpus.append(
                GPUInventory.GPU(
                    address: Self.address(properties["domain"] ?? 0, properties["location_id"] ?? 0),
                    uuid: unique == 0 ? "" : "GPU-" + Self.hexadecimal(unique, 16), node: "/dev/dri/renderD\(minor)"))
        }
    }

    private struct Properties {
        private var values: [(name: Substring, value: UInt64)] = []
        init(_ text: String) {
            for line in text.split(separator: "\n") {
                let words = line.split(separator: " ")
                if words.count == 2, let value = UInt64(words[1]) { values.append((words[0], value)) }
            }
        }
        subscript(_ name: String) -> UInt64? { values.first { $0.name == name }?.value }
    }

    /// `location_id` packs bus, device and function as PCI does; partitions have a number in the bits above.
    private static func address(_ domain: UInt64, _ location: UInt64) -> String {
        hexadecimal(domain, 4) + ":" + hexadecimal(location >> 8 & 0xFF, 2) + ":" + hexadecimal(location >> 3 & 0x1F, 2)
            + ".\(location & 7)"
    }

    private static func hexadecimal(_ value: UInt64, _ width: Int) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}
