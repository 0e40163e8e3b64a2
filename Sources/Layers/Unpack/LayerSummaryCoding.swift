internal import ImageSpec

/// Encodes the summary for storage next to the layer's tree, without JSON, so that the launcher could read it.
///
/// `BLS1`, then numbers as LEB128 and texts as length and bytes, in the order of `encoded`. The final number is the
/// length of all bytes before it, which detects truncation.
extension LayerSummary {
    package struct DecodingFailure: Error, Equatable, Sendable {
        package let offset: Int
    }

    private static let magic = Array("BLS1".utf8)

    package var encoded: [UInt8] {
        var bytes = Self.magic
        func append(_ number: Int64) {
            var rest = UInt64(bitPattern: number)
            while rest >= 0x80 {
                bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        func append(_ text: [UInt8]) {
            append(Int64(text.count))
            bytes.append(contentsOf: text)
        }
        append(Array(diffID.description.utf8))
        for number in [archiveBytes, fileBytes, entries, skippedDevices, droppedAttributes, areMarksMade ? 1 : 0] {
            append(number)
        }
        for list in [whiteouts, opaqueDirectories, implicitDirectories] {
            append(Int64(list.count))
            for path in list { append(path) }
        }
        append(Int64(openHardLinks.count))
        for link in openHardLinks {
            append(link.path)
            append(link.target)
        }
        append(Int64(bytes.count))
        return bytes
    }

    package init(decoding bytes: [UInt8]) throws(DecodingFailure) {
        var position = Self.magic.count
        func failure() -> DecodingFailure { DecodingFailure(offset: position) }
        func number() throws(DecodingFailure) -> Int64 {
            var value: UInt64 = 0
            var shift: UInt64 = 0
            while position < bytes.count, shift < 64 {
                let byte = bytes[position]
                position += 1
                value |= UInt64(byte & 0x7F) << shift
                if byte & 0x80 == 0 { return Int64(bitPattern: value) }
                shift += 7
            }
            throw failure()
        }
        func text() throws(DecodingFailure) -> [UInt8] {
            let count = try number()
            guard count >= 0, count <= bytes.count - position else { throw failure() }
            defer { position += Int(count) }
            return Array(bytes[position..<position + Int(count)])
        }
        func list<Element>(_ element: () throws(DecodingFailure) -> Element) throws(DecodingFailure) -> [Element] {
            let count = try number()
            guard count >= 0, count <= bytes.count - position else { throw failure() }
            var elements: [Element] = []
            elements.reserveCapacity(Int(count))
            for _ in 0..<count { elements.append(try element()) }
            return elements
        }
        guard bytes.starts(with: Self.magic) else { throw DecodingFailure(offset: 0) }
        let digest = try text()
        do throws(DigestError) { diffID = try Digest(parsing: String(decoding: digest, as: UTF8.self)) } catch {
            throw failure()
        }
        archiveBytes = try number()
        fileBytes = try number()
        entries = try number()
        skippedDevices = try number()
        droppedAttributes = try number()
        areMarksMade = try number() == 1
        whiteouts = try list(text)
        opaqueDirectories = try list(text)
        implicitDirectories = try list(text)
        openHardLinks = try list { () throws(DecodingFailure) in HardLink(path: try text(), target: try text()) }
        let end = position
        guard try number() == end, position == bytes.count else { throw failure() }
    }
}
