internal import LinuxKernel

/// The contents of /etc/passwd and /etc/group inside: the image's entries, with the caller's own put first so that
/// they win. passwd(5), group(5). Bytes, because an image's file need not be UTF-8.
package enum AccountFiles {
    package static func passwd(image: [UInt8], _ accounts: Accounts) -> [UInt8] {
        let name = Array(accounts.userName.utf8)
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
        append(Array(accounts.fullName.utf8), to: &result)
        append(Array(accounts.home.utf8), to: &result)
        append(shell ?? Array("/bin/sh".utf8), to: &result, last: true)
        for line in accounts.others {
            let entry = Array(line.utf8)
            // The image's own of that name has another id, and the host's is what is meant.
            guard let other = entry[...].colonField(0), !other.holds(name) else { continue }
            result += entry
            result.append(newline)
        }
        return result + kept
    }

    package static func group(image: [UInt8], _ accounts: Accounts) -> [UInt8] {
        var result: [UInt8] = []
        var own: [[UInt8]] = []
        for group in accounts.groups {
            let name = Array(group.name.utf8)
            let id = Array("\(group.id)".utf8)
            own.append(name)
            own.append(id)
            append(name, to: &result)
            append(numbers: "x:\(group.id)", to: &result)
            append(group.id == accounts.groupID ? [] : Array(accounts.userName.utf8), to: &result, last: true)
        }
        for entry in ByteLines(image) {
            guard let name = entry.colonField(0), let id = entry.colonField(2) else { continue }
            var isOwn = false
            for index in 0..<own.count where (index % 2 == 0 ? name : id).holds(own[index]) { isOwn = true }
            if !isOwn {
                result += entry
                result.append(newline)
            }
        }
        return result
    }

    /// The numeric ids of `USER` in an image's configuration: `user`, `uid`, `user:group`, `uid:gid`.
    /// https://github.com/opencontainers/image-spec/blob/main/config.md#properties
    package static func resolve(user text: String, passwd: [UInt8], group: [UInt8]) -> ResolvedUser? {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let wantedUser = Array(parts[0].utf8)
        let entry = ByteLines(passwd).first { entry in
            entry.colonField(0)?.holds(wantedUser) == true || entry.colonField(2)?.holds(wantedUser) == true
        }
        let userID = entry.flatMap { $0.colonField(2) }.flatMap(number) ?? number(wantedUser[...])
        guard let userID else { return nil }
        var groupID = entry.flatMap { $0.colonField(3) }.flatMap(number) ?? 0
        var supplementary: [UInt32] = []
        if parts.count == 2 {
            let wanted = Array(parts[1].utf8)
            let named = ByteLines(group).first { $0.colonField(0)?.holds(wanted) == true }
            guard let id = named.flatMap({ $0.colonField(2) }).flatMap(number) ?? number(wanted[...]) else {
                return nil
            }
            groupID = id
        } else if let name = entry.flatMap({ $0.colonField(0) }).map(Array.init) {
            for line in ByteLines(group) {
                guard let id = line.colonField(2).flatMap(number), let members = line.colonField(3) else { continue }
                if members.split(separator: UInt8(ascii: ",")).contains(where: { $0.holds(name) }) {
                    supplementary.append(id)
                }
            }
        }
        let home = entry.flatMap { $0.colonField(5) }.map { String(decoding: $0, as: UTF8.self) } ?? "/"
        let name = entry.flatMap { $0.colonField(0) }.map { String(decoding: $0, as: UTF8.self) } ?? "\(userID)"
        return ResolvedUser(
            name: name, userID: userID, groupID: groupID, supplementaryGroups: supplementary, home: home)
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
        guard bytes.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
        return UInt32(String(decoding: bytes, as: UTF8.self)).flatMap { $0 == .max ? nil : $0 }
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
