internal import LinuxKernel

extension MountRequest {
    /// The value of Pyxis' `--container-mounts`: `SRC:DST[:FLAG+FLAG…]`, `SRC` for the same place inside, `tmpfs:DST` and
    /// `umount:DST`, with commas between them.
    package static func list(pyxis text: String, workingDirectory cwd: String) throws(OptionError) -> [MountRequest] {
        var result: [MountRequest] = []
        var seen: Set<[UInt8]> = []
        for entry in text.split(separator: ",", omittingEmptySubsequences: false) {
            let request = try MountRequest(pyxis: String(entry), workingDirectory: cwd)
            // By its bytes: names that look alike may be two.
            if seen.insert(Array(entry.utf8)).inserted { result.append(request) }
        }
        return result
    }

    private init(pyxis text: String, workingDirectory cwd: String) throws(OptionError) {
        let flags = "ro, rw, nosuid, nodev, noexec, bind, rbind, nofail or a propagation, joined by +"
        func bad(_ expected: String) -> OptionError {
            .badValue(option: "--container-mounts", value: text, expected: expected)
        }
        func isPath(_ text: String) -> Bool { text.hasPrefix("/") || text.hasPrefix(".") }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard (1...3).contains(parts.count), let source = parts.first else { throw bad("SRC:DST[:FLAGS]") }
        guard isPath(source) || (["tmpfs", "umount"].contains(source) && parts.count > 1) else {
            throw bad(
                parts.count == 1
                    ? "an absolute path, or one that starts with ./"
                    : "an absolute path or one that starts with ./, tmpfs or umount before the colon")
        }
        guard parts.count == 1 || isPath(parts[1]) else { throw bad("a path inside the container after the colon") }
        // Inside there is no directory of the user's to start from but the root.
        let target = parts.count == 1 ? absolutePath(source, from: cwd) : absolutePath(parts[1], from: "/")
        if isRootPath(target) { throw bad(Self.belowRoot) }
        switch source {
        case "tmpfs": self.init(kind: .tmpfs(size: nil, mode: 0o1777), target: target)
        case "umount": self.init(kind: .unmount, target: target)
        default: self.init(kind: .bind(source: absolutePath(source, from: cwd), recursive: true), target: target)
        }
        guard parts.count == 3 else { return }
        for flag in parts[2].split(separator: "+", omittingEmptySubsequences: false) {
            guard try apply(String(flag), bad) else { throw bad("\(flags); \(flag) is none of them") }
        }
    }

    /// The options of mount(8), and those of Enroot's that mean something here.
    private mutating func apply(_ flag: String, _ bad: (String) -> OptionError) throws(OptionError) -> Bool {
        switch flag {
        case "ro": readOnly = true
        case "rw": readOnly = false
        case "nosuid": attributes.insert(.noSetUserID)
        case "nodev": attributes.insert(.noDevices)
        case "noexec": attributes.insert(.noExecution)
        case "nofail": optional = true
        // Places are made as they are needed, nobody is told, and what detaches does so lazily.
        case "silent", "x-create=auto", "x-create=dir", "x-create=file", "x-detach", "exec", "dev", "suid": break
        case let word where Self.propagation(word) != nil: propagation = Self.propagation(word) ?? []
        default:
            switch kind {
            case .bind(let source, _):
                guard flag == "bind" || flag == "rbind" else { return false }
                kind = .bind(source: source, recursive: flag == "rbind")
            case .tmpfs(_, let mode):
                let pair = flag.split(separator: "=", maxSplits: 1).map(String.init)
                guard pair.count == 2 else { return false }
                switch pair[0] {
                case "size":
                    guard let bytes = byteCount(pair[1]) else { throw bad("size=BYTES, with k, m or g") }
                    kind = .tmpfs(size: bytes, mode: mode)
                case "mode":
                    guard let bits = UInt32(pair[1], radix: 8), bits <= 0o7777 else { throw bad("mode=OCTAL") }
                    if case .tmpfs(let size, _) = kind { kind = .tmpfs(size: size, mode: bits) }
                // What else a tmpfs takes, the kernel knows better.
                default: data.append(flag)
                }
            case .unmount: return false
            }
        }
        return true
    }
}
