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

    private func entry(_ key: String, field: Int) -> [String]? {
        let wanted = Array(key.utf8)
        for line in ByteLines(file) {
            if let found = line.colonField(field), found.holds(wanted) { return Self.fields(line) }
        }
        // A clean environment: no variable of the user's may steer what this program loads.
        guard
            let ended = try? Processes.run(  // no getent: the number serves as a name
                "/usr/bin/getent", arguments: ["getent", database, key], environment: ["PATH=/usr/bin:/bin"],
                output: .capture(limit: 65536)), ended.status == 0
        else { return nil }
        return Self.fields(ended.output.prefix { $0 != UInt8(ascii: "\n") })
    }

    private static func fields(_ line: ArraySlice<UInt8>) -> [String] {
        var fields: [String] = []
        while let field = line.colonField(fields.count) { fields.append(String(decoding: field, as: UTF8.self)) }
        return fields
    }
}

extension [String] {
    /// Of an entry of passwd(5): the home directory, if it is an absolute path.
    package var homeDirectory: String? { count > 5 && self[5].hasPrefix("/") ? self[5] : nil }
}
