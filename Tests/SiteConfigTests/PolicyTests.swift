import Foundation
import LinuxKernel
@testable import SiteConfig
import Testing
import TestSupport

/// Drop-ins, variables in paths, `registries`, and what `berth config` prints.
@Suite struct PolicyTests {
    typealias Files = SiteConfigurationTests

    /// Reads a site file in this directory instead of `/etc/berth/berth.conf`.
    static func read(_ directory: TemporaryDirectory, _ environment: [String: String] = [:]) throws(ConfigurationError)
        -> SiteConfiguration
    {
        try SiteConfiguration.read(
            environment: { environment[$0] }, homes: [directory.path + "/home"],
            account: ["ada", "x", "7", "7", "", "/home/ada", "/bin/sh"], siteFile: directory.path + "/etc/berth.conf")
    }

    // MARK: Drop-ins

    @Test func dropInsAreReadInTheOrderOfTheirNames() throws {
        let directory = try TemporaryDirectory()
        try directory.write("store = /a\nmount = /a /a\n", to: "etc/berth.conf")
        try directory.write("store = /c\nmount = /c /c\n", to: "etc/berth.conf.d/20.conf")
        try directory.write("store = /b\nmount = /b /b\n", to: "etc/berth.conf.d/10.conf")
        for name in ["30.conf~", "README", ".40.conf", "50.conf.dpkg-old"] {
            try directory.write("nonsense\n", to: "etc/berth.conf.d/" + name)
        }
        let found = try Self.read(directory)
        #expect(found.store == "/c" && found.mounts.map(\.source) == ["/a", "/b", "/c"])
        let store = found.effective(try #require(ConfigurationKey.all.first { $0.name == "store" }))
        #expect(store.map(\.place) == [directory.path + "/etc/berth.conf.d/20.conf:1"])
        // The user's file comes last.
        try directory.write("store = /u\n", to: "home/.config/berth/berth.conf")
        #expect(try Self.read(directory).store == "/u")
        // Drop-ins are read without the main file, too.
        try FileManager.default.removeItem(atPath: directory.path + "/etc/berth.conf")
        #expect(try Self.read(directory).mounts.map(\.source) == ["/b", "/c"])
    }

    @Test func aDropInThatOthersMayWriteIsRefused() throws {
        let directory = try TemporaryDirectory()
        try directory.write("home = yes\n", to: "etc/berth.conf.d/a.conf")
        chmod(directory.path + "/etc/berth.conf.d", 0o777)
        let found = Files.fault { () throws(ConfigurationError) in try Self.read(directory) }
        #expect(found?.0.path == directory.path + "/etc/berth.conf.d")
    }

    // MARK: Variables

    static let job = ["SLURM_JOB_ID": "17", "SLURM_JOB_ACCOUNT": "a b", "TMPDIR": "/job tmp"]

    @Test(arguments: [
        ("store = /local/%u/x", "/local/ada/x"), ("store = %h/store", "/home/ada/store"), ("store = /a%%u", "/a%u"),
        ("store = /l/$SLURM_JOB_ID", "/l/17"), ("store = /l/$SLURM_JOB_ACCOUNT/%u", "/l/a b/ada"),
        ("store = $TMPDIR/x", "/job tmp/x"), ("store = /s/%U", "/s/\(Identity.outerUserID)"),
        ("store = /100%/x", "/100%/x"),
    ]) func pathsMayNameTheUserAndTheJob(_ line: String, _ path: String) throws {
        let directory = try TemporaryDirectory()
        try directory.write(line + "\n", to: "etc/berth.conf")
        #expect(try Self.read(directory, Self.job).store == path)
    }

    @Test func mountsMayNameTheUserAndTheJob() throws {
        let directory = try TemporaryDirectory()
        try directory.write(
            "mount = /data/%u /data/%u none ro\nmount = t /ram tmpfs size=50%\nscratch = /l/$SLURM_JOB_ID\n",
            to: "etc/berth.conf")
        let found = try Self.read(directory, Self.job)
        #expect(
            found.mounts.map(\.source) == ["/data/ada", "t"] && found.mounts.map(\.target) == ["/data/ada", "/ram"])
        #expect(found.mounts.last?.options == ["size=50%"] && found.scratch == "/l/17" && found.unresolved.isEmpty)
    }

    @Test(arguments: ["%x", "$HOME", "$SLURM_PROCID", "$", "%ux$USER"]) func otherVariablesAreRefused(_ word: String) {
        for line in ["store = /a/\(word)", "scratch = /a/\(word)", "mount = /a/\(word) /b"] {
            let error = #expect(throws: ConfigurationError.self) { try Files.parse(line) }
            guard case .badValue? = error?.reason else {
                Issue.record("\(line): \(String(describing: error))")
                continue
            }
        }
    }

    /// A pull on a login node needs the store, but neither scratch nor mounts.
    @Test(arguments: [[:], ["SLURM_JOB_ID": ""], ["SLURM_JOB_ID": "../x"], ["SLURM_JOB_ID": ".."]])
    func aVariableWithoutAValueIsAnErrorWhereItIsNeeded(_ environment: [String: String]) throws {
        let directory = try TemporaryDirectory()
        try directory.write(
            "scratch = /l/$SLURM_JOB_ID\nmount = /l/$SLURM_JOB_ID /l\nmount = /m/$SLURM_JOB_ID /m none nofail\n",
            to: "etc/berth.conf")
        let found = try Self.read(directory, environment)
        #expect(found.unresolved.map(\.line) == [1, 2] && found.mounts.isEmpty && found.scratch == nil)
        // The user's own line replaces the site's.
        try directory.write("scratch = memory\n", to: "home/.config/berth/berth.conf")
        #expect(try Self.read(directory, environment).unresolved.map(\.line) == [2])
        try directory.write("store = /l/$SLURM_JOB_ID\n", to: "etc/berth.conf")
        let error = ConfigurationError(
            file: directory.path + "/etc/berth.conf", line: 1,
            reason: .unsetVariable(setting: "store", variable: "$SLURM_JOB_ID"))
        #expect(throws: error) { try Self.read(directory, environment) }
    }

    // MARK: Registries

    static func isPermitted(_ name: String, _ configuration: SiteConfiguration) -> Bool {
        let parts = name.split(separator: "/", maxSplits: 1).map(String.init)
        do throws(RegistryPolicy.Refusal) {
            try configuration.registries.check(registry: parts[0], repository: parts[1])
            return true
        } catch { return false }
    }

    @Test func theLongestPrefixDecides() throws {
        let found = try Files.parse(
            """
            registries = allow docker.io/library NVCR.io:443/nvidia registry.example.com
            registries = deny registry.example.com/secret docker.io/library/bad
            registries = allow registry.example.com/secret/open
            """)
        let expected = [
            "docker.io/library/debian": true, "docker.io/library/bad": false, "docker.io/library/badge": true,
            "docker.io/other/debian": false, "docker.io/library": true, "docker.io/libraryx/a": false,
            "nvcr.io:443/nvidia/pytorch": true, "nvcr.io/nvidia/pytorch": false, "registry.example.com/a": true,
            "registry.example.com/secret": false, "registry.example.com/secret/a": false,
            "registry.example.com/secret/open/a": true, "registry.example.com.evil.org/a": false,
        ]
        for (name, isPermitted) in expected { #expect(Self.isPermitted(name, found) == isPermitted, "\(name)") }
        let hub = try Files.parse("registries = deny index.docker.io/library\nregistries = allow docker.io/library")
        #expect(!Self.isPermitted("docker.io/library/debian", hub) && Self.isPermitted("docker.io/a/b", hub) == false)
        #expect(Self.isPermitted("quay.io/a", try Files.parse("registries = deny docker.io")))
    }

    @Test(arguments: [
        "allow", "deny", "", "docker.io", "allow library/debian", "allow http://a.b", "allow a.b//c", "allow a.b/C",
        "allow a.b/", "permit a.b", "allow a.b, c.d",
    ]) func aRuleThatMeansNothingIsRefused(_ value: String) {
        #expect(throws: ConfigurationError.self) { try Files.parse("registries = " + value) }
    }

    /// Neither the user's file nor another site file in `BERTH_CONFIG` widens what the site permits.
    @Test func aUserCanOnlyNarrowWhatTheSitePermits() throws {
        let directory = try TemporaryDirectory()
        try directory.write("registries = allow a.example b.example\n", to: "etc/berth.conf")
        try directory.write(
            "registries = allow a.example c.example\nregistries = deny a.example/x\nmirror = a.example m.example\n",
            to: "home/.config/berth/berth.conf")
        try directory.write("registries = allow docker.io a.example\n", to: "other.conf")
        for environment in [[:], ["BERTH_CONFIG": "/dev/null"], ["BERTH_CONFIG": directory.path + "/other.conf"]] {
            let found = try Self.read(directory, environment)
            #expect(Self.isPermitted("a.example/y", found))
            for name in ["b.example/y", "c.example/y", "a.example/x/y", "docker.io/a/b"] {
                #expect(!Self.isPermitted(name, found), "\(name)")
            }
            #expect(found.mirrors.map(\.isSites) == [false])
            #expect(found.settings.first { $0.name == "registries" }?.place == directory.path + "/etc/berth.conf:1")
        }
        // An unreadable site file does not permit everything.
        try directory.write("registries = alow a.example\n", to: "etc/berth.conf")
        #expect(throws: ConfigurationError.self) { try Self.read(directory, ["BERTH_CONFIG": "/dev/null"]) }
    }

    /// A user's file and `BERTH_CONFIG` replace what is a default, and not what the site enforces.
    @Test func anEnforcedProfileIsTheSitesWhateverOtherFilesSay() throws {
        let directory = try TemporaryDirectory()
        try directory.write("seccomp = default\n", to: "etc/berth.conf")
        try directory.write("enforce = pids=7,seccomp\n", to: "etc/berth.conf.d/a.conf")
        try directory.write("seccomp = none\nenforce = none\n", to: "home/.config/berth/berth.conf")
        for environment in [[:], ["BERTH_CONFIG": "/dev/null"]] {
            let found = try Self.read(directory, environment)
            #expect(found.seccomp?.value == "none")
            #expect(try found.mandatorySeccomp()?.place == directory.path + "/etc/berth.conf:1")
            let key = try #require(ConfigurationKey.all.first { $0.name == "seccomp" })
            #expect(found.effective(key).map(\.value) == ["default", "none"])
        }
        // A user's word makes nothing hold, and one without a profile is a mistake.
        let user = ["HOME": directory.path]
        try directory.write("enforce = devices\n", to: "etc/berth.conf.d/a.conf")
        try directory.write("enforce = seccomp\n", to: "home/.config/berth/berth.conf")
        #expect(try Self.read(directory, user).mandatorySeccomp() == nil)
        for profile in ["", "seccomp = none\n"] {
            #expect(throws: ConfigurationError.self) { try Files.parse(profile + "enforce = seccomp\n").mandatorySeccomp() }
        }
    }

    // MARK: What `berth config` prints

    @Test func ofEachSettingTheLinesThatCountAreShown() throws {
        let found = try Files.parse(
            "home = yes\nulimit = nofile=1\nulimit = memlock=2\nhome = no\nulimit = nofile=3:4\n"
                + "mount = /a /a\nmount = /b /b"
        )
        func shown(_ name: String) throws -> [String] {
            found.effective(try #require(ConfigurationKey.all.first { $0.name == name })).map {
                "\($0.value) \($0.line)"
            }
        }
        #expect(try shown("home") == ["no 4"] && shown("ulimit") == ["memlock=2 3", "nofile=3:4 5"])
        #expect(try shown("mount") == ["/a /a 6", "/b /b 7"] && shown("store") == [])
    }

    @Test func aCheckFindsEveryErrorOfAFile() throws {
        let directory = try TemporaryDirectory()
        try directory.write("home = perhaps\nstore = /l/%u\n\nmout = /a /a\nscratch = $TMPDIR\n", to: "x.conf")
        let (configuration, errors) = SiteConfiguration.check(file: directory.path + "/x.conf")
        #expect(errors.map(\.line) == [1, 4] && configuration.unresolved.isEmpty)
        #expect(errors.last?.reason == .unknownName("mout"))
        #expect(SiteConfiguration.check(file: directory.path + "/none").errors.count == 1)
    }
}
