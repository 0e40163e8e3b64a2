@testable import LaunchPlanning
import Testing

@Suite struct AccountFilesTests {
    static let accounts = Accounts(
        userName: "ada", userID: 1001, groupID: 2001, fullName: "Ada L", home: "/home/ada",
        groups: [.init(name: "ada", id: 2001), .init(name: "hpc", id: 3000)])

    static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    static func passwd(_ image: String, shells: String = "", _ accounts: Accounts = accounts) -> String {
        text(AccountFiles.passwd(image: Array(image.utf8), shells: Array(shells.utf8), accounts))
    }

    static func group(_ image: String, _ accounts: Accounts = accounts) -> String {
        text(AccountFiles.group(image: Array(image.utf8), accounts))
    }

    @Test func theCallerComesFirstAndTheImagesOwnEntriesStay() {
        #expect(
            Self.passwd("root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n") == """
                ada:x:1001:2001:Ada L:/home/ada:/bin/sh
                root:x:0:0:root:/root:/bin/bash
                daemon:x:1:1::/:/usr/sbin/nologin

                """)
    }

    @Test func anEmptyFileGetsTheCallerAlone() {
        #expect(Self.passwd("") == "ada:x:1001:2001:Ada L:/home/ada:/bin/sh\n")
        #expect(Self.group("") == "ada:x:2001:\nhpc:x:3000:ada\n")
    }

    @Test(arguments: [
        "ada:x:7:7::/other:/bin/zsh", "other:x:1001:7::/other:", "ada:x:1001:7::/other",
    ]) func anEntryWithTheCallersNameOrNumberGivesWay(_ entry: String) {
        let file = Self.passwd("root:x:0:0::/root:/bin/sh\n\(entry)\n")
        #expect(!file.contains("/other"))
        #expect(file.split(separator: "\n").count == 2)
    }

    @Test func theImagesShellForTheCallersNumberIsKeptAsItExistsThere() {
        #expect(Self.passwd("me:x:1001:1:::/bin/zsh\n") == "ada:x:1001:2001:Ada L:/home/ada:/bin/zsh\n")
    }

    /// Like Enroot: the host's, if the image has it.
    @Test func theHostsShellIsTheCallersIfTheImageListsIt() {
        var accounts = Self.accounts
        accounts.shell = "/bin/zsh"
        #expect(Self.passwd("", shells: "# x\n/bin/sh\n/bin/zsh\n", accounts).hasSuffix(":/home/ada:/bin/zsh\n"))
        #expect(Self.passwd("", shells: "/bin/sh\n/bin/zsh2\n", accounts).hasSuffix(":/home/ada:/bin/sh\n"))
        #expect(Self.passwd("me:x:1001:1:::/bin/bash\n", shells: "/bin/zsh\n", accounts).hasSuffix(":/bin/bash\n"))
    }

    /// PAM refuses an account without a line, and sshd with it.
    @Test func theCallerHasALineInShadowIfTheImageHasTheFile() {
        func shadow(_ image: String) -> String? {
            AccountFiles.shadow(image: Array(image.utf8), Self.accounts).map(Self.text)
        }
        #expect(shadow("root:*:19000:0:99999:7:::\n") == "ada:*:::::::\nroot:*:19000:0:99999:7:::\n")
        #expect(shadow("") == nil && shadow("root:*:1::::::\nada:x:1::::::\n") == nil)
    }

    @Test(arguments: [
        "", "garbage", ":::::", "x:y", "no newline at the end:x:5:5::/:/bin/sh", "\n\n\n", "a:x:1001", "\u{0}",
        "::1001::::",
    ]) func aMalformedFileStillGivesTheCallerItsEntryFirst(_ image: String) {
        #expect(Self.passwd(image).hasPrefix("ada:x:1001:2001:Ada L:/home/ada:"))
        #expect(Self.passwd(image).hasSuffix("\n"))
        #expect(Self.group(image).hasPrefix("ada:x:2001:\nhpc:x:3000:ada\n"))
    }

    @Test func bytesThatAreNoTextAreHandedOn() {
        let entry: [UInt8] = [0xFF, 0xFE] + Array(":x:50:50::/:/bin/sh\n".utf8)
        let file = AccountFiles.passwd(image: entry, shells: [], Self.accounts)
        #expect(file.suffix(entry.count).elementsEqual(entry))
    }

    /// What LDAP says is not what an attacker may write into a file of root's.
    @Test func namesFromTheNameServiceForgeNoFieldAndNoLine() {
        var hostile = Self.accounts
        hostile.userName = "ada\nroot2:x:0:0"
        hostile.fullName = "A:0:0:/:/bin/sh\nroot3::0:0::/:"
        hostile.home = "/home/a:/bin/evil\nx"
        hostile.groups = [.init(name: "wheel:x:0:ada\nroot", id: 2001)]
        let file = Self.passwd("root:x:0:0:root:/root:/bin/bash\n", hostile)
        #expect(file.split(separator: "\n").count == 2)
        #expect(
            file.split(separator: "\n").allSatisfy {
                $0.split(separator: ":", omittingEmptySubsequences: false).count == 7
            })
        let groups = Self.group("", hostile)
        #expect(
            groups.split(separator: "\n").map { $0.split(separator: ":", omittingEmptySubsequences: false).count } == [
                4
            ])
    }

    @Test func groupsOfTheCallerReplaceTheImagesOfSameNameOrNumber() {
        #expect(
            Self.group("root:x:0:\nusers:x:2001:bob\nhpc:x:5:bob\nstaff:x:50:ada\n")
                == "ada:x:2001:\nhpc:x:3000:ada\nroot:x:0:\nstaff:x:50:ada\n")
    }

    struct User: Sendable, CustomTestStringConvertible {
        let text: String
        let is_: AccountFiles.ResolvedUser?
        var testDescription: String { text }
        init(
            _ text: String, _ name: String, _ user: UInt32, _ group: UInt32, _ groups: [UInt32] = [], home: String = "/"
        ) {
            self.text = text
            is_ = .init(name: name, userID: user, groupID: group, supplementaryGroups: groups, home: home)
        }
        init(nobody text: String) { (self.text, is_) = (text, nil) }
    }

    static let imagePasswd =
        "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/digits:\n99999999999999999999:x:0:0::/:\n4294967296:x:0:0::/:\n"
        + "web:x:33:34::/srv/www:/bin/sh\nbad:x:notanumber:5::/:\n"
    static let imageGroup =
        "1000:x:0:\n99999999999999999999:x:0:\nroot:x:0:\nweb:x:34:\nssl:x:110:root,web\nlogs:x:111:web,x\nnone:x:zz:web\n"

    /// https://github.com/opencontainers/image-spec/blob/main/config.md#properties, `User`
    static let users: [User] = [
        User("root", "root", 0, 0, [110], home: "/root"),
        User("0", "root", 0, 0, [110], home: "/root"),
        User("web", "web", 33, 34, [110, 111], home: "/srv/www"),
        User("33", "web", 33, 34, [110, 111], home: "/srv/www"),
        User("web:web", "web", 33, 34, home: "/srv/www"),
        User("web:ssl", "web", 33, 110, home: "/srv/www"),
        User("web:5", "web", 33, 5, home: "/srv/www"),
        User("5", "5", 5, 0),
        User("5:6", "5", 5, 6),
        User("5:ssl", "5", 5, 110),
        User(nobody: "5:missing"),
        User(nobody: "missing"),
        User("web:", "web", 33, 34, [110, 111], home: "/srv/www"),
        User(":web", "root", 0, 34, home: "/root"),
        User(":", "root", 0, 0, [110], home: "/root"),
        User("web:web:web", "web", 33, 34, home: "/srv/www"),
        // A number is a number, whatever names the files hold: CVE-2016-3697.
        User("1000", "1000", 1000, 0),
        User("01000", "1000", 1000, 0),
        User("+1000", "1000", 1000, 0),
        User("033", "web", 33, 34, [110, 111], home: "/srv/www"),
        User("1000:1000", "1000", 1000, 1000),
        User("web:0110", "web", 33, 110, home: "/srv/www"),
        User("2147483647", "2147483647", 2_147_483_647, 0),
        User(nobody: "bad"),
        User(nobody: "-1"),
        User(nobody: "-0"),
        User(nobody: "2147483648"),
        User(nobody: "4294967296"),
        User(nobody: "99999999999999999999"),
        User(nobody: "1:99999999999999999999"),
        User(nobody: "1:-1"),
    ]

    @Test(arguments: users) func theImagesUserIsFoundByNameAndNumber(_ user: User) {
        let found = try? AccountFiles.resolve(  // compared below
            user: user.text, passwd: Array(Self.imagePasswd.utf8), group: Array(Self.imageGroup.utf8))
        #expect(found == user.is_)
    }

    @Test func aNumberNeedsNoFileAtAll() throws {
        #expect(
            try AccountFiles.resolve(user: "12:13", passwd: [], group: [])
                == .init(name: "12", userID: 12, groupID: 13, supplementaryGroups: [], home: "/"))
        #expect(throws: AccountError.unknownUser("web")) {
            try AccountFiles.resolve(user: "web", passwd: [], group: [])
        }
        #expect(throws: AccountError.unknownGroup("1:web")) {
            try AccountFiles.resolve(user: "1:web", passwd: [], group: [])
        }
    }

    /// (uid_t)-1 means "leave as it is" to setresuid(2): a user of that number would stay root.
    @Test func theNumberThatTheKernelReadsAsUnchangedIsRefused() {
        for text in ["4294967295", "1:4294967295"] {
            #expect(throws: AccountError.outOfRange(text)) {
                try AccountFiles.resolve(user: text, passwd: [], group: [])
            }
        }
        #expect(throws: AccountError.unknownUser("evil")) {
            try AccountFiles.resolve(user: "evil", passwd: Array("evil:x:4294967295:0::/:\n".utf8), group: [])
        }
    }

    /// An entry of which the number does not read is none: runc once took it for user 0.
    @Test func anEntryWithoutANumberNamesNoUser() {
        let passwd = Array("web:x::0::/:\nweb:x:9z:0::/:\nweb:x: 5:0::/:\nweb:x:44:45::/w:\n".utf8)
        #expect((try? AccountFiles.resolve(user: "web", passwd: passwd, group: []))?.userID == 44)  // none: unequal
    }

    @Test func filesOfManyEntriesAreJoinedInLinearTime() {
        var accounts = Self.accounts
        accounts.groups = (0..<5000).map { .init(name: "g\($0)", id: UInt32(10_000 + $0)) }
        let image = Array((0..<100_000).map { "i\($0):x:\(100_000 + $0):\n" }.joined().utf8)
        let started = ContinuousClock.now
        #expect(AccountFiles.group(image: image, accounts).count > image.count)
        #expect(ContinuousClock.now - started < .seconds(60), "less than one in a debug build")
    }
}
