internal import LinuxKernel

/// Reads an archive entry by entry from large chunks. Parses headers and lends file data in place.
///
/// Formats: v7, ustar and PAX (POSIX 1003.1), GNU (long names, base-256, sparse), star's prefix. The reader reuses one
/// `entry`, so an entry needs no allocation once its name fits.
package final class TarReader {
    private let chunks: any ChunkSource
    private let limits: UnpackLimits
    /// The rest of the current chunk.
    private var rest = UnsafeRawBufferPointer(start: nil, count: 0)
    /// The number of archive bytes consumed.
    private var position: UInt64 = 0
    /// The remaining bytes of the current entry's data and of the padding after it.
    private var dataLeft: Int64 = 0
    private var padding: Int64 = 0
    /// The offset of the next data byte in the unpacked file, and in a sparse file the index of its extent.
    private var dataOffset: Int64 = 0
    private var extentIndex = 0
    private var entries: Int64 = 0
    private var isAtEnd = false

    /// The entry that `advance` found.
    package private(set) var entry = TarEntry()

    package init(_ chunks: any ChunkSource, limits: UnpackLimits = UnpackLimits()) {
        self.chunks = chunks
        self.limits = limits
    }

    /// Reads up to the next entry. Returns false at the end of the archive: two zero blocks, or the end of the bytes at
    /// a header's position. The diffID detects an archive that was truncated there.
    package func advance() throws(LayerError) -> Bool {
        if isAtEnd { return false }
        do throws(LayerError) {
            try skip(dataLeft)
            // Some writers omit the final padding and end blocks, and Go's tools accept that. The diffID detects lost
            // data.
            try skip(padding, orToTheEnd: true)
            dataLeft = 0
            padding = 0
            return try readEntry()
        } catch {
            throw error.at(entry.name, entry.offset)
        }
    }

    /// The offset of the current entry's data in the archive.
    package var dataPosition: UInt64 { position }

    /// The next part of the entry's data and its offset in the file; `nil` at the end.
    package func nextData() throws(LayerError) -> (offset: Int64, bytes: UnsafeRawBufferPointer)? {
        if dataLeft == 0 { return nil }
        if rest.isEmpty { try refill() }
        if rest.isEmpty { throw LayerError.archive(.truncatedData).at(entry.name, entry.offset) }
        var count = min(Int64(rest.count), dataLeft)
        let offset: Int64
        if let extents = entry.extents {
            while dataOffset == extents[extentIndex].count {
                extentIndex += 1
                dataOffset = 0
            }
            let extent = extents[extentIndex]
            count = min(count, extent.count - dataOffset)
            offset = extent.offset + dataOffset
        } else {
            offset = dataOffset
        }
        let bytes = UnsafeRawBufferPointer(rebasing: rest[..<Int(count)])
        consume(Int(count))
        dataLeft -= count
        dataOffset += count
        return (offset, bytes)
    }

    /// The entry's data if the current chunk contains all of it. Valid until the next chunk is read.
    func wholeData() -> UnsafeRawBufferPointer? {
        guard entry.extents == nil, dataLeft <= Int64(rest.count) else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: rest[..<Int(dataLeft)])
        consume(bytes.count)
        dataLeft = 0
        return bytes
    }

    // MARK: Headers

    private func readEntry() throws(LayerError) -> Bool {
        var pax: PAXRecords?
        var longName: [UInt8]?
        var longLink: [UInt8]?
        while true {
            let start = position
            entry.name.removeAll(keepingCapacity: true)
            entry.offset = start
            guard let block = try contiguous(512, orEnd: true) else {
                // An extended header without an entry: the entry is missing.
                if pax != nil || longName != nil || longLink != nil { throw .archive(.truncatedHeader) }
                isAtEnd = true
                return false
            }
            let header = TarHeader(bytes: block)
            if block[0] == 0, header.isZero {
                if let second = try contiguous(512, orEnd: true), !TarHeader(bytes: second).isZero {
                    throw .archive(.loneZeroBlock)
                }
                if pax != nil || longName != nil || longLink != nil { throw .archive(.truncatedHeader) }
                isAtEnd = true
                return false
            }
            guard header.hasValidChecksum() else { throw .archive(.checksum) }
            entries += 1
            if entries > limits.entries { throw LayerError(.limit(.entries, limit: limits.entries)) }
            // An extended header uses its own size field. A PAX size record applies only to the entry itself; applying
            // it to headers in between lets archives hide entries from other readers (CVE-2025-62518, CVE-2026-33055).
            switch header.typeFlag {
            case UInt8(ascii: "x"), UInt8(ascii: "X"):
                var records = PAXRecords()
                try records.parse(try payload(header), limits)
                pax = records
            case UInt8(ascii: "g"):
                var ignored = PAXRecords()
                try ignored.parse(try payload(header), limits)
            case UInt8(ascii: "L"): longName = try longText(header)
            case UInt8(ascii: "K"): longLink = try longText(header)
            case UInt8(ascii: "V"): _ = try payload(header)  // a volume label
            default:
                try fill(from: header, pax, longName: longName, longLink: longLink)
                return true
            }
        }
    }

    private func longText(_ header: TarHeader) throws(LayerError) -> [UInt8] {
        let bytes = try payload(header)
        return Array(bytes.prefix { $0 != 0 })
    }

    /// The whole data of an extended header, valid until the next read.
    private func payload(_ header: TarHeader) throws(LayerError) -> UnsafeRawBufferPointer {
        let size = try header.number(.size)
        if size < 0 { throw .archive(.number(field: "size")) }
        guard size <= limits.extendedHeaderBytes else {
            throw LayerError(.limit(.extendedHeaderBytes, limit: limits.extendedHeaderBytes))
        }
        let padded = (Int(size) + 511) & ~511
        guard padded > 0, let bytes = try contiguous(padded, orEnd: false) else {
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        return UnsafeRawBufferPointer(rebasing: bytes[..<Int(size)])
    }

    /// Fills `entry` from its header and the extended headers before it.
    private func fill(
        from header: TarHeader, _ pax: PAXRecords?, longName: [UInt8]?, longLink: [UInt8]?
    ) throws(LayerError) {
        // Like Go's reader, prefer GNU's long names to PAX and PAX to the header, so that names are those that the
        // tools that built and scanned the image saw.
        if let name = longName ?? pax?.sparseName ?? pax?.path {
            entry.name.append(contentsOf: name)
        } else {
            header.appendName(to: &entry.name)
        }
        entry.linkName.removeAll(keepingCapacity: true)
        if let name = longLink ?? pax?.linkPath {
            entry.linkName.append(contentsOf: name)
        } else {
            header.appendLinkName(to: &entry.linkName)
        }
        for length in [entry.name.count, entry.linkName.count] where length > limits.pathBytes {
            throw LayerError(.limit(.pathBytes, limit: limits.pathBytes))
        }
        entry.kind = try kind(header.typeFlag)
        entry.permissions = UInt32(truncatingIfNeeded: try header.number(.mode)) & 0o7777
        entry.userID = UInt32(truncatingIfNeeded: try value(pax?.userID, header, .user))
        entry.groupID = UInt32(truncatingIfNeeded: try value(pax?.groupID, header, .group))
        if let modified = pax?.modified {
            entry.modified = modified
        } else {
            entry.modified = Timestamp(seconds: try header.number(.modified))
        }
        entry.extendedAttributes = pax?.extendedAttributes ?? []
        entry.extents = nil
        let size = try value(pax?.size, header, .size)
        if size > limits.totalBytes { throw LayerError(.limit(.totalBytes, limit: limits.totalBytes)) }
        if size < 0 { throw .archive(.number(field: "size")) }
        // Only files have data. The size in a link's or directory's header is ignored.
        dataLeft = entry.kind == .regular ? size : 0
        padding = (512 - dataLeft & 511) & 511
        dataOffset = 0
        extentIndex = 0
        entry.size = dataLeft
        if entry.kind == .regular { try readSparseMap(header, pax) }
    }

    /// The value of a PAX record or else of the field. With a record, the field may be invalid.
    private func value(_ record: Int64?, _ header: TarHeader, _ field: TarHeader.Field) throws(LayerError) -> Int64 {
        if let record { return record }
        return try header.number(field)
    }

    private func kind(_ flag: UInt8) throws(LayerError) -> TarEntry.Kind {
        switch flag {
        case UInt8(ascii: "0"), UInt8(ascii: "7"), UInt8(ascii: "S"): return .regular
        // v7 has no type for directories; their names end in a slash.
        case 0: return entry.name.last == 0x2F ? .directory : .regular
        case UInt8(ascii: "1"): return .hardLink
        case UInt8(ascii: "2"): return .symlink
        case UInt8(ascii: "3"): return .characterDevice
        case UInt8(ascii: "4"): return .blockDevice
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "6"): return .fifo
        default: throw .archive(.entryType(flag))
        }
    }

    // MARK: Sparse files

    private func readSparseMap(_ header: TarHeader, _ pax: PAXRecords?) throws(LayerError) {
        var extents: [TarEntry.Extent] = []
        let realSize: Int64
        if header.typeFlag == UInt8(ascii: "S"), header.format == .gnu {
            realSize = try header.number(.realSize)
            try TarHeader.appendExtents(header.bytes, at: 386, count: 4, to: &extents)
            var isExtended = header.bytes[482] != 0
            while isExtended {
                guard let block = try contiguous(512, orEnd: false) else { throw .archive(.truncatedHeader) }
                try TarHeader.appendExtents(block, at: 0, count: 21, to: &extents)
                try checkCount(extents)
                isExtended = block[504] != 0
            }
        } else if let pax, let size = pax.sparseSize ?? pax.sparseRealSize, pax.sparseMajor == 1, pax.sparseMinor == 0 {
            realSize = size
            extents = try readMapFromData()
        } else if let pax, pax.hasSparseMap, pax.sparseMajor ?? 0 == 0,
            let size = pax.sparseSize ?? pax.sparseRealSize
        {
            guard pax.sparseBlocks ?? Int64(pax.sparseExtents.count) == pax.sparseExtents.count else {
                throw .archive(.sparseMap)
            }
            realSize = size
            extents = pax.sparseExtents
        } else if pax?.sparseMajor != nil || header.typeFlag == UInt8(ascii: "S") {
            throw .archive(.sparseMap)
        } else {
            return
        }
        // Ascending, without overlap, inside the file, and with the total length of the data.
        var end: Int64 = 0
        var sum: Int64 = 0
        for extent in extents {
            let (extentEnd, overflow) = extent.offset.addingReportingOverflow(extent.count)
            guard extent.count >= 0, extent.offset >= end, !overflow, extentEnd <= realSize else {
                throw .archive(.sparseMap)
            }
            end = extentEnd
            sum += extent.count
        }
        guard realSize >= 0, sum == dataLeft else { throw .archive(.sparseMap) }
        entry.extents = extents
        entry.size = realSize
    }

    private func checkCount(_ extents: [TarEntry.Extent]) throws(LayerError) {
        if extents.count > limits.sparseExtents {
            throw LayerError(.limit(.sparseExtents, limit: limits.sparseExtents))
        }
    }

    /// Format 1.0: decimal lines before the data, padded to whole blocks.
    private func readMapFromData() throws(LayerError) -> [TarEntry.Extent] {
        var numbers: [Int64] = []
        var expected = 1
        var line: [UInt8] = []
        while numbers.count < expected {
            guard dataLeft >= 512, let block = try contiguous(512, orEnd: false) else { throw .archive(.sparseMap) }
            dataLeft -= 512
            for byte in block {
                if byte != 0x0A {
                    line.append(byte)
                    continue
                }
                guard let number = PAXRecords.decimal(line) else { throw .archive(.sparseMap) }
                line.removeAll(keepingCapacity: true)
                numbers.append(number)
                if numbers.count == 1 {
                    guard number <= limits.sparseExtents else {
                        throw LayerError(.limit(.sparseExtents, limit: limits.sparseExtents))
                    }
                    expected = 1 + 2 * Int(number)
                }
                if numbers.count == expected { break }
            }
            if line.count > 19 { throw .archive(.sparseMap) }
        }
        return stride(from: 1, to: expected, by: 2).map { .init(offset: numbers[$0], count: numbers[$0 + 1]) }
    }

    // MARK: Bytes

    private func refill() throws(LayerError) { rest = try chunks.next() }

    private func consume(_ count: Int) {
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        position += UInt64(count)
    }

    private func skip(_ count: Int64, orToTheEnd: Bool = false) throws(LayerError) {
        var left = count
        while left > 0 {
            if rest.isEmpty { try refill() }
            if rest.isEmpty {
                if orToTheEnd { return }
                throw .archive(.truncatedData)
            }
            let step = Int(min(left, Int64(rest.count)))
            consume(step)
            left -= Int64(step)
            if left > 0, rest.isEmpty, try chunks.skip(left) {
                position += UInt64(left)
                return
            }
        }
    }

    /// The next `count` bytes in one piece: in place if the chunk contains them all, otherwise copied to the reader's
    /// own memory. Returns `nil` at the end if `orEnd` allows it.
    private func contiguous(_ count: Int, orEnd: Bool) throws(LayerError) -> UnsafeRawBufferPointer? {
        if rest.isEmpty { try refill() }
        if rest.count >= count {
            let bytes = UnsafeRawBufferPointer(rebasing: rest[..<count])
            consume(count)
            return bytes
        }
        if rest.isEmpty, orEnd { return nil }
        scratchMemory.reserve(count)
        var filled = 0
        while filled < count {
            if rest.isEmpty { try refill() }
            if rest.isEmpty { throw .archive(.truncatedHeader) }
            let step = min(count - filled, rest.count)
            scratchMemory.store(UnsafeRawBufferPointer(rebasing: rest[..<step]), at: filled)
            consume(step)
            filled += step
        }
        return scratchMemory.bytes(count)
    }

    private let scratchMemory = Scratch()

    /// Memory with a fixed address, which an array does not guarantee.
    private final class Scratch {
        private var memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
        deinit { memory.deallocate() }

        func reserve(_ count: Int) {
            guard count > memory.count else { return }
            memory.deallocate()
            memory = .allocate(byteCount: count, alignment: 16)
        }

        func store(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
            UnsafeMutableRawBufferPointer(rebasing: memory[offset...]).copyMemory(from: bytes)
        }

        func bytes(_ count: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[..<count]) }
    }
}
