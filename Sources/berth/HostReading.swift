internal import LaunchPlanning
internal import LinuxKernel

/// What is read of the host before planning.
struct HostReading {
    var environment = Processes.environment()
    let userID = Identity.userID
    let groupID = Identity.groupID

    func variable(_ name: String) -> String? {
        let prefix = name + "="
        return environment.first { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.utf8.count)) }
    }

    /// As the user knows it, by the links that led there, where `PWD` is true: a program that changes directory without
    /// a shell leaves it behind. Empty where the directory is gone.
    var workingDirectory: String {
        if let named = variable("PWD"), named.hasPrefix("/"), let there = try? FileStatus(of: named),  // so it is not it
            let here = try? FileStatus(of: "."),  // a directory that is gone is nowhere
            here.device == there.device, here.inode == there.inode
        {
            return named
        }
        // Without one, only absolute paths lead anywhere.
        return Processes.workingDirectory ?? ""
    }

    /// The names behind the caller's ids. The local files are read first, as that is quick; whom they do not know is
    /// asked of the name service through getent(1), in whose process LDAP's and SSSD's libraries may do as they like.
    func accounts() throws(SystemError) -> Accounts {
        let passwd = NameService(file: "/etc/passwd", database: "passwd")
        let group = NameService(file: "/etc/group", database: "group")
        let entry = passwd.entry(id: userID)
        var ids = [groupID]
        for id in try Identity.supplementaryGroups() where !ids.contains(id) { ids.append(id) }
        let groups = ids.map { id in Accounts.Group(name: group.entry(id: id)?.first ?? "\(id)", id: id) }
        return Accounts(
            userName: entry?.first ?? "\(userID)", userID: userID, groupID: groupID,
            fullName: entry.flatMap { $0.count > 4 ? $0[4] : nil } ?? "",
            home: entry.flatMap { $0.count > 5 ? $0[5] : nil } ?? variable("HOME") ?? "/", groups: groups)
    }

    /// Somebody else's entry, by name.
    func passwdLine(of name: String) -> String? {
        NameService(file: "/etc/passwd", database: "passwd").entry(name: name)?.joined(separator: ":")
    }
}

/// One of the databases of nsswitch.conf(5).
private struct NameService {
    let database: String
    private let file: [UInt8]

    init(file: String, database: String) {
        self.database = database
        // A host without the file still has its name service.
        self.file = (try? contents(of: file, limit: 64 << 20)) ?? []  // see above
    }

    func entry(id: UInt32) -> [String]? { entry("\(id)", field: 2) }
    func entry(name: String) -> [String]? { entry(name, field: 0) }

    private func entry(_ key: String, field: Int) -> [String]? {
        let wanted = Array(key.utf8)
        for line in ByteLines(file) {
            if let found = line.colonField(field), found.holds(wanted) { return Self.fields(line) }
        }
        // A clean environment: nothing of the user's may steer what this program loads.
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
