import LaunchPlanning
import Testing

/// The device program, carried out by an interpreter of the few instructions it is made of.
@Suite struct DeviceProgramTests {
    struct Stuck: Error { let opcode: UInt64 }

    /// What the kernel would be told for a request; https://docs.kernel.org/bpf/standardization/instruction-set.html
    static func answer(_ program: [UInt64], kind: UInt32, major: UInt32, minor: UInt32, access: UInt32) throws -> UInt64
    {
        let context: [UInt32] = [access << 16 | kind, major, minor]
        var registers = [UInt64](repeating: 0xDEAD_BEEF_DEAD_BEEF, count: 11)
        var position = 0
        for _ in 0..<10_000 {
            let word = program[position]
            let destination = Int(word >> 8 & 0xF)
            let source = Int(word >> 12 & 0xF)
            let offset = Int(Int16(truncatingIfNeeded: word >> 16))
            let immediate = Int64(Int32(truncatingIfNeeded: word >> 32))
            position += 1
            switch word & 0xFF {
            case 0x61: registers[destination] = UInt64(context[offset / 4])
            case 0xBF: registers[destination] = registers[source]
            case 0xB7: registers[destination] = UInt64(bitPattern: immediate)
            case 0x74: registers[destination] = UInt64(UInt32(truncatingIfNeeded: registers[destination]) >> immediate)
            case 0x54:
                registers[destination] =
                    registers[destination] & UInt64(UInt32(truncatingIfNeeded: immediate)) & 0xFFFF_FFFF
            case 0x57: registers[destination] &= UInt64(bitPattern: immediate)
            case 0x55: if registers[destination] != UInt64(bitPattern: immediate) { position += offset }
            case 0x5D: if registers[destination] != registers[source] { position += offset }
            case 0x95: return registers[0]
            default: throw Stuck(opcode: word & 0xFF)
            }
        }
        throw Stuck(opcode: 0)
    }

    /// The rules, read as they are meant.
    static func allows(_ rules: [DeviceRule], kind: UInt32, major: UInt32, minor: UInt32, access: UInt32) -> Bool {
        rules.contains { rule in
            rule.kind.rawValue == kind && rule.major == major && (rule.minor == nil || rule.minor == minor)
                && access & ~rule.access.rawValue == 0
        }
    }

    static let lists: [[DeviceRule]] = [
        [], DeviceRule.standard,
        DeviceRule.standard + [DeviceRule(.character, 195, 3), DeviceRule(.character, 195, 255)],
        [DeviceRule(.block, 8, nil, [.read]), DeviceRule(.character, 8, 1, [.read, .write, .makeNode])],
        [DeviceRule(.character, 4095, 0xF_FFFF, [.write])],
        (0..<200).map { DeviceRule(.character, 511, $0) },
    ]

    @Test(arguments: lists) func itSaysWhatTheRulesSay(_ rules: [DeviceRule]) throws {
        let program = DeviceProgram.assemble(rules)
        let numbers: [(UInt32, UInt32)] = [
            (1, 3), (1, 4), (1, 11), (5, 0), (5, 2), (136, 0), (136, 1_048_575), (137, 0), (0, 0), (0, 1), (195, 3),
            (195, 2), (195, 255), (8, 0), (8, 1), (4095, 0xF_FFFF), (4095, 0), (511, 0), (511, 199), (511, 200),
        ]
        for kind in [1, 2] as [UInt32] {
            for (major, minor) in numbers {
                for access in 0...7 as ClosedRange<UInt32> {
                    let expected = Self.allows(rules, kind: kind, major: major, minor: minor, access: access)
                    let found = try Self.answer(program, kind: kind, major: major, minor: minor, access: access)
                    #expect(found == (expected ? 1 : 0), "kind \(kind), \(major):\(minor), access \(access)")
                }
            }
        }
    }

    /// The verifier refuses a program that can run past its end, or has no answer.
    @Test(arguments: lists) func everyJumpStaysInside(_ rules: [DeviceRule]) {
        let program = DeviceProgram.assemble(rules)
        #expect(program.last == 0x95)
        for (position, word) in program.enumerated() where [0x55, 0x5D].contains(word & 0xFF) {
            let offset = Int(Int16(truncatingIfNeeded: word >> 16))
            #expect(offset > 0 && position + 1 + offset < program.count)
        }
    }

    /// Looked at once with `bpftool prog dump xlated`; the encoding is the kernel's and does not change.
    @Test func theEncodingIsTheKernels() {
        #expect(
            DeviceProgram.assemble([DeviceRule(.character, 195, 3, [.read, .write, .makeNode])]).map {
                String($0, radix: 16)
            } == [
                "1261", "23bf", "1000000374", "ffff00000254", "41461", "81561",
                "200040255", "c300030455", "300020555", "1000000b7", "95", "b7", "95",
            ])
    }

    @Test func theLinesOfVersionOneSayTheSame() {
        #expect(
            DeviceRule.standard.map(\.line) == [
                "c 1:3 rw", "c 1:5 rw", "c 1:7 rw", "c 1:8 rw", "c 1:9 rw", "c 5:0 rw", "c 5:2 rw", "c 136:* rw",
                "c 0:0 m",
            ])
        #expect(DeviceRule(.block, 8, nil, [.read, .write, .makeNode]).line == "b 8:* rwm")
    }
}
