/// One of the databases of nsswitch.conf(5). The local file is read first, as that is quick; what it does not have is asked
/// of the name service through getent(1), in whose process the libraries of LDAP and SSSD may do as they like.
package struct NameService {
    private let database: String
    private let file: [UInt8]

    package static var users: NameService { NameService(file: "/etc/passwd", database: "passwd") }
    package static var groups: NameService { NameService(file: "/etc/group", database: "group") }

    private init(file: String, database: String) {
        self.database = database
        // A host without the file still has its name service.
        self.file = (try? contents(of: file, limit: 64 << 20)) ?? []  // see above
    }

    package func entry(id: UInt32) -> [String]? { entry("\(id)", field: 2) }
    package func entry(name: String) -> [String]? { entry(name, field: 0) }

    /// The names of these numbers, as far as they have some; the name service is asked once for all that the file lacks.
    package func names(of ids: [UInt32]) -> [UInt32: String] {
        var names: [UInt32: String] = [:]
        var left = Set(ids)
        func take(_ line: ArraySlice<UInt8>) {
            guard !left.isEmpty, let id = line.colonField(2).flatMap({ UInt32(String(decoding: $0, as: UTF8.self)) }),
                left.remove(id) != nil
            else { return }
            names[id] = line.colonField(0).map { RawText.string($0) }
        }
        for line in ByteLines(file) where !left.isEmpty { take(line) }
        guard !left.isEmpty else { return names }
        for line in ByteLines(ask(ids.filter(left.contains).map { "\($0)" })) { take(line) }
        return names
    }

    private func entry(_ key: String, field: Int) -> [String]? {
        let wanted = key.kernelBytes
        for line in ByteLines(file) {
            if let found = line.colonField(field), found.holds(wanted) { return Self.fields(line) }
        }
        // getent(1) takes digits for a number, whichever field is meant.
        let line = ask([key]).prefix { $0 != UInt8(ascii: "\n") }
        return line.colonField(field)?.holds(wanted) == true ? Self.fields(line) : nil
    }

    /// In a clean environment: no variable of the user's may steer what this program loads.
    private func ask(_ keys: [String]) -> [UInt8] {
        let ended = try? Processes.run(  // no getent: numbers serve as names
            "/usr/bin/getent", arguments: ["getent", database] + keys, environment: ["PATH=/usr/bin:/bin"],
            output: .capture(limit: 4 << 20))
        return ended?.output ?? []
    }

    private static func fields(_ line: ArraySlice<UInt8>) -> [String] {
        var fields: [String] = []
        while let field = line.colonField(fields.count) { fields.append(RawText.string(field)) }
        return fields
    }
}

extension [String] {
    /// Of an entry of passwd(5): the home directory, if it is an absolute path.
    package var homeDirectory: String? { count > 5 && self[5].hasPrefix("/") ? self[5] : nil }
}
