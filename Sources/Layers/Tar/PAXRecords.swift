internal import LinuxKernel

/// The records of one PAX extended header that Berth uses (POSIX 1003.1 pax, "pax Extended Header"), parsed in place.
///
/// Ignores other records, and global headers entirely, as all OCI tools do: they would silently change entries that no
/// image tool intended.
struct PAXRecords {
    var path: [UInt8]?
    var linkPath: [UInt8]?
    var size: Int64?
    var userID: Int64?
    var groupID: Int64?
    var modified: Timestamp?
    var extendedAttributes: [TarEntry.ExtendedAttribute] = []
    var sparseMajor: Int64?
    var sparseMinor: Int64?
    var sparseName: [UInt8]?
    var sparseSize: Int64?
    var sparseRealSize: Int64?
    var sparseBlocks: Int64?
    var sparseExtents: [TarEntry.Extent] = []
    private var sparseOffset: Int64?
    /// Indexed by name, because a header may have too many attributes for a linear search.
    private var attributePlaces: [[UInt8]: Int] = [:]
    private var hasRemovedAttributes = false
    var hasSparseMap = false

    /// `length SP key = value LF`. The length includes itself and the newline.
    mutating func parse(_ bytes: UnsafeRawBufferPointer, _ limits: UnpackLimits) throws(LayerError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            var length = 0
            var index = rest.startIndex
            while index < rest.endIndex, (0x30...0x39).contains(rest[index]), length < bytes.count {
                length = length * 10 + Int(rest[index] & 15)
                index += 1
            }
            guard index > rest.startIndex, index < rest.endIndex, rest[index] == 0x20, length <= rest.count,
                length > index - rest.startIndex + 2, rest[rest.startIndex + length - 1] == 0x0A
            else { throw .archive(.extendedHeader) }
            let record = rest[index + 1..<rest.startIndex + length - 1]
            // With a NUL, the kernel would use another attribute name than the one checked here.
            guard let equals = record.firstIndex(of: 0x3D), equals > record.startIndex,
                !record[..<equals].contains(0)
            else { throw .archive(.extendedHeader) }
            try set(record[..<equals], record[(equals + 1)...], limits)
            rest = rest[(rest.startIndex + length)...]
        }
        if sparseOffset != nil { throw .archive(.sparseMap) }
        if hasRemovedAttributes { extendedAttributes.removeAll { $0.name.isEmpty } }
    }

    /// - Parameter value: An empty value cancels an earlier record (POSIX pax, "Extended Header Keywords"), and the
    ///   header's own field applies.
    private mutating func set(
        _ key: Slice<UnsafeRawBufferPointer>, _ value: Slice<UnsafeRawBufferPointer>, _ limits: UnpackLimits
    ) throws(LayerError) {
        func matches(_ text: StaticString) -> Bool {
            key.count == text.utf8CodeUnitCount
                && key.elementsEqual(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
        }
        switch key[key.startIndex] {
        case UInt8(ascii: "p") where matches("path"): path = try name(value)
        case UInt8(ascii: "l") where matches("linkpath"): linkPath = try name(value)
        case UInt8(ascii: "s") where matches("size"): size = try value.isEmpty ? nil : number(value)
        case UInt8(ascii: "u") where matches("uid"): userID = try value.isEmpty ? nil : number(value)
        case UInt8(ascii: "g") where matches("gid"): groupID = try value.isEmpty ? nil : number(value)
        case UInt8(ascii: "m") where matches("mtime"): modified = try value.isEmpty ? nil : time(value)
        case UInt8(ascii: "S"):
            let prefix = Array("SCHILY.xattr.".utf8)
            guard key.starts(with: prefix) else { return }
            guard value.count <= limits.extendedAttributeBytes else {
                throw LayerError(.limit(.extendedAttributeBytes, limit: limits.extendedAttributeBytes))
            }
            let name = Array(key.dropFirst(prefix.count))
            // The last value of a repeated attribute applies. An empty value removes it, as in pax and Go's tools.
            if value.isEmpty {
                if let known = attributePlaces.removeValue(forKey: name) {
                    extendedAttributes[known] = .init(name: [], value: [])
                    hasRemovedAttributes = true
                }
            } else if let known = attributePlaces[name] {
                extendedAttributes[known] = .init(name: name, value: Array(value))
            } else {
                attributePlaces[name] = extendedAttributes.count
                extendedAttributes.append(.init(name: name, value: Array(value)))
            }
        case UInt8(ascii: "G"):
            if matches("GNU.sparse.major") { sparseMajor = try number(value) }
            if matches("GNU.sparse.minor") { sparseMinor = try number(value) }
            if matches("GNU.sparse.name") { sparseName = try name(value) }
            if matches("GNU.sparse.size") { sparseSize = try number(value) }
            if matches("GNU.sparse.realsize") { sparseRealSize = try number(value) }
            if matches("GNU.sparse.numblocks") {
                sparseBlocks = try number(value)
                hasSparseMap = true
            }
            if matches("GNU.sparse.offset") {
                if sparseOffset != nil { throw .archive(.sparseMap) }
                sparseOffset = try number(value)
            }
            if matches("GNU.sparse.numbytes") {
                guard let offset = sparseOffset else { throw .archive(.sparseMap) }
                try append(.init(offset: offset, count: try number(value)), limits)
                sparseOffset = nil
            }
            if matches("GNU.sparse.map") { try parseMap(value, limits) }
        default: break
        }
    }

    /// Format 0.1: offsets and lengths, separated by commas.
    private mutating func parseMap(_ value: Slice<UnsafeRawBufferPointer>, _ limits: UnpackLimits) throws(LayerError) {
        hasSparseMap = true
        sparseExtents = []
        if value.isEmpty { return }
        var offset: Int64?
        for part in value.split(separator: 0x2C, omittingEmptySubsequences: false) {
            let number = try number(part)
            if let start = offset {
                try append(.init(offset: start, count: number), limits)
                offset = nil
            } else {
                offset = number
            }
        }
        if offset != nil { throw .archive(.sparseMap) }
    }

    private mutating func append(_ extent: TarEntry.Extent, _ limits: UnpackLimits) throws(LayerError) {
        hasSparseMap = true
        guard sparseExtents.count < limits.sparseExtents else {
            throw LayerError(.limit(.sparseExtents, limit: limits.sparseExtents))
        }
        sparseExtents.append(extent)
    }

    private func name(_ value: Slice<UnsafeRawBufferPointer>) throws(LayerError) -> [UInt8]? {
        if value.contains(0) { throw .archive(.nulInName) }
        return value.isEmpty ? nil : Array(value)
    }

    private func number(_ value: Slice<UnsafeRawBufferPointer>) throws(LayerError) -> Int64 {
        guard let number = Self.decimal(value) else { throw .archive(.extendedHeader) }
        return number
    }

    /// Parses digits; `nil` for anything else.
    static func decimal(_ value: some Collection<UInt8>) -> Int64? {
        guard !value.isEmpty else { return nil }
        var result: Int64 = 0
        for byte in value {
            guard (0x30...0x39).contains(byte) else { return nil }
            let (tens, overflow) = result.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tens.addingReportingOverflow(Int64(byte & 15))
            if overflow || carry { return nil }
            result = sum
        }
        return result
    }

    /// Parses seconds with a fraction of any length; negative before 1970.
    private func time(_ value: Slice<UnsafeRawBufferPointer>) throws(LayerError) -> Timestamp {
        let isNegative = value.first == UInt8(ascii: "-")
        let parts = (isNegative ? value.dropFirst() : value).split(
            separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first.flatMap({ Self.decimal($0) }) else { throw .archive(.extendedHeader) }
        var nanoseconds: Int32 = 0
        if parts.count > 1 {
            var digits = 0
            for byte in parts[1] {
                guard (0x30...0x39).contains(byte) else { throw .archive(.extendedHeader) }
                if digits < 9 { nanoseconds = nanoseconds * 10 + Int32(byte & 15) }
                digits += 1
            }
            while digits < 9 {
                nanoseconds *= 10
                digits += 1
            }
        }
        if !isNegative { return Timestamp(seconds: whole, nanoseconds: nanoseconds) }
        // Nanoseconds are never negative: -1.25 s is -2 s + 0.75 s.
        return nanoseconds == 0
            ? Timestamp(seconds: -whole) : Timestamp(seconds: -whole - 1, nanoseconds: 1_000_000_000 - nanoseconds)
    }
}
