/// The program that a cgroup of version 2 asks before a device node is opened or made: `BPF_PROG_TYPE_CGROUP_DEVICE`.
///
/// Assembled here by hand, so that no compiler and no library is needed where it is loaded. It answers 1 where a rule
/// has all that is asked for, and 0 otherwise. bpf(2); https://docs.kernel.org/bpf/standardization/instruction-set.html
package enum DeviceProgram {
    /// The instructions, each as the eight bytes of `struct bpf_insn` on a little-endian machine.
    package static func assemble(_ rules: [DeviceRule]) -> [UInt64] {
        // r1 points to struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }; access_type is
        // access << 16 | kind.
        var program: [UInt64] = [
            load(.kind, offset: 0), move(.access, .kind),
            instruction(rightShift32, .access, immediate: 16), instruction(and32, .kind, immediate: 0xFFFF),
            load(.major, offset: 4), load(.minor, offset: 8),
        ]
        for rule in rules { program += block(for: rule) }
        return program + answer(0)
    }

    /// Jumps over its own end where one of its conditions does not hold.
    private static func block(for rule: DeviceRule) -> [UInt64] {
        var conditions: [(instructions: [UInt64], jump: (Int16) -> UInt64)] = [
            ([], { unequal(.kind, Int32(rule.kind.rawValue), $0) }),
            ([], { unequal(.major, Int32(bitPattern: rule.major), $0) }),
        ]
        if let minor = rule.minor { conditions.append(([], { unequal(.minor, Int32(bitPattern: minor), $0) })) }
        if rule.access != [.read, .write, .makeNode] {
            // All that is asked for has to be among what is allowed.
            conditions.append(
                (
                    [move(.result, .access), instruction(and64, .result, immediate: Int32(rule.access.rawValue))],
                    { unequal(.result, .access, $0) }
                ))
        }
        let length = conditions.reduce(0) { $0 + $1.instructions.count + 1 } + 2
        var block: [UInt64] = []
        for condition in conditions {
            block += condition.instructions
            block.append(condition.jump(Int16(length - block.count - 1)))
        }
        return block + answer(1)
    }

    private enum Register: UInt64 {
        case result = 0
        case context, kind, access, major, minor
    }

    // Opcodes: class, operation and source in one byte.
    private static let load32: UInt64 = 0x61
    private static let move64: UInt64 = 0xBF
    private static let moveImmediate64: UInt64 = 0xB7
    private static let rightShift32: UInt64 = 0x74
    private static let and32: UInt64 = 0x54
    private static let and64: UInt64 = 0x57
    private static let jumpUnequal: UInt64 = 0x55
    private static let jumpUnequalRegister: UInt64 = 0x5D
    private static let exit: UInt64 = 0x95

    private static func instruction(
        _ code: UInt64, _ destination: Register, _ source: Register = .result, offset: Int16 = 0, immediate: Int32 = 0
    ) -> UInt64 {
        code | destination.rawValue << 8 | source.rawValue << 12 | UInt64(UInt16(bitPattern: offset)) << 16
            | UInt64(UInt32(bitPattern: immediate)) << 32
    }

    private static func load(_ register: Register, offset: Int16) -> UInt64 {
        instruction(load32, register, .context, offset: offset)
    }
    private static func move(_ destination: Register, _ source: Register) -> UInt64 {
        instruction(move64, destination, source)
    }
    private static func unequal(_ register: Register, _ value: Int32, _ offset: Int16) -> UInt64 {
        instruction(jumpUnequal, register, offset: offset, immediate: value)
    }
    private static func unequal(_ register: Register, _ other: Register, _ offset: Int16) -> UInt64 {
        instruction(jumpUnequalRegister, register, other, offset: offset)
    }
    private static func answer(_ value: Int32) -> [UInt64] {
        [instruction(moveImmediate64, .result, immediate: value), instruction(exit, .result)]
    }
}
