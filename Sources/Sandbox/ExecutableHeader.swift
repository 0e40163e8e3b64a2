internal import LinuxKernel

/// What the first bytes of a file say about why it can not be executed: elf(5) and the `#!` line of execve(2).
struct ExecutableHeader {
    /// The program named behind `#!`, or the ELF loader.
    let interpreter: String?
    /// The first line ends in CR LF: to the kernel the CR is the last byte of the interpreter's name.
    let endsInCarriageReturn: Bool
    /// `e_machine` of an ELF file that is not for this machine.
    let foreignMachine: UInt16?

    init(of path: String) {
        var interpreter: String?
        var machine: UInt16?
        var endsInCarriageReturn = false
        // An unreadable file tells nothing more than execve already did.
        if let file = try? OwnedFileDescriptor(opening: path, .readOnly | .nonBlocking),
            let bytes = try? Self.start(of: file)
        {
            if bytes.starts(with: [0x23, 0x21]) {
                let line = bytes.dropFirst(2).prefix { $0 != 0x0A }
                endsInCarriageReturn = line.last == 0x0D
                interpreter = line.split(whereSeparator: { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }).first
                    .map { String(decoding: $0, as: UTF8.self) }
            } else if bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46]), bytes.count >= 64 {
                let found = UInt16(bytes[18]) | UInt16(bytes[19]) << 8
                if found != Self.ownMachine { machine = found }
                interpreter = Self.loader(bytes)
            }
        }
        self.interpreter = interpreter
        self.endsInCarriageReturn = endsInCarriageReturn
        foreignMachine = machine
    }

    private static var ownMachine: UInt16 {
        #if arch(x86_64)
            62
        #elseif arch(arm64)
            183
        #elseif arch(powerpc64le)
            21
        #else
            0
        #endif
    }

    private static func start(of file: borrowing OwnedFileDescriptor) throws(SystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count: Result<Int, SystemError> = bytes.withUnsafeMutableBytes { buffer in
            do throws(SystemError) { return .success(try file.read(into: buffer)) } catch { return .failure(error) }
        }
        bytes.removeLast(bytes.count - (try count.get()))
        return bytes
    }

    /// The `PT_INTERP` segment of a 64-bit little-endian ELF file, where it lies within the first page.
    private static func loader(_ bytes: [UInt8]) -> String? {
        func number(_ offset: Int, _ width: Int) -> Int? {
            guard offset >= 0, offset <= bytes.count - width else { return nil }
            return (0..<width).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
        }
        guard bytes[4] == 2, let table = number(32, 4), let size = number(54, 2), let count = number(56, 2) else {
            return nil
        }
        for index in 0..<count {
            let entry = table + index * size
            guard number(entry, 4) == 3, let offset = number(entry + 8, 4), let length = number(entry + 32, 4),
                length > 1, offset <= bytes.count - length
            else { continue }
            return String(decoding: bytes[offset..<offset + length - 1], as: UTF8.self)
        }
        return nil
    }
}
