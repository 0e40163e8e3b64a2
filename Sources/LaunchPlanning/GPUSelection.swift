internal import LinuxKernel

/// The value of `--gpus`: Docker's grammar, and Berth's words and lists.
///
/// Docker reads comma-separated fields, each with quotes around it where it holds a comma itself: `2`, `all`, `count=2`,
/// `device=GPU-1`, `"device=0,2"`, `"capabilities=compute,utility"`, `driver=nvidia`. A number alone is a count.
/// Docker has no use for two bare fields, so that `0,2` can be a list of indices here.
package struct GPUSelection: Equatable, Sendable {
    package var gpus: LaunchOptions.GPURequest
    /// For `NVIDIA_DRIVER_CAPABILITIES`; `nil` where the value names none.
    package var capabilities: String?

    private enum Key { case count, device, driver, capabilities }

    package init(parsing text: String) throws(OptionError) {
        func bad(_ expected: String) -> OptionError { .badValue(option: "--gpus", value: text, expected: expected) }
        let whole = "all, none, granted, a count, device=INDEX,... or device=UUID,..."
        var found: [(key: Key, items: [String])] = []
        for field in try Self.fields(text, bad) {
            let pair = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            if pair.count == 1 {
                // Without quotes a list goes on behind its first comma: `device=0,2`.
                if let last = found.indices.last {
                    found[last].items.append(pair[0])
                } else {
                    found.append((.count, [pair[0]]))
                }
                continue
            }
            let key: Key
            switch pair[0] {
            case "count": key = .count
            case "device": key = .device
            case "driver": key = .driver
            case "capabilities": key = .capabilities
            default: throw bad("fields out of count, device, driver and capabilities")
            }
            guard !found.contains(where: { $0.key == key }) else { throw bad("each field once") }
            found.append((key, pair[1].split(separator: ",", omittingEmptySubsequences: false).map(String.init)))
        }
        func items(_ key: Key) -> [String]? { found.first { $0.key == key }?.items }
        if let driver = items(.driver) {
            guard driver == ["nvidia"] || driver == ["amd"] || driver == [""] else {
                throw bad("driver=nvidia or driver=amd")
            }
        }
        capabilities = try items(.capabilities).flatMap { (names) throws(OptionError) in
            try Self.driverCapabilities(names, bad)
        }
        switch (items(.count), items(.device)) {
        case (_?, _?): throw bad("a count or device=..., not both")
        // Docker's default where only capabilities or a driver are named.
        case (nil, nil): gpus = .count(1)
        case (nil, let devices?): gpus = try Self.list(devices, bad, whole)
        case (let count?, nil) where count.count > 1: gpus = try Self.list(count, bad, whole)
        case (let count?, nil):
            switch count[0] {
            case "granted": gpus = .granted
            case "all": gpus = .all
            case "none": gpus = .none
            case let word:
                if let number = Int(word) {
                    guard number > 0 else {
                        throw bad(
                            "a count of at least 1; none shows no GPU, and device=0 chooses the first granted one")
                    }
                    gpus = .count(number)
                } else {
                    gpus = try Self.list(count, bad, whole)
                }
            }
        }
    }

    /// Splits at commas outside of double quotes, which go.
    private static func fields(_ text: String, _ bad: (String) -> OptionError) throws(OptionError) -> [String] {
        var fields: [[UInt8]] = [[]]
        var isQuoted = false
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): isQuoted.toggle()
            case UInt8(ascii: ",") where !isQuoted: fields.append([])
            default: fields[fields.count - 1].append(byte)
            }
        }
        if isQuoted { throw bad("a second quotation mark") }
        return fields.map { String(decoding: $0, as: UTF8.self) }
    }

    /// Indices among the granted GPUs, or names: a UUID, a MIG slice's, or a PCI address.
    private static func list(
        _ items: [String], _ bad: (String) -> OptionError, _ expected: String
    ) throws(OptionError) -> LaunchOptions.GPURequest {
        if items == ["all"] { return .all }
        var positions: [Int] = []
        var names: [String] = []
        for item in items {
            let isName = item.hasPrefix("GPU-") || item.hasPrefix("MIG-") || item.contains(":")
            let position = Int(item)
            guard isName || (position.map { $0 >= 0 } ?? false) else { throw bad(expected) }
            guard !names.contains(item) else { throw bad("each GPU once") }
            names.append(item)
            if let position { positions.append(position) }
        }
        guard Set(positions).count == positions.count else { throw bad("each GPU once") }
        return positions.count == names.count ? .positions(positions) : .names(names)
    }

    /// Parts of NVIDIA's driver. Docker's own word `gpu` names no part of it.
    private static func driverCapabilities(
        _ names: [String], _ bad: (String) -> OptionError
    ) throws(OptionError) -> String? {
        let known = ["compute", "compat32", "graphics", "utility", "video", "display", "ngx", "all"]
        for name in names where !known.contains(name) && name != "gpu" && name != "nvidia" {
            throw bad("capabilities out of \(known.joined(separator: ", "))")
        }
        let parts = names.filter(known.contains)
        return parts.isEmpty ? nil : parts.joined(separator: ",")
    }
}
