package import ImageSpec
internal import LinuxKernel

/// What a launch needs to know of an image, written when it was unpacked. The format needs no JSON parser: a line with
/// the version, then `name=value` fields, each ended by a NUL, which no field contains.
package struct LaunchRecord: Equatable, Sendable {
    /// The digest of the manifest.
    package var digest: Digest
    package var platform: Platform
    /// Trees below the store, lowest first: `layers/sha256-…/tree`, or one `rootfs/sha256-…/tree`.
    package var trees: [String]
    /// Whether overlayfs can combine the trees; otherwise `compositionReason` is the reason.
    package var overlay: Bool
    package var compositionReason: String
    package var environment: [String]
    package var entrypoint: [String]
    package var command: [String]
    package var user: String
    package var workingDirectory: String
    /// The name by which the image was first pulled.
    package var name: String
    /// The total size of the unpacked layers in bytes, and the number of their files and directories.
    package var size: UInt64
    package var entries: UInt64
    /// When the image was published, in seconds since 1970.
    package var created: Int64
    /// The boot whose page cache may hold the contents of the trees; empty once everything is on disk.
    var boot = ""

    package init(
        digest: Digest, platform: Platform, trees: [String], overlay: Bool, compositionReason: String = "",
        environment: [String] = [], entrypoint: [String] = [], command: [String] = [], user: String = "",
        workingDirectory: String = "", name: String = "", size: UInt64 = 0, entries: UInt64 = 0, created: Int64 = 0
    ) {
        self.digest = digest
        self.platform = platform
        self.trees = trees
        self.overlay = overlay
        self.compositionReason = compositionReason
        self.environment = environment
        self.entrypoint = entrypoint
        self.command = command
        self.user = user
        self.workingDirectory = workingDirectory
        self.name = name
        self.size = size
        self.entries = entries
        self.created = created
    }
}

extension LaunchRecord {
    /// What the image consists of in its own store: `layers/sha256-…`, `rootfs/sha256-…`. An absolute path belongs to
    /// another store.
    var parts: [String] {
        trees.filter { !$0.hasPrefix("/") }.map { $0.split(separator: "/").prefix(2).joined(separator: "/") }
    }

    private static let heading = "berth-launch-record 1\n"

    package var encoded: [UInt8] {
        var bytes = Array(Self.heading.utf8)
        func add(_ name: String, _ value: String) {
            bytes += name.utf8
            bytes.append(UInt8(ascii: "="))
            // An environment entry of a hostile configuration could contain a NUL; execve(2) would end it there, too.
            bytes += value.utf8.prefix { $0 != 0 }
            bytes.append(0)
        }
        add("digest", digest.description)
        add("platform", platform.description)
        for tree in trees { add("tree", tree) }
        add("overlay", overlay ? "yes" : "no")
        if !compositionReason.isEmpty { add("composition-reason", compositionReason) }
        for entry in environment { add("env", entry) }
        for word in entrypoint { add("entrypoint", word) }
        for word in command { add("command", word) }
        add("user", user)
        add("workdir", workingDirectory)
        add("name", name)
        add("size", "\(size)")
        add("entries", "\(entries)")
        add("created", "\(created)")
        if !boot.isEmpty { add("boot", boot) }
        return bytes
    }

    /// Returns `nil` if the bytes are not a record of this version.
    package init?(decoding bytes: [UInt8]) {
        let heading = Array(Self.heading.utf8)
        guard bytes.count > heading.count, bytes[..<heading.count].holds(heading), bytes.last == 0 else { return nil }
        var (digest, platform): (Digest?, Platform?)
        var (trees, environment, entrypoint, command): ([String], [String], [String], [String]) = ([], [], [], [])
        var (overlay, compositionReason, user, workingDirectory, name) = (false, "", "", "", "")
        var boot = ""
        var (size, entries, created): (UInt64, UInt64, Int64) = (0, 0, 0)
        var start = heading.count
        var equals: Int?
        for position in heading.count..<bytes.count {
            if bytes[position] == UInt8(ascii: "="), equals == nil { equals = position }
            guard bytes[position] == 0 else { continue }
            guard let split = equals else { return nil }
            let value = String(decoding: bytes[(split + 1)..<position], as: UTF8.self)
            switch String(decoding: bytes[start..<split], as: UTF8.self) {
            case "digest": digest = try? Digest(parsing: value)  // malformed: refused below like a missing one
            case "platform": platform = try? Platform(parsing: value)  // likewise
            case "tree": trees.append(value)
            case "overlay": overlay = value == "yes"
            case "composition-reason": compositionReason = value
            case "env": environment.append(value)
            case "entrypoint": entrypoint.append(value)
            case "command": command.append(value)
            case "user": user = value
            case "workdir": workingDirectory = value
            case "name": name = value
            case "size": size = UInt64(value) ?? 0
            case "entries": entries = UInt64(value) ?? 0
            case "created": created = Int64(value) ?? 0
            case "boot": boot = value
            default: break  // a field of a later version
            }
            start = position + 1
            equals = nil
        }
        guard let digest, let platform, !trees.isEmpty else { return nil }
        self.init(
            digest: digest, platform: platform, trees: trees, overlay: overlay, compositionReason: compositionReason,
            environment: environment, entrypoint: entrypoint, command: command, user: user,
            workingDirectory: workingDirectory, name: name, size: size, entries: entries, created: created)
        self.boot = boot
    }
}
