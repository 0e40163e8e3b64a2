internal import Foundation

/// Text that is put together of many small pieces, and handed on in large ones: lists of thousands of lines in a few
/// milliseconds.
struct TextBytes: ~Copyable {
    /// Small enough to stay in the processor's cache, large enough for what most lists are.
    private static let capacity = 128 << 10
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 16)
    private(set) var count = 0
    private let sink: (UnsafeRawBufferPointer) -> Void

    /// - Parameter sink: Gets what has come together, and the rest by `flush`.
    init(_ sink: @escaping (UnsafeRawBufferPointer) -> Void) { self.sink = sink }

    deinit { buffer.deallocate() }

    /// What `body` adds, in one piece.
    static func gathered(_ body: (inout TextBytes) -> Void) -> [UInt8] {
        var all: [UInt8] = []
        var text = TextBytes { all += $0 }
        body(&text)
        text.flush()
        return all
    }

    mutating func flush() {
        sink(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        count = 0
    }

    mutating func add(_ text: UnsafeRawBufferPointer) {
        if count + text.count > buffer.count {
            flush()
            guard text.count <= buffer.count else { return sink(text) }
        }
        guard let source = text.baseAddress, let target = buffer.baseAddress else { return }
        memcpy(target + count, source, text.count)
        count += text.count
    }

    mutating func add(_ text: StaticString) {
        add(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func add(_ text: UnsafeRawBufferPointer.SubSequence) { add(UnsafeRawBufferPointer(rebasing: text)) }

    mutating func add(byte: UInt8) {
        if count == buffer.count { flush() }
        buffer[count] = byte
        count += 1
    }

    mutating func addBlanks(_ count: Int) {
        for _ in 0..<max(0, count) { add(byte: 0x20) }
    }

    /// In decimal.
    mutating func add(_ number: UInt64) {
        let digits = Self.digits(number)
        if count + digits > buffer.count { flush() }
        var rest = number
        for place in (count..<(count + digits)).reversed() {
            buffer[place] = 0x30 + UInt8(rest % 10)
            rest /= 10
        }
        count += digits
    }

    /// `425 MB`, decimal as registries and networks count.
    mutating func addBytes(_ count: Int64) {
        let (value, unit) = Self.scaled(count)
        if unit == 0 {
            if count < 0 { add(byte: 0x2D) }
            add(count.magnitude)
        } else if value < 99.95 {
            let tenths = UInt64((value * 10).rounded())
            add(tenths / 10)
            add(byte: 0x2E)
            add(tenths % 10)
        } else {
            add(UInt64(value.rounded()))
        }
        switch unit {
        case 0: add(" B")
        case 1: add(" kB")
        case 2: add(" MB")
        case 3: add(" GB")
        default: add(" TB")
        }
    }

    /// How many bytes `addBytes` adds.
    static func width(ofBytes count: Int64) -> Int {
        let (value, unit) = scaled(count)
        if unit == 0 { return digits(count.magnitude) + (count < 0 ? 1 : 0) + 2 }
        if value < 99.95 { return digits(UInt64((value * 10).rounded()) / 10) + 5 }
        return digits(UInt64(value.rounded())) + 3
    }

    private static func scaled(_ count: Int64) -> (value: Double, unit: Int) {
        var (value, unit) = (Double(count), 0)
        if value < 1000 { return (value, 0) }
        while value >= 999.5, unit < 4 {
            value /= 1000
            unit += 1
        }
        return (value, unit)
    }

    private static func digits(_ number: UInt64) -> Int {
        var (rest, digits) = (number / 10, 1)
        while rest > 0 { (rest, digits) = (rest / 10, digits + 1) }
        return digits
    }

    /// `3 days`, for lists.
    mutating func addAge(seconds: Int64) {
        let (length, name): (Int64, StaticString) =
            switch seconds {
            case (86400 * 365)...: (86400 * 365, " year")
            case (86400 * 7)...: (86400 * 7, " week")
            case 86400...: (86400, " day")
            case 3600...: (3600, " hour")
            case 60...: (60, " minute")
            default: (0, "moments")
            }
        guard length > 0 else { return add(name) }
        let count = UInt64(seconds / length)
        add(count)
        add(name)
        if count != 1 { add("s") }
    }
}
