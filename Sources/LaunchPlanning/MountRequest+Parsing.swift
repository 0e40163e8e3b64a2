internal import LinuxKernel

extension MountRequest {
    /// Docker's `-v SRC:DST[:OPTIONS]`, and `-v PATH` for the same path inside, as Pyxis and Apptainer have it.
    package init(
        volume text: String, workingDirectory cwd: String, option: String = "--volume"
    ) throws(OptionError) {
        func bad(_ expected: String) -> OptionError { .badValue(option: option, value: text, expected: expected) }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard (1...3).contains(parts.count), let source = parts.first, !source.isEmpty else {
            throw bad("SRC:DST[:ro|rw]")
        }
        guard source.hasPrefix("/") || source.hasPrefix(".") else { throw .namedVolume(source) }
        guard source.hasPrefix("/") || !cwd.isEmpty else { throw .noWorkingDirectory(source) }
        let host = absolutePath(source, from: cwd)
        let target = parts.count > 1 ? parts[1] : host
        guard target.hasPrefix("/") else { throw bad("an absolute path inside the container after the colon") }
        if isRootPath(target) { throw bad(Self.belowRoot) }
        var readOnly: Bool?
        var recursive: Bool?
        var attributes: MountAttributes = []
        var propagation: MountFlags = []
        if parts.count == 3 {
            for word in parts[2].split(separator: ",", omittingEmptySubsequences: false) {
                switch word {
                case "ro" where readOnly != false: readOnly = true
                case "rw" where readOnly != true: readOnly = false
                case "ro", "rw": throw bad("ro or rw, not both")
                case "rbind" where recursive != false: recursive = true
                case "bind" where recursive != true: recursive = false
                case "rbind", "bind": throw bad("bind or rbind, not both")
                case "noexec": attributes.insert(.noExecution)
                case "nosuid": attributes.insert(.noSetUserID)
                case "nodev": attributes.insert(.noDevices)
                // Docker's SELinux relabelling, of which Berth does none, its words for other systems' file sharing, and
                // what a mount does without the words above.
                case "z", "Z", "cached", "delegated", "consistent", "nocopy", "exec", "suid", "dev": break
                default:
                    guard propagation.isEmpty, let flags = Self.propagation(String(word)) else {
                        throw bad(
                            "ro, rw, bind, rbind, noexec, nosuid, nodev, or one propagation such as rslave, after the second colon"
                        )
                    }
                    propagation = flags
                }
            }
        }
        self.init(
            kind: .bind(source: host, recursive: recursive ?? true), target: target, readOnly: readOnly ?? false)
        self.attributes = attributes
        self.propagation = propagation
    }

    static let belowRoot = "a path below / inside the container: what is mounted on / itself would not be seen"

    /// The words of mount(8) and of Docker's `bind-propagation`.
    static func propagation(_ word: String) -> MountFlags? {
        switch word {
        case "private": [.isPrivate]
        case "rprivate": [.isPrivate, .recursive]
        case "slave": [.isSlave]
        case "rslave": [.isSlave, .recursive]
        case "shared": [.isShared]
        case "rshared": [.isShared, .recursive]
        case "unbindable": [.isUnbindable]
        case "runbindable": [.isUnbindable, .recursive]
        default: nil
        }
    }

    /// Docker's `--tmpfs DST[:OPTIONS]`; it passes the options of mount(8) on, of which those that do something are read.
    package init(tmpfs text: String) throws(OptionError) {
        func bad(_ expected: String) -> OptionError { .badValue(option: "--tmpfs", value: text, expected: expected) }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let target = parts.first, target.hasPrefix("/") else { throw bad("DST[:size=BYTES,mode=OCTAL,ro]") }
        if isRootPath(target) { throw bad(Self.belowRoot) }
        var (size, mode, readOnly, noExecution) = (UInt64?.none, UInt32(0o1777), false, false)
        for word in parts.count == 2 ? parts[1].split(separator: ",", omittingEmptySubsequences: false) : [] {
            let pair = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            switch (pair[0], pair.count == 2 ? pair[1] : nil) {
            case ("size", let value?):
                guard let bytes = byteCount(value) else { throw bad("size=BYTES, with k, m, g or t") }
                size = bytes
            case ("mode", let value?):
                guard let bits = UInt32(value, radix: 8), bits <= 0o1777 else { throw bad("mode=OCTAL") }
                mode = bits
            case ("ro", nil): readOnly = true
            case ("rw", nil): readOnly = false
            case ("noexec", nil): noExecution = true
            case ("exec", nil): noExecution = false
            // These always hold.
            case ("nosuid", nil), ("nodev", nil): break
            default: throw bad("size=BYTES, mode=OCTAL, ro, rw, noexec or exec after the colon")
            }
        }
        self.init(kind: .tmpfs(size: size, mode: mode), target: target, readOnly: readOnly)
        if noExecution { attributes.insert(.noExecution) }
    }

    /// Docker's `--mount type=bind|tmpfs,source=…,target=…`.
    package init(mount text: String, workingDirectory cwd: String) throws(OptionError) {
        func bad(_ expected: String) -> OptionError { .badValue(option: "--mount", value: text, expected: expected) }
        /// `readonly`, `readonly=true`, `readonly=0`.
        func flag(_ value: String?) throws(OptionError) -> Bool {
            guard let value else { return true }
            do throws(OptionError) { return try LaunchOptions.boolean(value, "--mount") } catch {
                throw bad("true or false")
            }
        }
        var type = "bind"
        var source: String?
        var target: String?
        var readOnly = false
        var recursive: Bool?
        var size: UInt64?
        var mode: UInt32?
        var attributes: MountAttributes = []
        var propagation: MountFlags = []
        for field in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let value: String? = pair.count == 2 ? pair[1] : nil
            switch pair[0] {
            case "type": type = value ?? ""
            case "source", "src": source = value
            case "target", "dst", "destination": target = value
            case "readonly", "ro": readOnly = try flag(value)
            case "rw": readOnly = try !flag(value)
            case "bind-nonrecursive": recursive = try !flag(value)
            case "bind-recursive":
                // A read-only mount is so with all that is mounted below it.
                guard value == "enabled" || value == "disabled" || value == "readonly" else {
                    throw bad("bind-recursive=enabled, disabled or readonly")
                }
                recursive = value != "disabled"
            case "bind-propagation":
                guard let flags = value.flatMap(Self.propagation) else {
                    throw bad("bind-propagation=private, rprivate, slave, rslave, shared or rshared")
                }
                propagation = flags
            case "noexec": if try flag(value) { attributes.insert(.noExecution) }
            case "nosuid": if try flag(value) { attributes.insert(.noSetUserID) }
            case "nodev": if try flag(value) { attributes.insert(.noDevices) }
            // For other systems' file sharing.
            case "consistency" where ["cached", "delegated", "consistent", "default"].contains(value): break
            case "tmpfs-size":
                guard let bytes = value.flatMap(byteCount) else { throw bad("tmpfs-size=BYTES, with k, m, g or t") }
                size = bytes
            case "tmpfs-mode":
                guard let bits = value.flatMap({ UInt32($0, radix: 8) }), bits <= 0o1777 else {
                    throw bad("tmpfs-mode=OCTAL")
                }
                mode = bits
            default:
                throw bad(
                    "fields out of type, source, target, readonly, noexec, bind-recursive, bind-propagation, tmpfs-size, tmpfs-mode"
                )
            }
        }
        guard let target, target.hasPrefix("/") else { throw bad("target=ABSOLUTE-PATH") }
        if isRootPath(target) { throw bad(Self.belowRoot) }
        switch type {
        case "bind":
            guard let source, !source.isEmpty else { throw bad("source=PATH") }
            guard size == nil, mode == nil else { throw bad("tmpfs-size and tmpfs-mode with type=tmpfs only") }
            guard source.hasPrefix("/") || source.hasPrefix(".") else { throw .namedVolume(source) }
            guard source.hasPrefix("/") || !cwd.isEmpty else { throw .noWorkingDirectory(source) }
            self.init(
                kind: .bind(source: absolutePath(source, from: cwd), recursive: recursive ?? true), target: target,
                readOnly: readOnly)
        case "tmpfs":
            guard source == nil else { throw bad("no source with type=tmpfs") }
            guard recursive == nil else { throw bad("bind-recursive with type=bind only") }
            guard propagation.isEmpty else { throw bad("bind-propagation with type=bind only") }
            self.init(kind: .tmpfs(size: size, mode: mode ?? 0o1777), target: target, readOnly: readOnly)
        default: throw bad("type=bind or type=tmpfs")
        }
        self.attributes = attributes
        self.propagation = propagation
    }
}

/// A number of bytes with an optional k, m, g or t, as Docker writes sizes: `16g`, `16GB`, `16GiB`; `nil` where it is none.
package func byteCount(_ text: String) -> UInt64? {
    var digits = text.lowercased()[...]
    if digits.hasSuffix("ib") {
        digits = digits.dropLast(2)
        guard let unit = digits.utf8.last, unit > UInt8(ascii: "9") else { return nil }
    } else if digits.hasSuffix("b") {
        digits = digits.dropLast()
    }
    var factor: UInt64 = 1
    switch digits.last {
    case "k": factor = 1 << 10
    case "m": factor = 1 << 20
    case "g": factor = 1 << 30
    case "t": factor = 1 << 40
    default: break
    }
    if factor > 1 { digits = digits.dropLast() }
    guard let number = UInt64(digits) else { return nil }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow ? nil : bytes
}

extension MountRequest {
    /// The same request as words of a command line of `berth run`; none for what only the plugin has.
    package var words: [String] {
        switch kind {
        case .bind(let source, let recursive):
            var options = readOnly ? ["ro"] : []
            if !recursive { options.append("bind") }
            if attributes.contains(.noExecution) { options.append("noexec") }
            if attributes.contains(.noSetUserID) { options.append("nosuid") }
            if attributes.contains(.noDevices) { options.append("nodev") }
            let ending = options.isEmpty ? "" : ":" + options.joined(separator: ",")
            return ["--volume", source + ":" + target + ending]
        case .tmpfs(let size, let mode):
            return [
                "--mount",
                "type=tmpfs,target=" + target + (size.map { ",tmpfs-size=\($0)" } ?? "")
                    + ",tmpfs-mode=" + String(mode, radix: 8),
            ]
        case .unmount: return []
        }
    }
}

/// A path the user typed, made absolute; `.` and empty components go, `..` stays for the kernel to walk.
package func absolutePath(_ path: String, from cwd: String) -> String {
    let whole = path.hasPrefix("/") ? path : cwd + "/" + path
    var result: [UInt8] = []
    var start = 0  // of the component being read, with its slash
    func isDropped() -> Bool { result.count == start + 1 || (result.count == start + 2 && result[start + 1] == 0x2E) }
    for byte in whole.utf8 {
        if byte == UInt8(ascii: "/") {
            if !result.isEmpty, isDropped() { result.removeLast(result.count - start) }
            start = result.count
        }
        result.append(byte)
    }
    if isDropped() { result.removeLast(result.count - start) }
    return result.isEmpty ? "/" : String(decoding: result, as: UTF8.self)
}
