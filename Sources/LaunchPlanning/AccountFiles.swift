internal import LinuxKernel

/// The contents of /etc/passwd and /etc/group inside: the image's entries, with the caller's own put first so that
/// they win. passwd(5), group(5). Bytes, because an image's file need not be UTF-8.
package enum AccountFiles {
    /// In bytes; a larger file of an image is an error. Published images have files of some kilobytes.
    package static let limit = 16 << 20

    /// - Parameter shells: The image's /etc/shells: the host's shell is the caller's only if the image has it.
    package static func passwd(image: [UInt8], shells: [UInt8], _ accounts: Accounts) -> [UInt8] {
        let name = accounts.userName.kernelBytes
        let id = Array("\(accounts.userID)".utf8)
        var kept: [UInt8] = []
        kept.reserveCapacity(image.count + 256)
        // The image's own shell for the caller's id, if it knows one, is one that exists there.
        var shell: [UInt8]?
        for entry in ByteLines(image) {
            guard let entryName = entry.colonField(0), let entryID = entry.colonField(2) else { continue }
            if entryID.holds(id) {
                if shell == nil { shell = entry.colonField(6).map(Array.init) }
            } else if !entryName.holds(name) {
                // Root stays root by name even where the caller has id 0 under another name.
                kept += entry
                kept.append(newline)
            }
        }
        var result: [UInt8] = []
        append(name, to: &result)
        append(numbers: "x:\(accounts.userID):\(accounts.groupID)", to: &result)
        append(accounts.fullName.kernelBytes, to: &result)
        append(accounts.home.kernelBytes, to: &result)
        if shell == nil, !accounts.shell.isEmpty {
            let own = accounts.shell.kernelBytes
            if ByteLines(shells).contains(where: { $0.elementsEqual(own) }) { shell = own }
        }
        append(shell ?? Array("/bin/sh".utf8), to: &result, last: true)
        for line in accounts.others {
            let entry = line.kernelBytes
            // The image's own of that name has another id, and the host's is what is meant.
            guard let other = entry[...].colonField(0), !other.holds(name) else { continue }
            result += entry
            result.append(newline)
        }
        return result + kept
    }

    /// With a line for the caller, as PAM refuses accounts without one: shadow(5). Its password matches nothing. `nil` where the
    /// image has no such file, or has a line for the name already.
    package static func shadow(image: [UInt8], _ accounts: Accounts) -> [UInt8]? {
        let name = accounts.userName.kernelBytes
        guard !image.isEmpty, !ByteLines(image).contains(where: { $0.colonField(0)?.holds(name) == true }) else { return nil }
        return name + Array(":*:::::::\n".utf8) + image
    }

    package static func group(image: [UInt8], _ accounts: Accounts) -> [UInt8] {
        var result: [UInt8] = []
        // Two sets, as both the groups of a user and those of an image may be thousands.
        var ownNames: Set<[UInt8]> = []
        var ownIDs: Set<[UInt8]> = []
        for group in accounts.groups {
            let name = group.name.kernelBytes
            ownNames.insert(name)
            ownIDs.insert(Array("\(group.id)".utf8))
            append(name, to: &result)
            append(numbers: "x:\(group.id)", to: &result)
            append(group.id == accounts.groupID ? [] : accounts.userName.kernelBytes, to: &result, last: true)
        }
        for entry in ByteLines(image) {
            guard let name = entry.colonField(0), let id = entry.colonField(2) else { continue }
            if !ownNames.contains(Array(name)), !ownIDs.contains(Array(id)) {
                result += entry
                result.append(newline)
            }
        }
        return result
    }

    /// The numeric ids of `USER` in an image's configuration, or of `--user`: `user`, `uid`, `user:group`, `uid:gid`.
    /// https://github.com/opencontainers/image-spec/blob/main/config.md#properties
    ///
    /// As Docker and runc read it: what is spelled as a number is a number, whatever names the files hold
    /// (CVE-2016-3697); an empty user is root, an empty group the user's own; a second colon ends the group.
    package static func resolve(
        user text: String, passwd: [UInt8], group: [UInt8]
    ) throws(AccountError) -> ResolvedUser {
        let (wantedUser, wantedGroup) = UserSpelling.split(text)
        let entry = ByteLines(passwd).first { entry in
            switch wantedUser {
            case .none: entry.colonField(2).flatMap(number) == 0
            case .number(let id): entry.colonField(2).flatMap(number) == id
            // An entry without a number is none: runc once took it for user 0.
            case .name(let name): entry.colonField(0)?.holds(name) == true && entry.colonField(2).flatMap(number) != nil
            case .outOfRange: false
            }
        }
        let userID: UInt32
        switch wantedUser {
        case .none: userID = 0
        case .number(let id): userID = try checked(id, text)
        case .name:
            guard let id = entry.flatMap({ $0.colonField(2) }).flatMap(number) else { throw .unknownUser(text) }
            userID = id
        case .outOfRange: throw .outOfRange(text)
        }
        var groupID = entry.flatMap { $0.colonField(3) }.flatMap(number) ?? 0
        var supplementary: [UInt32] = []
        switch wantedGroup {
        case .number(let id): groupID = try checked(id, text)
        case .name(let wanted):
            let named = ByteLines(group).first {
                $0.colonField(0)?.holds(wanted) == true && $0.colonField(2).flatMap(number) != nil
            }
            guard let id = named.flatMap({ $0.colonField(2) }).flatMap(number) else { throw .unknownGroup(text) }
            groupID = id
        case .outOfRange: throw .outOfRange(text)
        case .none:
            guard let name = entry.flatMap({ $0.colonField(0) }).map(Array.init) else { break }
            for line in ByteLines(group) {
                guard let id = line.colonField(2).flatMap(number), let members = line.colonField(3) else { continue }
                if members.split(separator: UInt8(ascii: ",")).contains(where: { $0.holds(name) }) {
                    supplementary.append(id)
                }
            }
        }
        let home = entry.flatMap { $0.colonField(5) }.map { RawText.string($0) } ?? ""
        let name = entry.flatMap { $0.colonField(0) }.map { RawText.string($0) } ?? "\(userID)"
        return ResolvedUser(
            name: name, userID: userID, groupID: groupID, supplementaryGroups: supplementary,
            home: home.isEmpty ? "/" : home)
    }

    /// The numeric id of one group, by its name in /etc/group or as a number.
    package static func groupID(_ text: String, group: [UInt8]) throws(AccountError) -> UInt32 {
        switch UserSpelling(text.kernelBytes[...]) {
        case .number(let id): return try checked(id, text)
        case .name(let wanted):
            let entry = ByteLines(group).first {
                $0.colonField(0)?.holds(wanted) == true && $0.colonField(2).flatMap(number) != nil
            }
            guard let id = entry.flatMap({ $0.colonField(2) }).flatMap(number) else { throw .unknownAddedGroup(text) }
            return id
        case .none, .outOfRange: throw .outOfRange(text)
        }
    }

    /// The range of runc and Docker.
    private static func checked(_ id: UInt32, _ text: String) throws(AccountError) -> UInt32 {
        guard id <= UInt32(Int32.max) else { throw .outOfRange(text) }
        return id
    }

    package struct ResolvedUser: Equatable, Sendable {
        package let name: String
        package let userID: UInt32
        package let groupID: UInt32
        package let supplementaryGroups: [UInt32]
        package let home: String
    }

    /// Of digits alone; the greatest is no id: to setresuid(2) it means "leave as it is", and root would stay root.
    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt32? {
        guard case .number(let id) = UserSpelling(bytes), bytes.first != UInt8(ascii: "+") else { return nil }
        return id
    }

    private static let newline = UInt8(ascii: "\n")

    /// A field and what ends it. A colon or newline in a name from the name service would forge a further field or line.
    private static func append(_ field: [UInt8], to line: inout [UInt8], last: Bool = false) {
        for byte in field where byte != UInt8(ascii: ":") && byte != newline { line.append(byte) }
        line.append(last ? newline : UInt8(ascii: ":"))
    }

    /// Fields of our own.
    private static func append(numbers fields: String, to line: inout [UInt8]) {
        line += fields.utf8
        line.append(UInt8(ascii: ":"))
    }
}

/// A user or group as it is spelled in `USER` or `--user`.
enum UserSpelling: Equatable {
    case none
    case number(UInt32)
    case name([UInt8])
    /// Digits that are no id.
    case outOfRange

    init(_ text: ArraySlice<UInt8>) {
        guard let first = text.first else {
            self = .none
            return
        }
        // With a sign as Go's Atoi takes one.
        let isNegative = first == UInt8(ascii: "-")
        let digits = isNegative || first == UInt8(ascii: "+") ? text.dropFirst() : text
        guard !digits.isEmpty, digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            self = .name(Array(text))
            return
        }
        // The greatest is no id: to setresuid(2) it means "leave as it is", and root would stay root.
        let value = UInt32(String(decoding: digits, as: UTF8.self))
        self = value.map { isNegative || $0 == .max ? .outOfRange : .number($0) } ?? .outOfRange
    }

    /// The part before the first colon, and the one behind it up to a second.
    static func split(_ text: String) -> (user: UserSpelling, group: UserSpelling) {
        let bytes = text.kernelBytes[...]
        return (UserSpelling(bytes.colonField(0) ?? []), UserSpelling(bytes.colonField(1) ?? []))
    }
}

/// A `USER` or `--user` that stands for no ids; each with the whole of its text.
package enum AccountError: Error, Equatable, Sendable {
    case unknownUser(String)
    case unknownGroup(String)
    /// A `--group-add`.
    case unknownAddedGroup(String)
    case outOfRange(String)
}
