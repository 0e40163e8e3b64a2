/// One entry of an archive in a table of test cases.
package struct Item: Sendable {
    package var name: String
    package var type: Character
    package var content = ""
    package var link = ""
    package var mode: Int64 = 0o644
    /// Replaces the name if it is not valid text.
    package var rawName: [UInt8]?
    package var rawLink: [UInt8]?
    package var user: Int64 = 0
    package var group: Int64 = 0
    /// Since 1970; negative before.
    package var seconds: Int64 = 1_700_000_000
    package var nanoseconds: Int32 = 0
    /// Extended attributes in the order of the archive.
    package var attributes: [(name: String, value: [UInt8])] = []

    package init(
        name: String, type: Character, content: String = "", link: String = "", mode: Int64 = 0o644,
        rawName: [UInt8]? = nil
    ) {
        self.name = name
        self.type = type
        self.content = content
        self.link = link
        self.mode = mode
        self.rawName = rawName
    }

    package var path: [UInt8] { rawName ?? Array(name.utf8) }
    package var target: [UInt8] { rawLink ?? Array(link.utf8) }

    package static func file(_ name: String, _ content: String = "", _ mode: Int64 = 0o644) -> Item {
        Item(name: name, type: "0", content: content, mode: mode)
    }
    package static func dir(_ name: String, _ mode: Int64 = 0o755) -> Item { Item(name: name, type: "5", mode: mode) }
    package static func symlink(_ target: String, _ name: String) -> Item {
        Item(name: name, type: "2", link: target, mode: 0o777)
    }
    package static func link(_ target: String, _ name: String) -> Item { Item(name: name, type: "1", link: target) }
    package static func fifo(_ name: String) -> Item { Item(name: name, type: "6") }
    package static func device(_ name: String) -> Item { Item(name: name, type: "3") }

    package func at(_ seconds: Int64, _ nanoseconds: Int32 = 0) -> Item {
        changed {
            $0.seconds = seconds
            $0.nanoseconds = nanoseconds
        }
    }

    package func owned(by user: Int64, _ group: Int64) -> Item {
        changed {
            $0.user = user
            $0.group = group
        }
    }

    package func having(_ name: String, _ value: [UInt8]) -> Item {
        changed { $0.attributes.append((name, value)) }
    }

    package func named(_ name: String) -> Item { changed { $0.name = name } }

    private func changed(_ body: (inout Item) -> Void) -> Item {
        var item = self
        body(&item)
        return item
    }

    /// The records of an extended header for values that do not fit into the entry's own.
    fileprivate var records: [(String, [UInt8])] {
        var records: [(String, [UInt8])] = []
        if path.count > 100 || target.count > 100 {
            records.append(("path", path))
            if !target.isEmpty { records.append(("linkpath", target)) }
        }
        if nanoseconds != 0 {
            // -1.25 s is encoded as -2 s plus 0.75 s.
            let whole = seconds < 0 ? seconds + 1 : seconds
            let rest = seconds < 0 ? 1_000_000_000 - nanoseconds : nanoseconds
            let sign = seconds < 0 && whole == 0 ? "-" : ""
            let fraction = String(String(rest + 1_000_000_000).dropFirst())
            records.append(("mtime", Array("\(sign)\(whole).\(fraction)".utf8)))
        }
        return records + attributes.map { ("SCHILY.xattr." + $0.name, $0.value) }
    }
}

package func archive(_ items: [Item]) -> [UInt8] {
    var writer = TarWriter()
    for item in items {
        let content = Array(item.content.utf8)
        let records = item.records
        if !records.isEmpty { writer.pax(records) }
        writer.add(
            .init(
                name: item.path, mode: item.mode, user: item.user, group: item.group, size: Int64(content.count),
                modified: item.seconds, type: item.type.asciiValue ?? 0, link: item.target), content)
    }
    writer.end()
    return writer.bytes
}
