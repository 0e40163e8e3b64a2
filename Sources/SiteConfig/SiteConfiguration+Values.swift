internal import LinuxKernel

extension SiteConfiguration {
    static let onePath = "one absolute path; write a blank in it as \\040"

    /// One absolute path. Rejects two words, because a blank in a path is written as `\040`.
    static func path(_ value: String) -> String? {
        guard value.utf8.first == UInt8(ascii: "/"), words(value).count == 1 else { return nil }
        return unescaped(value)
    }

    /// Returns `nil` for a value with `\000`, at which the kernel would end the path.
    static func unescaped(_ value: String) -> String? {
        let path = Mount.unescape(value)
        return path.kernelBytes.contains(0) ? nil : path
    }

    /// Splits at blanks.
    static func words(_ value: String) -> [String] { fields(value, maxSplits: .max) }

    static func fields(_ value: String, maxSplits: Int) -> [String] {
        let blanks = [UInt8(ascii: " "), UInt8(ascii: "\t")]
        return value.kernelBytes.split(maxSplits: maxSplits, whereSeparator: blanks.contains).map { field in
            RawText.string(field.drop(while: blanks.contains))
        }
    }

    /// `HOST[:PORT]`: a name, an address, or an IPv6 address in brackets.
    static func isRegistry(_ value: String) -> Bool {
        let bytes = Array(value.utf8)
        var host = bytes[...]
        if let colon = bytes.lastIndex(of: UInt8(ascii: ":")), bytes.last != UInt8(ascii: "]") {
            let port = UInt16(String(decoding: bytes[(colon + 1)...], as: UTF8.self))
            guard let port, port > 0, bytes[colon + 1] != UInt8(ascii: "+") else { return false }
            host = bytes[..<colon]
        }
        if host.first == UInt8(ascii: "["), host.last == UInt8(ascii: "]") {
            let address = host.dropFirst().dropLast()
            return !address.isEmpty && address.allSatisfy { isHexadecimal($0) || $0 == 0x3A || $0 == 0x2E }
        }
        return !host.isEmpty && host.allSatisfy { isOfName($0) }
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte) || (0x61...0x66).contains(byte)
    }

    private static func isOfName(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
            || [UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_")].contains(byte)
    }
}

extension SiteConfiguration.FabricLine {
    init?(_ name: String, _ value: String, place: String) {
        let fields = SiteConfiguration.fields(value, maxSplits: 1)
        guard fields.count == 2, fields[0] == "ib" || fields[0] == "efa" else { return nil }
        let rest = fields[1]
        switch name {
        case "fabric-mount":
            let words = SiteConfiguration.words(rest)
            let paths = words.compactMap { SiteConfiguration.unescaped($0) }
            guard (1...2).contains(paths.count), paths.count == words.count, paths.allSatisfy({ $0.hasPrefix("/") }),
                paths.last.map(isRootPath) == false
            else { return nil }
            self.init(fabric: fields[0], kind: .mount(source: paths[0], target: paths.last ?? paths[0]), place: place)
        case "fabric-library":
            guard let path = SiteConfiguration.path(rest) else { return nil }
            self.init(fabric: fields[0], kind: .library(path), place: place)
        default:
            guard let equals = rest.firstIndex(of: "="), equals != rest.startIndex else { return nil }
            self.init(fabric: fields[0], kind: .variable(rest), place: place)
        }
    }
}

extension SiteConfiguration.Mount {
    /// `SOURCE TARGET [TYPE [OPTIONS]]`, blanks in paths as `\040`: fstab(5).
    init?(fstab text: String, place: String) {
        let words = SiteConfiguration.words(text)
        let fields = words.compactMap { SiteConfiguration.unescaped($0) }
        guard (2...4).contains(fields.count), fields.count == words.count, fields[1].hasPrefix("/") else { return nil }
        let type = fields.count > 2 ? fields[2] : "none"
        guard type == "tmpfs" || (["none", "bind"].contains(type) && fields[0].hasPrefix("/")) else { return nil }
        let options = fields.count > 3 ? fields[3].split(separator: ",").map(String.init) : []
        self.init(source: fields[0], target: fields[1], type: type, options: options, place: place)
    }

    static let form = "SOURCE TARGET [none|bind|tmpfs [ro,rw,bind,rbind,nofail,size=BYTES,size=PERCENT%]]"

    /// An unknown option is an error, because ignoring `noexec` would mislead.
    var unknownOption: String? {
        let known = ["ro", "rw", "bind", "rbind", "nofail", "defaults"]
        return options.first { option in
            if known.contains(option) { return false }
            guard type == "tmpfs", option.utf8.starts(with: "size=".utf8) else { return true }
            let value = String(option.utf8.dropFirst(5)) ?? ""
            return SiteConfiguration.bytes(value) == nil && !Self.isPercentage(value)
        }
    }

    /// A percentage of the node's memory, as in tmpfs(5): `50%`.
    private static func isPercentage(_ text: String) -> Bool {
        guard text.utf8.last == UInt8(ascii: "%"), text.utf8.first != UInt8(ascii: "+") else { return false }
        return (String(text.utf8.dropLast()).flatMap { UInt16($0) } ?? 0) > 0
    }

    /// Decodes octal escapes such as `\040`, which fstab(5) and proc_pid_mountinfo(5) use.
    package static func unescape(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: "\\")) else { return text }
        var bytes: [UInt8] = []
        var rest = text.kernelBytes[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3,
                let value = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(value)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return RawText.string(bytes[...])
    }
}
