/// Runs a filter as the kernel does: classic BPF over `struct seccomp_data`.
/// https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
struct FilterMachine {
    private struct Instruction {
        let code: UInt16
        let ifTrue: Int
        let ifFalse: Int
        let constant: UInt32
    }

    static let x86_64: UInt32 = 0xC000_003E
    static let i386: UInt32 = 0x4000_0003
    static let aarch64: UInt32 = 0xC000_00B7
    static let allow: UInt32 = 0x7FFF_0000
    static func refuses(with code: UInt16) -> UInt32 { 0x0005_0000 | UInt32(code) }

    private let instructions: [Instruction]

    init(_ bytes: [UInt8]) {
        instructions = stride(from: 0, to: bytes.count, by: 8).map { place in
            let word = (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[place + $1]) << UInt64(8 * $1) }
            return Instruction(
                code: UInt16(truncatingIfNeeded: word), ifTrue: Int(word >> 16 & 0xFF), ifFalse: Int(word >> 24 & 0xFF),
                constant: UInt32(word >> 32))
        }
    }

    /// What the filter answers: SECCOMP_RET_*. `nil` for an instruction that libseccomp does not write.
    func answer(_ number: Int, _ arguments: [UInt64] = [], architecture: UInt32 = x86_64) -> UInt32? {
        var words = [UInt32(truncatingIfNeeded: number), architecture, 0, 0]
        for argument in (arguments + [UInt64](repeating: 0, count: 6)).prefix(6) {
            words += [UInt32(truncatingIfNeeded: argument), UInt32(argument >> 32)]
        }
        var (accumulator, place) = (UInt32(0), 0)
        var memory = [UInt32](repeating: 0, count: 16)
        while instructions.indices.contains(place) {
            let instruction = instructions[place]
            let constant = instruction.constant
            place += 1
            switch instruction.code {
            case 0x20: accumulator = words[Int(constant) / 4]
            case 0x60: accumulator = memory[Int(constant)]
            case 0x02: memory[Int(constant)] = accumulator
            case 0x00: accumulator = constant
            case 0x54: accumulator &= constant
            case 0x05: place += Int(constant)
            case 0x15: place += accumulator == constant ? instruction.ifTrue : instruction.ifFalse
            case 0x25: place += accumulator > constant ? instruction.ifTrue : instruction.ifFalse
            case 0x35: place += accumulator >= constant ? instruction.ifTrue : instruction.ifFalse
            case 0x45: place += accumulator & constant != 0 ? instruction.ifTrue : instruction.ifFalse
            case 0x06: return constant
            default: return nil
            }
        }
        return nil
    }
}
