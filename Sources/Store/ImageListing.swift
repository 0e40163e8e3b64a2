internal import ImageSpec
internal import LinuxKernel

/// What `berth images` shows, the newest image first, as bytes that need no more than to be copied: for each image its
/// digest, platform, size, entries, time of publishing, number of trees, the name it was pulled under if it has no other
/// now, then the names that stand for it and an empty one; each ended by a NUL, which can occur in none of them. Numbers
/// are decimal.
package struct ImageListing: Equatable, Sendable {
    let bytes: [UInt8]
    /// Where the first image begins.
    let start: Int

    init(bytes: [UInt8], start: Int) {
        self.bytes = bytes
        self.start = start
    }

    package init(_ images: [StoredImage]) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(images.count * 256)
        func add(_ field: String) {
            bytes += field.utf8
            bytes.append(0)
        }
        for image in images {
            let record = image.record
            add(record.digest.description)
            add(record.platform.description)
            add("\(record.size)")
            add("\(record.entries)")
            add("\(record.created)")
            add("\(record.trees.count)")
            add(image.names.isEmpty ? record.name : "")
            for name in image.names { add(name) }
            bytes.append(0)
        }
        self.init(bytes: bytes, start: 0)
    }

    package static func == (one: Self, other: Self) -> Bool {
        one.bytes[one.start...].elementsEqual(other.bytes[other.start...])
    }

    /// Calls `body` with each image, whose fields are ranges of the bytes.
    package func forEach(_ body: (UnsafeRawBufferPointer, ListedImage) -> Void) {
        bytes.withUnsafeBytes { bytes in
            var reader = FieldReader(bytes: bytes, position: start)
            while let image = ListedImage(&reader) { body(bytes, image) }
        }
    }
}

/// An image of a listing, as places in its bytes.
package struct ListedImage {
    package let digest, platform, size, entries, created, layers: Range<Int>
    /// Under which it was pulled; empty where it has names.
    package let name: Range<Int>
    /// As a person would write them, each with the NUL that ends it; empty for none.
    package let names: Range<Int>

    /// `nil` at the end.
    fileprivate init?(_ reader: inout FieldReader) {
        guard let digest = reader.next(), let platform = reader.next(), let size = reader.next(),
            let entries = reader.next(), let created = reader.next(), let layers = reader.next(),
            let name = reader.next()
        else { return nil }
        (self.digest, self.platform, self.size, self.entries) = (digest, platform, size, entries)
        (self.created, self.layers, self.name) = (created, layers, name)
        let start = reader.position
        var end = start
        while let field = reader.next(), !field.isEmpty { end = field.upperBound + 1 }
        names = start..<end
    }

    /// Each of the names, in order.
    package func forEachName(_ bytes: UnsafeRawBufferPointer, _ body: (Range<Int>) -> Void) {
        var reader = FieldReader(
            bytes: UnsafeRawBufferPointer(rebasing: bytes[..<names.upperBound]), position: names.lowerBound)
        while let name = reader.next() { body(name) }
    }

    /// Likewise. An image of which only the digest was ever asked for is shown by the name it was pulled under.
    package func forEachShownName(_ bytes: UnsafeRawBufferPointer, _ body: (Range<Int>) -> Void) {
        if names.isEmpty { body(name) } else { forEachName(bytes, body) }
    }

    /// The first of its names; empty where it has none.
    package func firstName(_ bytes: UnsafeRawBufferPointer) -> Range<Int> {
        var reader = FieldReader(bytes: bytes, position: names.lowerBound)
        return names.isEmpty ? names : reader.next() ?? names
    }
}

private struct FieldReader {
    let bytes: UnsafeRawBufferPointer
    var position: Int

    /// Up to the next NUL; `nil` where there is none.
    mutating func next() -> Range<Int>? {
        guard let end = bytes.firstIndex(ofByte: 0, from: position) else { return nil }
        let field = position..<end
        position = field.upperBound + 1
        return field
    }
}
