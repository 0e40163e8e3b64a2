package import LinuxKernel

/// The site's and the user's configuration: `/etc/berth/berth.conf` and `~/.config/berth/berth.conf`.
///
/// Lines are `name = value`; `#` starts a comment; `mount` may repeat and is an fstab(5) line.
/// Reference: docs/reference/configuration.md
/// has every name.
package struct SiteConfiguration: Equatable, Sendable {
    package struct Mount: Equatable, Sendable {
        package let source: String
        package let target: String
        package let type: String
        package let options: [String]
        /// File and line.
        package let place: String
    }

    /// A value whose meaning the launcher knows, and where it stands.
    package struct Setting: Equatable, Sendable {
        package let name: String
        package let value: String
        package let file: String
        package let line: Int
        package var place: String { "\(file):\(line)" }
    }

    package var mounts: [Mount] = []
    /// Where single settings stand, for explanations.
    package var places: [Setting] = []
    /// `NAME=SOFT[:HARD]`, as `--ulimit` takes it.
    package var limits: [Setting] = []
    /// Words, as `--require` takes them.
    package var requirements: [Setting] = []
    /// Words, as `--enforce` takes them.
    package var enforcement: Setting?
    /// Nodes that the Slurm plugin leaves to every task besides its grant.
    package var allowedDevices: [String] = []
    package var home = false
    /// Whether an ordinary user is root inside where the command line does not say.
    package var root = false
    package var store: String?
    package var scratch: String?
    package var scratchLimit: String?
    package var insecureRegistries: [String] = []
    /// Asked before the registries themselves, in this order.
    package var mirrors: [Mirror] = []
    /// How long, in milliseconds, the first task of a step waits for its neighbours once it is ready.
    package var joinWait = 1000

    /// What an administrator fills with `berth pull --system`; looked into before the other shared stores.
    package var systemStore: SharedStore?
    package var otherSharedStores: [SharedStore] = []
    /// A directory on storage that several nodes share, where what one downloads is left for the others.
    package var blobCache: String?
    /// What `berth prune` leaves at most, in bytes, and how long unused images stay, in seconds.
    package var keepStorage: UInt64?
    package var pruneUntil: Int64?
    package var layerLimits: [LayerLimit] = []
    /// Where CDI specifications are, weakest first; empty for the specification's own two directories.
    package var cdiDirectories: [String] = []
    /// Programs that CDI specifications may run as hooks.
    package var cdiHooks: [String] = []
    /// A word out of `Fabric`.
    package var fabric: String?
    package var fabricRules: [FabricLine] = []
    package var profile: String?
    /// `none`, `default` or the absolute path of a profile.
    package var seccomp: Setting?
    /// What the site's file said, where `BERTH_CONFIG` named a descriptor: a pipe can be read once.
    package private(set) var textByDescriptor: [UInt8]?

    /// `fabric-mount`, `fabric-library` or `fabric-variable`.
    package struct FabricLine: Equatable, Sendable {
        package enum Kind: Equatable, Sendable {
            case mount(source: String, target: String)
            case library(String)
            case variable(String)
        }
        package let fabric: String
        package let kind: Kind
        /// File and line.
        package let place: String
    }

    package init() {}
}

/// A configuration file that cannot be used, or a line of it.
package struct ConfigurationError: Error, Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        case unreadable(SystemError)
        /// Another user could have written it; `isOwn` if it is the user's file and not the site's.
        case untrusted(UntrustedPath, isOwn: Bool)
        case unknownName(String)
        case badValue(name: String, value: String, expected: String)
        case notAnAssignment
        /// A NUL byte: the file is UTF-16, or no text at all.
        case notText
        /// A FIFO, a socket or a device, which reading could wait for.
        case notAFile
    }
    package let file: String
    package let line: Int
    package let reason: Reason

    package init(file: String, line: Int, reason: Reason) {
        self.file = file
        self.line = line
        self.reason = reason
    }
}

extension SiteConfiguration {
    /// Where the user's own files are looked for: `HOME`, then the account's home directory. Absolute paths, each once.
    package static func homes(environment: (String) -> String?, accountHome: String?) -> [String] {
        var homes: [String] = []
        for home in [environment("HOME"), accountHome] {
            if let home, home.utf8.first == UInt8(ascii: "/"), !homes.contains(home) { homes.append(home) }
        }
        return homes
    }

    /// Reads the site's file and then the user's, which may override everything but adds its mounts to the site's.
    /// `BERTH_CONFIG` names another site file, which must exist. Any other absent file is no error; an unreadable one is.
    ///
    /// - Parameter homes: From `homes(environment:accountHome:)`: the first one with a configuration file counts.
    package static func read(
        environment: (String) -> String?, homes: [String]
    ) throws(ConfigurationError) -> SiteConfiguration {
        var configuration = SiteConfiguration()
        let named = environment("BERTH_CONFIG").flatMap { $0.isEmpty ? nil : $0 }
        let isThere = try configuration.add(file: named ?? "/etc/berth/berth.conf")
        if let named, !isThere {
            throw ConfigurationError(
                file: named, line: 0,
                reason: .unreadable(SystemError(call: "open", errno: Errno.ENOENT, subject: named)))
        }
        let base = environment("XDG_CONFIG_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
        var places = homes.map { $0 + "/.config" }
        if let base { places = [base] + places.dropFirst() }
        for place in places where try configuration.add(file: place + "/berth/berth.conf", isOwn: true) { break }
        return configuration
    }

    /// Reads `/etc/berth/berth.conf` alone. Commands that run with the site's privilege use neither the environment nor a
    /// user's file.
    package static func readSite() throws(ConfigurationError) -> SiteConfiguration {
        var configuration = SiteConfiguration()
        try configuration.add(file: "/etc/berth/berth.conf")
        return configuration
    }

    /// `false` if there is no such file.
    @discardableResult
    private mutating func add(file: String, isOwn: Bool = false) throws(ConfigurationError) -> Bool {
        var bytes: [UInt8] = []
        let fault: UntrustedPath?
        let isRefused: Bool
        do throws(SystemError) {
            // An absent file is no error, whichever directory it is absent from.
            let status = try FileStatus(of: file)
            fault = try Trust(isOwnFile: isOwn).fault(on: file)
            isRefused = status.isSpecial && !Trust.isOwnDescriptor(file)
            if fault == nil, !isRefused { bytes = try contents(of: file, limit: 1 << 20) }
        } catch {
            if error.errno == Errno.ENOENT || error.errno == Errno.ENOTDIR { return false }
            throw ConfigurationError(file: file, line: 0, reason: .unreadable(error))
        }
        if let fault { throw ConfigurationError(file: file, line: 0, reason: .untrusted(fault, isOwn: isOwn)) }
        if isRefused { throw ConfigurationError(file: file, line: 0, reason: .notAFile) }
        if Trust.isOwnDescriptor(file) { textByDescriptor = bytes }
        try add(bytes, file: file)
        return true
    }

    package mutating func add(text: String, file: String) throws(ConfigurationError) {
        try add(text.kernelBytes, file: file)
    }

    /// Lines, names and values are bytes: a path may contain any, and a combining accent after `=` must not hide it.
    private mutating func add(_ bytes: [UInt8], file: String) throws(ConfigurationError) {
        // Editors on Windows write a byte order mark.
        let text = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
        for (index, line) in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            func refusal(_ reason: ConfigurationError.Reason) -> ConfigurationError {
                ConfigurationError(file: file, line: index + 1, reason: reason)
            }
            if line.contains(0) { throw refusal(.notText) }
            let content = Self.trim(line.prefix { $0 != UInt8(ascii: "#") })
            if content.isEmpty { continue }
            guard let equals = content.firstIndex(of: UInt8(ascii: "=")) else { throw refusal(.notAnAssignment) }
            let name = RawText.string(Self.trim(content[..<equals]))
            let value = RawText.string(Self.trim(content[(equals + 1)...]))
            do throws(Refusal) { try set(name, value, file, index + 1) } catch { throw refusal(error.reason) }
        }
    }

    private static func trim(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }
        var text = text.drop(while: isBlank)
        while let last = text.last, isBlank(last) { text.removeLast() }
        return text
    }

    private struct Refusal: Error { let reason: ConfigurationError.Reason }

    private mutating func set(
        _ name: String, _ value: String, _ file: String, _ line: Int
    ) throws(Refusal) {
        func bad(_ expected: String) -> Refusal {
            Refusal(reason: .badValue(name: name, value: value, expected: expected))
        }
        if ["home", "root", "scratch", "scratch-limit"].contains(name) {
            places.removeAll { $0.name == name }
            places.append(Setting(name: name, value: value, file: file, line: line))
        }
        switch name {
        case "mount":
            guard let mount = Mount(fstab: value, place: "\(file):\(line)") else { throw bad(Mount.form) }
            if let option = mount.unknownOption {
                let kind = mount.type == "tmpfs" ? "tmpfs" : "bind mount"
                throw bad("\(Mount.form); \"\(option)\" is no option of a \(kind)")
            }
            mounts.append(mount)
        case "ulimit":
            guard value.contains("=") else { throw bad("NAME=SOFT[:HARD]") }
            // The user's value of a limit replaces the site's.
            let limit = value.prefix { $0 != "=" }
            limits.removeAll { $0.value.prefix { $0 != "=" } == limit }
            limits.append(Setting(name: name, value: value, file: file, line: line))
        case "enforce": enforcement = Setting(name: name, value: value, file: file, line: line)
        case "seccomp":
            guard value == "none" || value == "default" || Self.path(value) != nil else {
                throw bad("none, default, or the absolute path of a profile")
            }
            seccomp = Setting(name: name, value: value, file: file, line: line)
        case "allow-device":
            guard let path = Self.path(value), path.hasPrefix("/dev/") else { throw bad("/dev/NODE") }
            allowedDevices.append(path)
        case "require": requirements.append(Setting(name: name, value: value, file: file, line: line))
        case "home":
            guard value == "yes" || value == "no" else { throw bad("yes or no") }
            home = value == "yes"
        case "root":
            guard value == "yes" || value == "no" else { throw bad("yes or no") }
            root = value == "yes"
        case "store":
            guard let path = Self.path(value) else { throw bad(Self.onePath) }
            store = path
        case "scratch":
            guard value == "memory" || Self.path(value) != nil else { throw bad("memory, or " + Self.onePath) }
            scratch = value == "memory" ? nil : Self.path(value)
        case "scratch-limit":
            guard Self.bytes(value) != nil else { throw bad("bytes, with k, m, g or t") }
            scratchLimit = value
        case "insecure-registry":
            guard Self.isRegistry(value) else { throw bad("HOST[:PORT], without http:// and without a path") }
            insecureRegistries.append(value.lowercased())
        case "mirror":
            guard let mirror = Mirror(value) else {
                throw bad("REGISTRY MIRROR, each HOST[:PORT]; a path may follow the second")
            }
            mirrors.append(mirror)
        case "join-wait":
            guard let milliseconds = Int(value), (0...600_000).contains(milliseconds) else {
                throw bad("milliseconds from 0 to 600000")
            }
            joinWait = milliseconds
        default:
            if try setStorage(name, value, bad) { return }
            if try !setDevices(name, value, bad, "\(file):\(line)") { throw Refusal(reason: .unknownName(name)) }
        }
    }

    /// The settings of stores: `false` for any other name.
    private mutating func setStorage(
        _ name: String, _ value: String, _ bad: (String) -> Refusal
    ) throws(Refusal) -> Bool {
        switch name {
        case "system-store", "shared-store":
            guard let shared = SharedStore(value) else {
                throw bad("an absolute path, optionally followed by owner=UID")
            }
            if name == "system-store" { systemStore = shared } else { otherSharedStores.append(shared) }
        case "blob-cache":
            guard let path = Self.path(value) else { throw bad(Self.onePath) }
            blobCache = path
        case "keep-storage":
            guard let bytes = Self.bytes(value) else { throw bad("bytes, with k, m, g or t") }
            keepStorage = UInt64(bytes)
        case "prune-until":
            guard let seconds = Self.seconds(value) else { throw bad("a time such as 12h, 30d or 2w") }
            pruneUntil = seconds
        case "layer-limit":
            guard let limit = LayerLimit(value) else {
                throw bad("NAME=NUMBER, where NAME is one of " + LayerLimit.names.joined(separator: ", "))
            }
            layerLimits.removeAll { $0.name == limit.name }
            layerLimits.append(limit)
        default: return false
        }
        return true
    }

    /// The settings of devices: `false` for any other name.
    private mutating func setDevices(
        _ name: String, _ value: String, _ bad: (String) -> Refusal, _ place: String
    ) throws(Refusal) -> Bool {
        switch name {
        case "cdi-directory":
            guard let path = Self.path(value) else { throw bad(Self.onePath) }
            cdiDirectories.append(path)
        case "cdi-hook":
            guard let path = Self.path(value) else { throw bad(Self.onePath) }
            cdiHooks.append(path)
        case "fabric":
            guard Self.fabrics.contains(value) else { throw bad("auto, none, ib or efa") }
            fabric = value
        case "fabric-mount", "fabric-library", "fabric-variable":
            guard let line = FabricLine(name, value, place: place) else {
                throw bad(
                    name == "fabric-mount"
                        ? "FABRIC SOURCE [TARGET], FABRIC being ib or efa and both paths absolute"
                        : name == "fabric-library"
                            ? "FABRIC LIBRARY, FABRIC being ib or efa and LIBRARY an absolute path"
                            : "FABRIC NAME=VALUE, FABRIC being ib or efa")
            }
            fabricRules.append(line)
        case "profile":
            guard value == "pytorch" || value == "none" else { throw bad("pytorch or none") }
            profile = value
        default: return false
        }
        return true
    }

    private static let fabrics = ["auto", "none", "ib", "efa"]
}

extension SiteConfiguration {
    /// Of all settings.
    package static let names = [
        "mount", "ulimit", "enforce", "allow-device", "require", "home", "root", "store", "scratch", "scratch-limit",
        "insecure-registry", "mirror", "join-wait", "system-store", "shared-store", "blob-cache", "keep-storage",
        "prune-until", "layer-limit", "cdi-directory", "cdi-hook", "fabric", "fabric-mount", "fabric-library",
        "fabric-variable", "profile",
    ]

    static let onePath = "one absolute path; write a blank in it as \\040"

    /// One absolute path. Two words are refused: a blank in a path is written as `\040`.
    static func path(_ value: String) -> String? {
        guard value.utf8.first == UInt8(ascii: "/"), words(value).count == 1 else { return nil }
        return unescaped(value)
    }

    /// `nil` for a value with `\000`: the kernel would end the path there.
    static func unescaped(_ value: String) -> String? {
        let path = Mount.unescape(value)
        return path.kernelBytes.contains(0) ? nil : path
    }

    /// What blanks separate.
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
            guard (1...2).contains(paths.count), paths.count == words.count, paths.allSatisfy({ $0.hasPrefix("/") })
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

    /// An unknown option is an error and not ignored: a `noexec` without effect would mislead.
    var unknownOption: String? {
        let known = ["ro", "rw", "bind", "rbind", "nofail", "defaults"]
        return options.first { option in
            if known.contains(option) { return false }
            guard type == "tmpfs", option.utf8.starts(with: "size=".utf8) else { return true }
            let value = String(option.utf8.dropFirst(5)) ?? ""
            return SiteConfiguration.bytes(value) == nil && !Self.isPercentage(value)
        }
    }

    /// Of the node's memory, as tmpfs(5) has it: `50%`.
    private static func isPercentage(_ text: String) -> Bool {
        guard text.utf8.last == UInt8(ascii: "%"), text.utf8.first != UInt8(ascii: "+") else { return false }
        return (String(text.utf8.dropLast()).flatMap { UInt16($0) } ?? 0) > 0
    }

    /// As fstab(5) and proc_pid_mountinfo(5) write blanks and their like: `\040`.
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
