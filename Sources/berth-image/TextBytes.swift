/// Text that is put together of many small pieces: lists of thousands of lines in a few milliseconds.
struct TextBytes {
    private(set) var bytes: [UInt8] = []

    mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

    mutating func add(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func add(_ text: UnsafeRawBufferPointer.SubSequence) {
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: text))
    }

    mutating func add(byte: UInt8) { bytes.append(byte) }

    mutating func addBlanks(_ count: Int) {
        for _ in 0..<max(0, count) { bytes.append(0x20) }
    }

    /// In decimal.
    mutating func add(_ number: UInt64) {
        var divisor: UInt64 = 1
        while number / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            bytes.append(0x30 + UInt8(number / divisor % 10))
            divisor /= 10
        }
    }

    /// `425 MB`, decimal as registries and networks count.
    mutating func addBytes(_ count: Int64) {
        var value = Double(count)
        if value < 1000 {
            if count < 0 { add(byte: 0x2D) }
            add(count.magnitude)
            return add(" B")
        }
        var unit = 0
        value /= 1000
        while value >= 999.5, unit < 3 {
            value /= 1000
            unit += 1
        }
        if value < 99.95 {
            let tenths = UInt64((value * 10).rounded())
            add(tenths / 10)
            add(byte: 0x2E)
            add(tenths % 10)
        } else {
            add(UInt64(value.rounded()))
        }
        switch unit {
        case 0: add(" kB")
        case 1: add(" MB")
        case 2: add(" GB")
        default: add(" TB")
        }
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
