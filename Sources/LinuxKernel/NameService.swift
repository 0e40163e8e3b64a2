/// A database of nsswitch.conf(5). Reads the local file first, because it is fast. For other entries it runs getent(1),
/// so that the libraries of LDAP and SSSD are loaded into a separate process.
package struct NameService {
    private let database: String
    private let program: String
    private let patience: UInt64
    private let file: [UInt8]

    package static var users: NameService { NameService(file: "/etc/passwd", database: "passwd") }
    package static var groups: NameService { NameService(file: "/etc/group", database: "group") }

    /// - Parameters:
    ///   - program: getent(1), or another program in a test.
    ///   - patience: Time limit for one answer, in nanoseconds.
    package init(
        file: String, database: String, program: String = "/usr/bin/getent", patience: UInt64 = 10_000_000_000
    ) {
        self.database = database
        self.program = program
        self.patience = patience
        // Without the file, the host may still have a name service.
        self.file = (try? contents(of: file, limit: 64 << 20)) ?? []  // absent: empty
    }

    package func entry(id: UInt32) -> [String]? { entry("\(id)", field: 2) }
    package func entry(name: String) -> [String]? { entry(name, field: 0) }

    /// The names of these IDs, where they have one. Queries the name service once for all that the file lacks.
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

    /// The user's primary group, if it is private: it has the user's name and no other member.
    package static func privateGroup(of user: UInt32, passwd: NameService, groups: NameService) -> UInt32? {
        guard let account = passwd.entry(id: user), account.count > 3, let group = UInt32(account[3]),
            let entry = groups.entry(id: group), entry[0] == account[0]
        else { return nil }
        let members = entry.count > 3 ? entry[3].split(separator: ",") : []
        guard members.allSatisfy({ $0 == account[0] }) else { return nil }
        let isShared = ByteLines(passwd.file).contains { line in
            line.colonField(3)?.holds(account[3].kernelBytes) == true
                && line.colonField(0)?.holds(account[0].kernelBytes) != true
        }
        return isShared ? nil : group
    }

    private func entry(_ key: String, field: Int) -> [String]? {
        let wanted = key.kernelBytes
        for line in ByteLines(file) {
            if let found = line.colonField(field), found.holds(wanted) { return Self.fields(line) }
        }
        // getent(1) interprets digits as a number, whichever field is meant.
        let line = ask([key]).prefix { $0 != UInt8(ascii: "\n") }
        return line.colonField(field)?.holds(wanted) == true ? Self.fields(line) : nil
    }

    /// A name service that timed out is not queried again, because a launch needs several entries.
    nonisolated(unsafe) private static var isSilent = false  // set by the launcher's only thread

    /// Uses an empty environment, because the user's variables must not affect what this program loads.
    private func ask(_ keys: [String]) -> [UInt8] {
        if Self.isSilent { return [] }
        do throws(SystemError) {
            return try Processes.run(
                program, arguments: ["getent", database] + keys, environment: ["PATH=/usr/bin:/bin"],
                output: .capture(limit: 4 << 20), deadline: Clock.monotonicNanoseconds + patience
            ).output
        } catch {
            // Without getent or an answer, IDs replace names.
            if error.errno == Errno.ETIMEDOUT, program == "/usr/bin/getent" { Self.isSilent = true }
            return []
        }
    }

    private static func fields(_ line: ArraySlice<UInt8>) -> [String] {
        var fields: [String] = []
        while let field = line.colonField(fields.count) { fields.append(RawText.string(field)) }
        return fields
    }
}

extension [String] {
    /// The home directory of a passwd(5) entry, if it is an absolute path.
    package var homeDirectory: String? { count > 5 && self[5].hasPrefix("/") ? self[5] : nil }
}
