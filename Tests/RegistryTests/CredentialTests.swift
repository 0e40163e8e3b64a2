@testable import Distribution
import Foundation
import Testing

/// Credential files and the helpers that they refer to.
@Suite struct CredentialTests {
    /// A home directory for one test.
    struct Home: ~Copyable {
        let path: String

        init() throws {
            path = NSTemporaryDirectory() + "berth-credentials-" + UUID().uuidString
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func write(_ file: String, _ text: String, mode: Int = 0o600) throws {
            let full = "\(path)/\(file)"
            try FileManager.default.createDirectory(
                atPath: (full as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            try Data(text.utf8).write(to: URL(fileURLWithPath: full))
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: full)
        }

        func find(
            _ registry: String, _ repository: String = "a/b", user: String? = nil,
            environment: [String: String] = [:], allowsCommands: Bool = false, timeout: Duration = .seconds(60)
        ) async throws(CredentialError) -> Credential? {
            var all = ["HOME": path, "PATH": "\(path)/bin:/usr/bin:/bin"]
            all.merge(environment) { $1 }
            return try await CredentialFiles(
                environment: all, allowsCommands: allowsCommands, helperTimeout: timeout
            ).credential(registry: registry, repository: repository, user: user)
        }
    }

    static func auth(_ user: String, _ password: String) -> String {
        #"{"auth":"\#(Data("\(user):\(password)".utf8).base64EncodedString())"}"#
    }

    @Test func theLongestPrefixWins() async throws {
        let home = try Home()
        try home.write(
            ".config/containers/auth.json",
            #"""
            {"auths":{"r.io":\#(Self.auth("host", "p")),"r.io/team":\#(Self.auth("team", "p:w")),
            "r.io/team/app":\#(Self.auth("app", "p")),"r.io:5000":\#(Self.auth("port", "p")),"r.io/te":{}}}
            """#)
        for (registry, repository, user) in [
            ("r.io", "team/app", "app"), ("r.io", "team/app/x", "app"), ("r.io", "team/apple", "team"),
            ("r.io", "te/x", "host"), ("r.io:5000", "team/app", "port"),
        ] {
            #expect(try await home.find(registry, repository)?.user == user)
        }
        #expect(try await home.find("r.io", "team/x")?.secret == .password(user: "team", password: "p:w"))
        #expect(try await home.find("evil-r.io") == nil)
        #expect(try await home.find("r.io.evil") == nil)
        #expect(try await home.find("r.io", "team/app", user: "host")?.user == "host")
    }

    @Test func theAccountsHomeIsAskedWhereHomeIsAnother() async throws {
        let home = try Home()
        let account = try Home()
        try account.write(".docker/config.json", #"{"auths":{"r.io":\#(Self.auth("account", "p"))}}"#)
        let files = CredentialFiles(environment: ["HOME": home.path], accountHome: account.path)
        #expect(try await files.credential(registry: "r.io", repository: "a/b", user: nil)?.user == "account")
        try home.write(".docker/config.json", #"{"auths":{"r.io":\#(Self.auth("home", "p"))}}"#)
        #expect(try await files.credential(registry: "r.io", repository: "a/b", user: nil)?.user == "home")
    }

    /// Root must not use another user's file, because a `credsStore` starts a program.
    @Test func filesThatTheCallerRefusesAreLeftOut() async throws {
        let home = try Home()
        try home.write(".docker/config.json", #"{"auths":{"r.io":\#(Self.auth("other", "p"))}}"#)
        let files = CredentialFiles(
            environment: ["HOME": home.path], isUsed: { !$0.hasSuffix("/.docker/config.json") })
        #expect(try await files.credential(registry: "r.io", repository: "a/b", user: nil) == nil)
    }

    @Test func filesAreAskedInOrder() async throws {
        let home = try Home()
        func file(_ user: String) -> String { #"{"auths":{"r.io":\#(Self.auth(user, "p"))}}"# }
        let runtime = ["XDG_RUNTIME_DIR": "\(home.path)/run", "REGISTRY_AUTH_FILE": "\(home.path)/flag.json"]
        try home.write(".dockercfg", #"{"r.io":\#(Self.auth("dockercfg", "p"))}"#)
        #expect(try await home.find("r.io")?.user == "dockercfg")
        try home.write(".docker/config.json", file("docker"))
        #expect(try await home.find("r.io")?.user == "docker")
        try home.write("elsewhere/config.json", file("DOCKER_CONFIG"))
        #expect(
            try await home.find("r.io", environment: ["DOCKER_CONFIG": "\(home.path)/elsewhere"])?.user
                == "DOCKER_CONFIG")
        try home.write(".config/containers/auth.json", file("config"))
        #expect(try await home.find("r.io")?.user == "config")
        try home.write("run/containers/auth.json", file("runtime"))
        #expect(try await home.find("r.io", environment: runtime)?.user == "runtime")
        try home.write("flag.json", file("flag"))
        let first = try await home.find("r.io", environment: runtime)
        #expect(first?.user == "flag")
        #expect(first?.origin == .file("\(home.path)/flag.json"))
    }

    @Test func dockerHubGoesByManyNames() async throws {
        for key in ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"] {
            let home = try Home()
            try home.write(".docker/config.json", #"{"auths":{"\#(key)":\#(Self.auth("me", "p"))}}"#)
            #expect(try await home.find("docker.io", "library/x")?.user == "me", "\(key)")
            #expect(try await home.find("ghcr.io") == nil)
        }
    }

    @Test func tokensOfEitherKind() async throws {
        let home = try Home()
        try home.write(
            ".docker/config.json",
            #"""
            {"auths":{"a.io":{"auth":"\#(Data("u:".utf8).base64EncodedString())","identitytoken":"idt"},
            "b.io":{"registrytoken":"rt"},"c.io":{"username":"u","password":"p"}},"credsStore":"","HttpHeaders":{}}
            """#)
        #expect(try await home.find("a.io")?.secret == .identityToken(user: "u", token: "idt"))
        #expect(try await home.find("b.io")?.secret == .registryToken("rt"))
        #expect(try await home.find("c.io")?.secret == .password(user: "u", password: "p"))
    }

    @Test func brokenFilesAreNamedAndNotQuoted() async throws {
        let home = try Home()
        try home.write(".docker/config.json", #"{"auths":{"r.io":{"auth":"c2VjcmV0"}}}"#)
        await #expect(
            throws: CredentialError.malformed(
                file: "\(home.path)/.docker/config.json", detail: "auths[\"r.io\"].auth is not base64 of USER:PASSWORD")
        ) { try await home.find("r.io") }
        #expect(try await home.find("other.io") == nil)
        try home.write(".docker/config.json", "secret")
        await #expect(
            throws: CredentialError.malformed(
                file: "\(home.path)/.docker/config.json", detail: "not the JSON that was expected")
        ) { try await home.find("r.io") }
    }

    @Test func aFIFOIsNotWaitedFor() async throws {
        let home = try Home()
        try home.write(".docker/other", "")
        let path = "\(home.path)/.docker/config.json"
        #expect(mkfifo(path, 0o600) == 0)
        await #expect(throws: CredentialError.malformed(file: path, detail: "a FIFO, expected a regular file")) {
            try await home.find("r.io")
        }
    }

    /// Parsers disagree about which of two values counts: Docker uses the last, others the first.
    @Test(arguments: [
        (#"{"auths":{},"auths":{"r.io":{}}}"#, #"the key "auths" occurs twice"#),
        (#"{"auths":{"r.io":{"auth":"YTpi","auth":"YTpj"}}}"#, #"auths.r.io: the key "auth" occurs twice"#),
        (#"{"auths":{"r.io":{"auth":"YTpi"},"r.io":{"auth":"YTpj"}}}"#, #"auths: the key "r.io" occurs twice"#),
        (#"{"credHelpers":{"r.io":"a","\u0072.io":"b"}}"#, #"credHelpers: the key "r.io" occurs twice"#),
        (#"{"Auths":{"r.io":{"auth":"YTpi"}}}"#, #"the key "Auths" differs from "auths" only in case"#),
        (#"{"auths":{"r.io":{"auth":"YTpi","AUTH":"YTpj"}}}"#, #"auths.r.io: the key "AUTH" differs from "auth" only in case"#),
    ])
    func repeatedKeysAreRefusedByName(_ text: String, _ words: String) async throws {
        for file in [".docker/config.json", ".config/containers/auth.json"] {
            let home = try Home()
            try home.write(file, text)
            await #expect {
                try await home.find("r.io")
            } throws: { error in
                guard case .malformed(let path, let detail)? = error as? CredentialError else { return false }
                return path == "\(home.path)/\(file)" && detail.hasPrefix(words)
            }
        }
    }

    static let helper = #"""
        #!/bin/sh
        read server
        [ -z "$LD_PRELOAD$SLURM_JOB_ID" ] || exit 9
        case "$1 $server" in
        "get r.io") echo '{"ServerURL":"r.io","Username":"helped","Secret":"s"}' ;;
        "get t.io") echo '{"Username":"<token>","Secret":"idt"}' ;;
        "get https://index.docker.io/v1/") echo '{"Username":"hub","Secret":"s"}' ;;
        "get slow.io") sleep 600 ;;
        "get broken.io") echo "no bus" >&2; exit 2 ;;
        *) echo "credentials not found in native keychain"; exit 1 ;;
        esac
        """#

    /// CVE-2021-41092: if a helper was missing, Docker treated the password as the Hub's and sent it there.
    @Test func helpersAreAsked() async throws {
        let home = try Home()
        let file = "\(home.path)/.docker/config.json"
        try home.write("bin/docker-credential-test", Self.helper, mode: 0o755)
        try home.write(
            ".docker/config.json",
            #"""
            {"credsStore":"test","credHelpers":{"gone.io":"absent","../x.io":"../../bin/sh"},
            "auths":{"r.io":{},"plain.io":\#(Self.auth("plain", "p"))}}
            """#)
        let dirty = ["LD_PRELOAD": "/x.so", "SLURM_JOB_ID": "1"]
        let found = try await home.find("r.io", environment: dirty)
        #expect(found?.secret == .password(user: "helped", password: "s"))
        #expect(found?.origin == .helper("docker-credential-test", file: file))
        #expect(try await home.find("t.io")?.secret == .identityToken(user: "", token: "idt"))
        #expect(try await home.find("docker.io")?.user == "hub")
        // If the helper lacks an entry, the file's own entries count.
        #expect(try await home.find("plain.io")?.user == "plain")
        #expect(try await home.find("nobody.io") == nil)
        await #expect(
            throws: CredentialError.helperFailed(
                "docker-credential-test", file: file, status: 2, message: "no bus ")
        ) { try await home.find("broken.io") }
        await #expect(throws: CredentialError.helperNotFound("docker-credential-absent", file: file)) {
            try await home.find("gone.io")
        }
        await #expect(throws: CredentialError.malformed(file: file, detail: "a helper's name that is not a name")) {
            try await home.find("../x.io")
        }
        await #expect(throws: CredentialError.helperTimedOut("docker-credential-test", file: file)) {
            try await home.find("slow.io", timeout: .milliseconds(300))
        }
    }

    @Test func enrootsCredentials() async throws {
        let home = try Home()
        let file = "\(home.path)/.config/enroot/.credentials"
        try home.write(
            ".config/enroot/.credentials",
            """
            # NGC
            machine nvcr.io login $oauthtoken password abc$def
            machine auth.docker.io
              login hub
              password pw
            machine r.io login one password 1
            machine r.io login two password 2
            machine v.io login u password ${TOKEN}
            machine q.io login "a b" password "s3 \\"c\\\\r\\""
            machine h.io login u password "half
            machine c.io login AWS password $(printf '%s\\n' "made $((1+1))")  \n
            """.replacingOccurrences(of: "\\n\n", with: "\n"))
        #expect(try await home.find("nvcr.io")?.secret == .password(user: "$oauthtoken", password: "abc$def"))
        #expect(try await home.find("docker.io")?.user == "hub")
        #expect(try await home.find("r.io:5000")?.user == "one")
        #expect(try await home.find("r.io", user: "two")?.secret == .password(user: "two", password: "2"))
        #expect(try await home.find("r.io", user: "three") == nil)
        #expect(try await home.find("q.io")?.secret == .password(user: "a b", password: "s3 \"c\\r\""))
        #expect(try await home.find("h.io")?.secret == .password(user: "u", password: "\"half"))
        #expect(try await home.find("v.io", environment: ["TOKEN": "t"])?.secret == .password(user: "u", password: "t"))
        await #expect(throws: CredentialError.undefinedVariable("TOKEN", file: file, line: 8)) {
            try await home.find("v.io")
        }
        await #expect(throws: CredentialError.commandNotAllowed(file: file, line: 11)) { try await home.find("c.io") }
        #expect(
            try await home.find("c.io", allowsCommands: true)?.secret == .password(user: "AWS", password: "made 2"))
    }

    /// The result must equal that of `curl --netrc-file`, except for passwords that are commands.
    @Test(arguments: [
        ("machine r.io login a password b\r\n", "a:b"),
        ("machine r.io\r\nlogin a\r\npassword b\r\n", "a:b"),
        ("# c\r\nmachine r.io login a password b # comment\n", "a:b"),
        ("machine r.io login a # password x\npassword b\n", "a:b"),
        ("machine r.io login a password b#c\n", "a:b#c"),
        ("macdef init\nmachine r.io login evil password evil\n\nmachine r.io login a password b\n", "a:b"),
        ("macdef init\r\nmachine r.io login evil password evil\r\n\r\nmachine r.io login a password b\r\n", "a:b"),
        (
            "machine o.io login x password y macdef i\nmachine r.io login e password e\n\nmachine r.io login a password b",
            "a:b"
        ),
        ("machine r.io login a\nmachine r.io login c password d\n", "c:d"),
        ("machine r.io account q login a password b\n", "a:b"),
        ("default login d password e\nmachine r.io login a password b\n", "d:e"),
        ("MACHINE R.IO LOGIN a PASSWORD b\n", "a:b"),
        ("machine r.io login \"a\\\"x\" password \"b # c\"\n", "a\"x:b # c"),
        ("machine r.io login password password login\n", "password:login"),
        ("machine r.io login a password b\u{301}\n", "a:b\u{301}"),
        ("machine r.io login a password \u{301}b\n", "a:\u{301}b"),
        ("machine r.io password p login a\n", "a:p"),
        (
            "machine r.io login a password $(echo x; (echo ')' \")\")) # comment\r\nmachine o.io login o password p",
            "a:x\n) )"
        ),
        ("machine r.io login a password $(printf 'p\\r\\n') machine o.io login o password p", "a:p"),
    ]) func netrcLinesAreReadAsCurlReadsThem(text: String, expected: String) async throws {
        let home = try Home()
        try home.write(".config/enroot/.credentials", text)
        guard case .password(let user, let password)? = try await home.find("r.io", allowsCommands: true)?.secret else {
            Issue.record("nothing found in \(text)")
            return
        }
        #expect(Array("\(user):\(password)".utf8) == Array(expected.utf8))
    }

    @Test func aPasswordThatIsAComment() async throws {
        let home = try Home()
        try home.write(".config/enroot/.credentials", "machine r.io login a password #b\n")
        await #expect(
            throws: CredentialError.malformed(
                file: "\(home.path)/.config/enroot/.credentials",
                detail: "line 1 has no password: # begins a comment unless it is in double quotes")
        ) { try await home.find("r.io") }
    }

    @Test func filesThatHoldNothingAreNone() async throws {
        for text in ["", "\n", " \r\n\t", "{}", #"{"auths":null,"credHelpers":null,"credsStore":null}"#] {
            let home = try Home()
            try home.write(".docker/config.json", text)
            #expect(try await home.find("r.io") == nil, "\(text)")
        }
    }

    @Test func entriesOfOthersMayBeBroken() async throws {
        let home = try Home()
        let file = "\(home.path)/.docker/config.json"
        try home.write(
            ".docker/config.json",
            #"""
            {"auths":{"null.io":null,"number.io":5,"odd.io":{"auth":["x"]},"r.io":\#(Self.auth("me", "p"))},
            "credHelpers":{"null.io":null}}
            """#)
        #expect(try await home.find("r.io")?.user == "me")
        #expect(try await home.find("null.io") == nil)
        await #expect(
            throws: CredentialError.malformed(file: file, detail: "auths[\"odd.io\"] is not an object of strings")
        ) { try await home.find("odd.io") }
    }

    @Test func anEmptyHelperMeansNoHelper() async throws {
        let home = try Home()
        try home.write(
            ".docker/config.json",
            #"{"credsStore":"absent","credHelpers":{"r.io":""},"auths":{"r.io":\#(Self.auth("me", "p"))}}"#)
        #expect(try await home.find("r.io")?.user == "me")
    }

    @Test func anAbsentHelperDoesNotHideWhatTheFilesHold() async throws {
        let home = try Home()
        let file = "\(home.path)/.docker/config.json"
        try home.write(
            ".docker/config.json", #"{"credsStore":"absent","auths":{"r.io":\#(Self.auth("me", "p"))}}"#)
        try home.write(".config/enroot/.credentials", "machine e.io login enroot password p\n")
        #expect(try await home.find("r.io")?.user == "me")
        #expect(try await home.find("e.io")?.user == "enroot")
        await #expect(throws: CredentialError.helperNotFound("docker-credential-absent", file: file)) {
            try await home.find("other.io")
        }
        try home.write(".docker/config.json", "no JSON")
        #expect(try await home.find("e.io")?.user == "enroot")
    }

    @Test func helpersOfDockerHubByItsNames() async throws {
        for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://registry-1.docker.io"] {
            let home = try Home()
            try home.write("bin/docker-credential-test", Self.helper, mode: 0o755)
            try home.write(".docker/config.json", #"{"credHelpers":{"\#(key)":"test"}}"#)
            #expect(try await home.find("docker.io", "library/x")?.user == "hub", "\(key)")
            #expect(try await home.find("r.io") == nil)
        }
    }

    @Test func secretsAreNotPrinted() {
        let credential = Credential(secret: .password(user: "me", password: "hidden"), origin: .file("/f"))
        var dumped = ""
        dump(credential, to: &dumped)
        for text in [
            "\(credential)", String(reflecting: credential), dumped, "\(credential.secret)", "\([credential])",
        ] {
            #expect(!text.contains("hidden"))
        }
    }
}
