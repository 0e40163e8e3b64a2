package import LinuxKernel

/// All properties of a directory and everything in it, by path. The directory itself has the empty path.
package struct FileTree: Equatable, Sendable {
    package struct Entry: Equatable, Sendable {
        package var kind: FileStatus.Kind
        /// The lower twelve bits of `st_mode`; 0 for links.
        package var permissions: UInt32 = 0
        package var owner: [UInt32] = [0, 0]
        /// The bytes of a regular file, or the target of a link.
        package var content: [UInt8] = []
        package var modified = Timestamp(seconds: 0)
        package var attributes: [[UInt8]: [UInt8]] = [:]
        /// All names of the file in this tree, if it has several.
        package var names: [[UInt8]] = []
        /// The major and minor number of a device.
        package var device: [UInt32] = []

        package init(kind: FileStatus.Kind) { self.kind = kind }
    }

    package var entries: [[UInt8]: Entry] = [:]

    package init() {}

    /// Reads a directory and everything below it. Makes unreadable entries readable and records their original mode.
    ///
    /// - Parameter summary: Reduces the bytes of a regular file; by default all are kept.
    package init(
        reading directory: borrowing OwnedFileDescriptor, summary: @escaping ([UInt8]) -> [UInt8] = { $0 }
    ) throws(SystemError) {
        var reader = Reader(summary: summary)
        try reader.read(directory, at: [], try directory.status())
        entries = reader.entries
        // Directories have only one name.
        for paths in reader.paths.values where paths.count > 1 {
            let sorted = paths.sorted { $0.lexicographicallyPrecedes($1) }
            for path in paths { entries[path]?.names = sorted }
        }
    }

    private struct Reader {
        struct FileIdentity: Hashable {
            let device: UInt64
            let inode: UInt64
        }

        let summary: ([UInt8]) -> [UInt8]
        /// Whether this process can read everything.
        let isRoot = Identity.userID == 0
        var entries: [[UInt8]: Entry] = [:]
        var paths: [FileIdentity: [[UInt8]]] = [:]

        init(summary: @escaping ([UInt8]) -> [UInt8]) { self.summary = summary }

        mutating func read(
            _ directory: borrowing OwnedFileDescriptor, at path: [UInt8], _ status: FileStatus
        ) throws(SystemError) {
            entries[path] = try described(status, attributes: directory)
            for name in try directory.entries() {
                let status = try directory.status(of: name)
                let inner = path.isEmpty ? name : path + [0x2F] + name
                switch status.kind {
                case .directory:
                    let needed: UInt32 = isRoot ? 0 : 0o500
                    if status.permissions & needed != needed {
                        try directory.setPermissions(of: name, status.permissions | needed)
                    }
                    let child = try directory.open(name, [.readOnly, .directory, .noFollow])
                    try read(child, at: inner, status)
                    if status.permissions & needed != needed { try child.setPermissions(status.permissions) }
                    continue
                case .regular:
                    if status.permissions & 0o400 == 0, !isRoot {
                        try directory.setPermissions(of: name, status.permissions | 0o400)
                    }
                    let file = try directory.open(name, [.readOnly, .noFollow])
                    var entry = try described(status, attributes: file)
                    entry.content = summary(try file.readAll())
                    entries[inner] = entry
                    if status.permissions & 0o400 == 0, !isRoot { try file.setPermissions(status.permissions) }
                case .symlink:
                    entries[inner] = Self.described(status)
                    entries[inner]?.permissions = 0
                    entries[inner]?.content = try directory.linkTarget(name)
                default: entries[inner] = Self.described(status)
                }
                paths[FileIdentity(device: status.device, inode: status.inode), default: []].append(inner)
            }
        }

        private static func described(_ status: FileStatus) -> Entry {
            var entry = Entry(kind: status.kind)
            entry.permissions = status.permissions
            entry.owner = [status.userID, status.groupID]
            entry.modified = status.modified
            if status.kind == .characterDevice || status.kind == .blockDevice {
                entry.device = [status.majorNumber, status.minorNumber]
            }
            return entry
        }

        private func described(
            _ status: FileStatus, attributes file: borrowing OwnedFileDescriptor
        ) throws(SystemError) -> Entry {
            var entry = Self.described(status)
            for name in try file.extendedAttributeNames() {
                entry.attributes[name] = try file.extendedAttribute(name)
            }
            return entry
        }
    }
}

extension FileTree.Entry {
    /// The differing properties with both values.
    package func differences(from other: Self) -> [(property: String, own: String, other: String)] {
        var found: [(property: String, own: String, other: String)] = []
        func compare(_ property: String, _ own: String, _ other: String) {
            if own != other { found.append((property, own, other)) }
        }
        if kind != other.kind { return [("type", "\(kind)", "\(other.kind)")] }
        compare("mode", String(permissions, radix: 8), String(other.permissions, radix: 8))
        compare("owner", "\(owner)", "\(other.owner)")
        compare(kind == .symlink ? "target" : "content", Self.text(content), Self.text(other.content))
        compare("time", Self.text(modified), Self.text(other.modified))
        for name in Set(attributes.keys).union(other.attributes.keys) {
            compare(
                "attribute " + name.displayPath, attributes[name].map(Self.text) ?? "none",
                other.attributes[name].map(Self.text) ?? "none")
        }
        compare("names", "\(names.map(\.displayPath))", "\(other.names.map(\.displayPath))")
        compare("device", "\(device)", "\(other.device)")
        return found
    }

    /// Printable bytes unchanged and others in hexadecimal, so that different bytes have different texts.
    package static func text(_ bytes: [UInt8]) -> String {
        var text = ""
        for byte in bytes {
            if (0x20...0x7E).contains(byte), byte != UInt8(ascii: "\\") {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                text += "\\" + String(UInt16(byte) + 0x100, radix: 16).dropFirst()
            }
        }
        return text
    }

    static func text(_ time: Timestamp) -> String {
        "\(time.seconds)." + String(String(time.nanoseconds + 1_000_000_000).dropFirst())
    }
}

extension FileTree {
    /// The differences, one line for each property of each path.
    package func differences(from other: FileTree) -> [String] {
        var lines: [String] = []
        for path in Set(entries.keys).union(other.entries.keys).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            let name = "/" + Entry.text(path)
            switch (entries[path], other.entries[path]) {
            case (let own?, let theirs?):
                lines += own.differences(from: theirs).map { "\(name): \($0.property) \($0.own), not \($0.other)" }
            case (let own?, nil): lines.append("\(name): a \(own.kind), not nothing")
            case (nil, let theirs?): lines.append("\(name): nothing, not a \(theirs.kind)")
            case (nil, nil): break
            }
        }
        return lines
    }
}
