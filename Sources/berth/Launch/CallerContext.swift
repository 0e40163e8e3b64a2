internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig

/// Who starts Berth, and from where: identity, environment and working directory.
struct CallerContext {
    private(set) var environment = Processes.environment()
    let userID = Identity.userID
    let groupID = Identity.groupID
    /// The caller's line of passwd(5): in a user namespace that of the user who created it.
    var account: [String]? { lookup.account }
    private let lookup = AccountLookup()
    let isInInitialUserNamespace = Identity.isInInitialUserNamespace
    /// Root of the host.
    var isRoot: Bool { userID == 0 && isInInitialUserNamespace }

    func variable(_ name: String) -> String? {
        let prefix = name + "="
        return environment.first { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.utf8.count)) }
    }

    /// The same caller with further variables, which replace those of the same name.
    func setting(_ entries: [String]) -> CallerContext {
        if entries.isEmpty { return self }
        var changed = self
        changed.environment.set(entries)
        return changed
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

    /// `HOME`, then the home directory of the account: where a user's own files are looked for.
    var homes: [String] {
        SiteConfiguration.homes(environment: variable, accountHome: account?.homeDirectory)
    }

    /// The names behind the caller's ids.
    func accounts() throws(SystemError) -> Accounts {
        let group = NameService.groups
        let entry = userID == Identity.outerUserID ? account : NameService.users.entry(id: userID)
        var ids = [groupID]
        var seen: Set<UInt32> = [groupID]
        for id in try Identity.supplementaryGroups() where seen.insert(id).inserted { ids.append(id) }
        let names = group.names(of: ids)
        let groups = ids.map { id in Accounts.Group(name: names[id] ?? "\(id)", id: id) }
        return Accounts(
            userName: entry?.first ?? "\(userID)", userID: userID, groupID: groupID,
            fullName: entry.flatMap { $0.count > 4 ? $0[4] : nil } ?? "",
            home: entry.flatMap { $0.count > 5 ? $0[5] : nil } ?? variable("HOME") ?? "/",
            shell: entry.flatMap { $0.count > 6 ? $0[6] : nil } ?? "", groups: groups)
    }

    /// Somebody else's entry, by name.
    func passwdLine(of name: String) -> String? {
        NameService.users.entry(name: name)?.joined(separator: ":")
    }
}

extension [String] {
    /// Of an environment: further variables, which replace those of the same name.
    mutating func set(_ entries: [String]) {
        func name(_ entry: String) -> Substring { entry.prefix { $0 != "=" } }
        let names = entries.map { [UInt8](name($0).utf8) }
        removeAll { entry in names.contains([UInt8](name(entry).utf8)) }
        self += entries
    }
}

/// Looks the caller up on first use: a name service may take seconds to answer, and not every verb needs the
/// account.
private final class AccountLookup {
    private let user = Identity.outerUserID
    private(set) lazy var account = NameService.users.entry(id: user)
}
