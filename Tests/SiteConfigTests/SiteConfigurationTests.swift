import Foundation
import LinuxKernel
@testable import SiteConfig
import Testing
import TestSupport

@Suite struct SiteConfigurationTests {
    static func parse(_ text: String) throws(ConfigurationError) -> SiteConfiguration {
        var configuration = SiteConfiguration()
        try configuration.add(text: text, file: "f")
        return configuration
    }

    @Test func everySettingIsRead() throws {
        let found = try Self.parse(
            """
            # The cluster's own.
            home = yes
            store = /local/berth   # fast
            scratch=/local/scratch
             scratch-limit\t=\t8g
            insecure-registry = registry.local:5000
            insecure-registry = other:5000
            join-wait = 250
            mount = /scratch /scratch none rw,nofail
            mount = tmpfs /ram tmpfs size=1g
            cdi-directory = /opt/cdi
            cdi-hook = /opt/bin/hook
            fabric = efa
            fabric-mount = efa /opt/amazon/efa
            fabric-mount = ib	/etc/a\\040b /etc/b
            fabric-library = efa /opt/lib/libfabric.so.1
            fabric-variable = efa A=B C
            profile = pytorch
            ulimit = memlock=unlimited
            require = rdma gpu
            ulimit = nofile=1024:4096
            ulimit = memlock=65536   # wins
            require = imex
            mirror = docker.io   mirror.local:5000/hub/cache
            mirror = Docker.io other
            """)
        #expect(found.mirrors.map(\.registry) == ["docker.io", "docker.io"])
        #expect(found.mirrors.map(\.host) == ["mirror.local:5000", "other"])
        #expect(found.mirrors.map(\.path) == ["hub/cache", ""])
        #expect(found.limits.map(\.value) == ["nofile=1024:4096", "memlock=65536"])
        #expect(found.limits.map(\.place) == ["f:21", "f:22"])
        #expect(found.requirements.map(\.value) == ["rdma gpu", "imex"])
        #expect(found.home)
        #expect(found.store == "/local/berth")
        #expect(found.scratch == "/local/scratch")
        #expect(found.scratchLimit == "8g")
        #expect(found.insecureRegistries == ["registry.local:5000", "other:5000"])
        #expect(found.joinWait == 250)
        #expect(found.mounts.map(\.target) == ["/scratch", "/ram"])
        #expect(found.mounts.map(\.type) == ["none", "tmpfs"])
        #expect(found.mounts.map(\.options) == [["rw", "nofail"], ["size=1g"]])
        #expect(found.mounts.map(\.place) == ["f:9", "f:10"])
        #expect(found.cdiDirectories == ["/opt/cdi"] && found.cdiHooks == ["/opt/bin/hook"])
        #expect(found.fabric == "efa" && found.profile == "pytorch")
        #expect(
            found.fabricRules.map(\.kind) == [
                .mount(source: "/opt/amazon/efa", target: "/opt/amazon/efa"),
                .mount(source: "/etc/a b", target: "/etc/b"),
                .library("/opt/lib/libfabric.so.1"), .variable("A=B C"),
            ])
        #expect(found.fabricRules.map(\.fabric) == ["efa", "ib", "efa", "efa"])
        #expect(found.fabricRules.map(\.place) == ["f:14", "f:15", "f:16", "f:17"])
    }

    @Test func whatIsSaidOfStoresIsRead() throws {
        let found = try Self.parse(
            """
            shared-store = /shared/a
            system-store = /local/system
            shared-store = /shared/b  owner=1234
            blob-cache = /shared/blobs
            keep-storage = 200g
            prune-until = 30d
            layer-limit = entries=5m
            layer-limit = ratio=2000
            layer-limit = entries=7
            """)
        // The system store comes first, whatever the order of the lines.
        #expect(found.sharedStores.map(\.path) == ["/local/system", "/shared/a", "/shared/b"])
        #expect(found.sharedStores.map(\.owner) == [nil, nil, 1234])
        #expect(found.blobCache == "/shared/blobs")
        #expect(found.keepStorage == 200 << 30)
        #expect(found.pruneUntil == Int64(2_592_000))
        #expect(
            Dictionary(uniqueKeysWithValues: found.layerLimits.map { ($0.name, $0.value) }) == [
                "entries": 7, "ratio": 2000,
            ])
    }

    @Test(arguments: [
        "system-store = relative", "shared-store = /a owner=alice", "shared-store = /a owner=1 more", "shared-store =",
        "blob-cache = here", "keep-storage = lots", "keep-storage = -1", "keep-storage = 99999999999999t",
        "prune-until = soon", "prune-until = 3y", "layer-limit = entries", "layer-limit = files=3",
        "layer-limit = ratio=0",
    ]) func whatIsSaidWronglyOfStoresIsRefused(_ line: String) {
        let error = #expect(throws: ConfigurationError.self) { try Self.parse(line) }
        guard case .badValue? = error?.reason else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test(arguments: ["", "\n", "# only a comment", "   \t\r\n", "\r\n\r\n"]) func nothingSaysNothing(_ text: String)
        throws
    {
        #expect(try Self.parse(text) == SiteConfiguration())
    }

    static let mountForm = "SOURCE TARGET [none|bind|tmpfs [ro,rw,bind,rbind,nofail,size=BYTES,size=PERCENT%]]"

    static func mirrorForm(_ value: String) -> ConfigurationError.Reason {
        .badValue(
            name: "mirror", value: value,
            expected: "REGISTRY MIRROR, each HOST[:PORT]; a path may follow the second")
    }

    static let onePath = "one absolute path; write a blank in it as \\040"

    static func refusedOption(_ value: String, _ option: String, _ type: String) -> ConfigurationError.Reason {
        .badValue(name: "mount", value: value, expected: "\(mountForm); \"\(option)\" is no option of a \(type)")
    }

    static let refusals: [(String, Int, ConfigurationError.Reason)] = [
        ("home", 1, .notAnAssignment),
        ("\nhome = maybe", 2, .badValue(name: "home", value: "maybe", expected: "yes or no")),
        ("colour = red", 1, .unknownName("colour")),
        ("Home = yes", 1, .unknownName("Home")),
        ("= yes", 1, .unknownName("")),
        ("store = relative", 1, .badValue(name: "store", value: "relative", expected: onePath)),
        ("store =", 1, .badValue(name: "store", value: "", expected: onePath)),
        ("store = /x /y", 1, .badValue(name: "store", value: "/x /y", expected: onePath)),
        ("scratch = disk", 1, .badValue(name: "scratch", value: "disk", expected: "memory, or " + onePath)),
        ("join-wait = -1", 1, .badValue(name: "join-wait", value: "-1", expected: "milliseconds from 0 to 600000")),
        (
            "join-wait = 600001", 1,
            .badValue(name: "join-wait", value: "600001", expected: "milliseconds from 0 to 600000")
        ),
        ("mirror = docker.io", 1, mirrorForm("docker.io")),
        ("mirror = docker.io https://m", 1, mirrorForm("docker.io https://m")),
        ("mirror = docker.io/library m", 1, mirrorForm("docker.io/library m")),
        ("mirror = a /b", 1, mirrorForm("a /b")),
        ("ulimit = memlock", 1, .badValue(name: "ulimit", value: "memlock", expected: "NAME=SOFT[:HARD]")),
        ("mount = /a", 1, .badValue(name: "mount", value: "/a", expected: mountForm)),
        ("mount = /a b", 1, .badValue(name: "mount", value: "/a b", expected: mountForm)),
        ("mount = a /b", 1, .badValue(name: "mount", value: "a /b", expected: mountForm)),
        ("mount = /a /b nfs ro", 1, .badValue(name: "mount", value: "/a /b nfs ro", expected: mountForm)),
        ("mount = /a /b none noexec", 1, refusedOption("/a /b none noexec", "noexec", "bind mount")),
        ("mount = /a /b none ro,size=1g", 1, refusedOption("/a /b none ro,size=1g", "size=1g", "bind mount")),
        ("mount = t /b tmpfs size=0%", 1, refusedOption("t /b tmpfs size=0%", "size=0%", "tmpfs")),
        ("mount = t /b tmpfs size=x%", 1, refusedOption("t /b tmpfs size=x%", "size=x%", "tmpfs")),
        ("store = /x\\000y", 1, .badValue(name: "store", value: "/x\\000y", expected: onePath)),
        ("cdi-hook = /x\\000", 1, .badValue(name: "cdi-hook", value: "/x\\000", expected: onePath)),
        ("mount = /a\\000 /b", 1, .badValue(name: "mount", value: "/a\\000 /b", expected: mountForm)),
        ("mount = /a /b none ro 0", 1, .badValue(name: "mount", value: "/a /b none ro 0", expected: mountForm)),
    ]

    @Test(arguments: refusals) func aLineThatMeansNothingIsRefusedWithItsNumber(
        _ text: String, _ line: Int, _ reason: ConfigurationError.Reason
    ) {
        #expect(throws: ConfigurationError(file: "f", line: line, reason: reason)) { try Self.parse(text) }
    }

    /// Each setting is checked when it is read rather than when it is used.
    @Test(arguments: [
        "scratch-limit = x", "scratch-limit = 1x", "scratch-limit =", "insecure-registry = http://a",
        "insecure-registry = https://a:5000", "insecure-registry = a/b", "insecure-registry = a b",
        "insecure-registry = a, b", "insecure-registry =", "insecure-registry = a:0", "insecure-registry = a:99999",
        "insecure-registry = a:x", "insecure-registry = :5000", "insecure-registry = [::1", "mirror = docker.io m:x",
        "mirror = http://a b", "scratch = /a /b", "blob-cache = /a /b", "cdi-directory = /a /b", "cdi-hook = /a -x",
        "allow-device = /dev/a /dev/b", "allow-device = /tmp/x", "system-store = /a /b", "fabric-library = ib /a /b",
        "mount = tmpfs /t tmpfs size=x", "mount = tmpfs /t tmpfs size=", "profile = tensor", "fabric = ethernet",
        "join-wait = soon", "home = 1", "store = \"/x\"",
    ]) func aValueThatMeansNothingIsRefusedWhereItStands(_ line: String) {
        let error = #expect(throws: ConfigurationError.self) { try Self.parse("\n" + line) }
        guard let error, case .badValue = error.reason, error.line == 2 else {
            Issue.record("\(line): \(String(describing: error))")
            return
        }
    }

    @Test func registriesAreHostsWithPorts() throws {
        let text = "a\nA.example:5000\n[::1]:5000\n[fe80::1]\n10.0.0.1:80\nmy_reg-1\n"
        let lines = text.split(separator: "\n").map { "insecure-registry = \($0)\n" }.joined()
        #expect(
            try Self.parse(lines).insecureRegistries == [
                "a", "a.example:5000", "[::1]:5000", "[fe80::1]", "10.0.0.1:80", "my_reg-1",
            ])
    }

    @Test func theListOfNamesIsThatOfTheParser() {
        for name in SiteConfiguration.names {
            do throws(ConfigurationError) { _ = try Self.parse("\(name) = x") } catch {
                if case .unknownName = error.reason { Issue.record("\(name)") }
            }
        }
    }

    @Test func aByteOrderMarkIsNoPartOfTheFirstName() throws {
        let directory = try TemporaryDirectory()
        try directory.write([0xEF, 0xBB, 0xBF] + Array("home = yes\n".utf8), to: "site.conf")
        #expect(try Self.read(directory).home)
        // In UTF-16, every other byte is NUL.
        try directory.write([0xFF, 0xFE] + "home = yes\n".utf8.flatMap { [$0, 0] }, to: "site.conf")
        #expect(throws: ConfigurationError(file: directory.path + "/site.conf", line: 1, reason: .notText)) {
            try Self.read(directory)
        }
    }

    /// U+0301 combines with the preceding character.
    @Test func separatorsAreBytes() throws {
        let found = try Self.parse(
            "store =\u{301}\n".replacingOccurrences(of: "=\u{301}", with: "= /\u{301}x#\u{301} comment")
                + "mount = /a /\u{301}b\nfabric-variable = ib A=\u{301}\ncdi-directory\t=\u{20}/\u{FE0F}\n")
        #expect(found.store.map { Array($0.utf8) } == Array("/\u{301}x".utf8))
        #expect(found.mounts.map(\.target) == ["/\u{301}b"])
        #expect(found.fabricRules.map(\.kind) == [.variable("A=\u{301}")])
        #expect(found.cdiDirectories == ["/\u{FE0F}"])
    }

    @Test func pathsKeepBytesThatAreNoText() throws {
        let directory = try TemporaryDirectory()
        try directory.write(Array("store = /a".utf8) + [0xE9] + Array("/b\n".utf8), to: "site.conf")
        #expect(try Self.read(directory).store?.kernelBytes == Array("/a".utf8) + [0xE9] + Array("/b".utf8))
    }

    @Test func blanksInPathsAreWrittenAsInFstab() throws {
        let mount = try #require(try Self.parse(#"mount = /a\040b /c\011d\134e none ro"#).mounts.first)
        #expect(mount.source == "/a b")
        #expect(mount.target == "/c\td\\e")
    }

    @Test func lineEndsFromWindowsEndLines() throws {
        let found = try Self.parse("home = yes\r\nstore = /x\r\n")
        #expect(found.home)
        #expect(found.store == "/x")
    }

    @Test func aHashInsideAPathStartsAComment() throws { #expect(try Self.parse("store = /a#b").store == "/a") }

    // MARK: The two files

    static func read(_ directory: TemporaryDirectory, _ environment: [String: String] = [:]) throws(ConfigurationError)
        -> SiteConfiguration
    {
        let site = directory.path + "/site.conf"
        var variables = ["BERTH_CONFIG": FileManager.default.fileExists(atPath: site) ? site : "/dev/null"]
        variables.merge(environment) { $1 }
        let all = variables
        return try SiteConfiguration.read(
            environment: { all[$0] }, homes: [directory.path + "/home", directory.path + "/account"])
    }

    @Test func absentFilesSayNothing() throws { #expect(try Self.read(TemporaryDirectory()) == SiteConfiguration()) }

    @Test func theUsersFileOverridesTheSitesAndAddsItsMounts() throws {
        let directory = try TemporaryDirectory()
        try directory.write("store = /site\nhome = yes\nmount = /s /s\n", to: "site.conf")
        try directory.write("store = /user\nmount = /u /u\n", to: "home/.config/berth/berth.conf")
        let found = try Self.read(directory)
        #expect(found.store == "/user")
        #expect(found.home)
        #expect(found.mounts.map(\.source) == ["/s", "/u"])
    }

    @Test func theUsersFileMayLieElsewhere() throws {
        let directory = try TemporaryDirectory()
        try directory.write("home = yes\n", to: "xdg/berth/berth.conf")
        #expect(try Self.read(directory, ["XDG_CONFIG_HOME": directory.path + "/xdg"]).home)
    }

    @Test func emptyAndRelativeVariablesSayNothing() throws {
        let directory = try TemporaryDirectory()
        try directory.write("home = yes\n", to: "home/.config/berth/berth.conf")
        #expect(try Self.read(directory, ["XDG_CONFIG_HOME": "relative"]).home)
        #expect(try Self.read(directory, ["XDG_CONFIG_HOME": ""]).home)
    }

    @Test func theStoreIsTheOptionsThenTheEnvironmentsThenTheFiles() {
        func path(
            _ option: String?, _ environment: [String: String], file: String?, root: Bool = false,
            account: String? = nil
        ) -> String {
            var configuration = SiteConfiguration()
            configuration.store = file
            return configuration.storePath(
                option: option, environment: { environment[$0] }, userID: root ? 0 : 7, isRoot: root,
                accountHome: account)
        }
        #expect(path("/o", ["BERTH_STORE": "/e"], file: "/f") == "/o")
        #expect(path(nil, ["BERTH_STORE": "/e"], file: "/f") == "/e")
        #expect(path(nil, [:], file: "/f") == "/f")
        #expect(path(nil, ["XDG_DATA_HOME": "/x", "HOME": "/h"], file: nil) == "/x/berth")
        #expect(path(nil, ["HOME": "/h"], file: nil) == "/h/.local/share/berth")
        #expect(path(nil, ["HOME": "/h"], file: nil, root: true) == "/var/lib/berth")
        #expect(path(nil, ["BERTH_STORE": ""], file: "/f") == "/f")
        for home in [[:], ["HOME": ""], ["HOME": "relative"]] { #expect(path(nil, home, file: nil) == "/tmp/berth-7") }
        #expect(path(nil, ["XDG_DATA_HOME": "relative", "HOME": "/h"], file: nil) == "/h/.local/share/berth")
        // `HOME` and `--export=NONE` do not change it, unless the account's home directory does not exist here.
        for home in [[:], ["HOME": "/tmp"]] {
            #expect(path(nil, home, file: nil, account: "/usr") == "/usr/.local/share/berth")
        }
        for account in ["/", "/nonexistent"] {
            #expect(path(nil, ["HOME": "/h"], file: nil, account: account) == "/h/.local/share/berth")
        }
    }

    @Test func theUsersFileIsThatOfHomeOrElseOfTheAccountsHome() throws {
        let directory = try TemporaryDirectory()
        try directory.write("root = yes\n", to: "account/.config/berth/berth.conf")
        #expect(try Self.read(directory).root)
        #expect(try Self.read(directory, ["XDG_CONFIG_HOME": directory.path + "/absent"]).root)
        try directory.write("home = yes\n", to: "home/.config/berth/berth.conf")
        let read = try Self.read(directory)
        #expect(read.home && !read.root)
    }

    // MARK: Trust

    static func fault(_ reading: () throws(ConfigurationError) -> SiteConfiguration) -> (UntrustedPath, Bool)? {
        do throws(ConfigurationError) {
            _ = try reading()
            return nil
        } catch {
            guard case .untrusted(let fault, let isOwn) = error.reason else { return nil }
            return (fault, isOwn)
        }
    }

    @Test(
        .enabled(if: geteuid() == 0, "gives files away: root only"),
        arguments: ["", "/.config", "/.config/berth/berth.conf"])
    func anotherUsersHomeConfiguresNothing(_ part: String) throws {
        let directory = try TemporaryDirectory()
        try directory.write("home = yes\n", to: "home/.config/berth/berth.conf")
        let place = directory.path + "/home" + part
        chown(place, 4321, 4321)
        let found = Self.fault { () throws(ConfigurationError) in try Self.read(directory) }
        #expect(found?.0 == UntrustedPath(path: place, reason: .owner(4321), expected: [0]))
        #expect(found?.1 == true)
        // Another user's home directory without the file is no error.
        try FileManager.default.removeItem(atPath: directory.path + "/home/.config/berth")
        #expect(try Self.read(directory) == SiteConfiguration())
    }

    @Test(arguments: ["site.conf", "d", "d/site.conf"]) func aConfigurationThatOthersMayWriteIsRefused(_ part: String)
        throws
    {
        let directory = try TemporaryDirectory()
        try directory.write("home = yes\n", to: "site.conf")
        try directory.write("home = yes\n", to: "d/site.conf")
        let file = part.hasPrefix("d") ? directory.path + "/d/site.conf" : directory.path + "/site.conf"
        #expect(try Self.read(directory, ["BERTH_CONFIG": file]).home)
        let mode: UInt32 = part == "d" ? 0o775 : 0o666
        chmod(directory.path + "/" + part, mode)
        let found = Self.fault { () throws(ConfigurationError) in try Self.read(directory, ["BERTH_CONFIG": file]) }
        #expect(found?.0.path == directory.path + "/" + part && found?.0.reason == .mode(mode))
    }

    @Test func aFIFOIsRefusedAndNotWaitedFor() throws {
        let directory = try TemporaryDirectory()
        for name in ["site.conf", "home/.config/berth/berth.conf"] {
            try directory.makeDirectory("home/.config/berth")
            #expect(mkfifo(directory.path + "/" + name, 0o600) == 0)
            #expect(
                throws: ConfigurationError(file: directory.path + "/" + name, line: 0, reason: .notAFile)
            ) { try Self.read(directory) }
            try FileManager.default.removeItem(atPath: directory.path + "/" + name)
        }
    }

    @Test func theHomesAreAbsoluteAndEachThereOnce() {
        func homes(_ home: String?, _ account: String?) -> [String] {
            SiteConfiguration.homes(environment: { $0 == "HOME" ? home : nil }, accountHome: account)
        }
        #expect(homes("/a", "/b") == ["/a", "/b"])
        #expect(homes("/a", "/a") == ["/a"])
        #expect(homes("a", "/b") == ["/b"])
        #expect(homes("", nil) == [])
    }

    @Test(arguments: ["50%", "1%", "2g"]) func aTmpfsOfTheSiteMayHaveASize(_ size: String) throws {
        #expect(try Self.parse("mount = tmpfs /t tmpfs size=\(size)").mounts.first?.options == ["size=\(size)"])
    }

    @Test func aNamedFileThatDoesNotExistIsAnError() throws {
        let directory = try TemporaryDirectory()
        for file in [directory.path + "/none.conf", directory.path + "/none/x.conf", "/dev/fd/987"] {
            #expect {
                try Self.read(directory, ["BERTH_CONFIG": file])
            } throws: {
                guard let error = $0 as? ConfigurationError, case .unreadable(let cause) = error.reason else {
                    return false
                }
                return error.file == file && cause.errno == 2
            }
        }
    }

    @Test func whatAPipeSaidIsKept() throws {
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        let text = "home = yes\n"
        #expect(write(ends[1], text, text.utf8.count) == text.utf8.count)
        close(ends[1])
        defer { close(ends[0]) }
        let found = try Self.read(TemporaryDirectory(), ["BERTH_CONFIG": "/dev/fd/\(ends[0])"])
        #expect(found.home && found.textByDescriptor == Array(text.utf8))
    }

    @Test func noConfigurationMayBeNamedByTheNullDevice() throws {
        #expect(try Self.read(TemporaryDirectory(), ["BERTH_CONFIG": "/dev/null"]) == SiteConfiguration())
    }

    @Test func anUnreadableFileIsAnError() throws {
        let directory = try TemporaryDirectory()
        try directory.makeDirectory("site.conf")
        #expect(throws: ConfigurationError.self) { try Self.read(directory) }
    }

    @Test func bytesThatAreNoTextAreRefusedNotCrashedOver() throws {
        let directory = try TemporaryDirectory()
        try directory.write([0xFF, 0x00, 0xFE, 0x0A], to: "site.conf")
        #expect(throws: ConfigurationError.self) { try Self.read(directory) }
    }
}
