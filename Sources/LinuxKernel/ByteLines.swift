internal import CLinux

/// Iterates over the non-empty lines of a file as slices of its bytes, without line ends. Unlike `split`, it creates no
/// array of all lines first.
package struct ByteLines: Sequence, IteratorProtocol {
    private let bytes: [UInt8]
    private var position = 0

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    package mutating func next() -> ArraySlice<UInt8>? {
        while position < bytes.count {
            let start = position
            while position < bytes.count, bytes[position] != 0x0A { position += 1 }
            let line = bytes[start..<position]
            position += 1
            if !line.isEmpty { return line }
        }
        return nil
    }
}

extension ArraySlice<UInt8> {
    /// A field of a line of passwd(5) or group(5), counted from 0; `nil` if the line has fewer.
    package func colonField(_ index: Int) -> ArraySlice<UInt8>? {
        var start = startIndex
        var left = index
        var position = startIndex
        while position < endIndex {
            if self[position] == 0x3A {
                if left == 0 { return self[start..<position] }
                left -= 1
                start = position + 1
            }
            position += 1
        }
        return left == 0 ? self[start...] : nil
    }

    package func holds(_ other: [UInt8]) -> Bool {
        guard count == other.count else { return false }
        for index in 0..<other.count where self[startIndex + index] != other[index] { return false }
        return true
    }
}

extension UnsafeRawBufferPointer {
    /// The first index of a byte at or after `start`; `nil` if there is none. The corresponding call is `memchr(3)`.
    package func firstIndex(ofByte byte: UInt8, from start: Int) -> Int? {
        guard start < count, let base = baseAddress, let found = memchr(base + start, Int32(byte), count - start) else {
            return nil
        }
        return UnsafeRawPointer(found) - base
    }
}
