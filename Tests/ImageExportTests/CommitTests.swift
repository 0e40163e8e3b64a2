import Foundation
import LinuxKernel
import TestSupport
import Testing

/// `berth commit` and `berth diff`, with real containers.
@Suite(.serialized, .enabled(if: Installation.launcher != nil, "no built launcher: run Scripts/build --lean"))
struct CommitTests {
    static let changes = #"""
        rm opt/gone etc/shadow
        rm -r opt/data && mkdir opt/data && echo new > opt/data/c
        rm -r opt/other
        echo more >> usr/bin/tool
        echo added > usr/lib/added; ln usr/lib/added usr/lib/again
        rm opt/dangling && mkdir opt/dangling && echo in > opt/dangling/in
        mv opt/large opt/moved
        mkdir -m 700 opt/private; setfattr -n user.mine -v 1 opt/private
        rm opt/old; touch -d '1999-09-09 09:09:09.5 UTC' opt/old
        rm $'opt/\xff\xfe' $'opt/new\nline'
        cp --preserve=all opt/precise opt/kept && mv opt/kept opt/precise
        chmod 711 usr/bin/tool
        mkfifo opt/another; printf closed > opt/closed; chmod 000 opt/closed
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("opt/socket")'
        """#

    /// Every entry below opt and usr with all that an image can hold of it.
    static let lister = #"""
        find opt usr ! -type s -printf '%y %#m %T@ %l %p\0' | sort -z | tr '\0\n' '\n?'
        find opt usr -type f ! -name closed -print0 | sort -z | xargs -0r sha256sum -z | tr '\0\n' '\n?'
        find opt usr ! -type d -links +1 -printf '%i %p\0' | sort -z -k 2 \
            | awk -v RS='\0' '!($1 in seen) { seen[$1] = ++n } { i = seen[$1]; $1 = ""; print "link " i $0 }' | tr '\0\n' '\n?'
        getfattr -R -h -P -d -m '^user\.[^o]' opt usr 2>/dev/null | tr -d '\r' || :
        """#

    @Test(arguments: Installation.callers) func aRunningContainerBecomesAnImage(_ user: UInt32) throws {
        let place = try Installation(user)
        try awkwardTree(place.fixture, "root")
        try place.give("root")
        try place.berth("export", "dir:root", "oci:images:base")
        try place.berth("pull", "-q", "oci:images:base")
        let container = try place.container("oci:images:base")
        defer { container.running.signal(SIGKILL) }
        let live = try place.shell("cd /proc/\(container.running.processID)/root; " + Self.changes + "\n" + Self.lister)
        let lines = try place.berth("diff", container.name).output.split(separator: "\n").map(String.init)
        for line in [
            "C /etc", "D /etc/shadow", "C /opt", "D /opt/gone", "C /opt/data", "A /opt/data/c", "D /opt/data/a",
            "D /opt/other", "C /usr/bin/tool", "A /usr/lib/added", "A /usr/lib/again", "C /opt/dangling",
            "A /opt/dangling/in", "D /opt/large", "A /opt/moved", "A /opt/private", "C /opt/old", "D /opt/new\\nline",
            "C /opt/precise", "A /opt/another", "A /opt/closed",
        ] {
            #expect(lines.contains(line), "\(line): \(lines)")
        }
        for path in ["/usr/lib/deep", "/opt/late", "/opt/back", "/proc", "/dev", "/etc/same"] {
            #expect(!lines.contains { $0.dropFirst(2) == path }, "\(path): \(lines)")
        }
        // By the paths' own bytes, of which two are no text.
        let plain = lines.filter { !$0.contains("\\x") }
        #expect(plain == plain.sorted { $0.dropFirst(2).utf8.lexicographicallyPrecedes($1.dropFirst(2).utf8) })
        let ended = try place.berth("commit", "-m", "more", "\(container.running.processID)", "oci:images:next")
        #expect(
            ended.errors.contains("2 layers, 1 of them there already") && ended.errors.contains("1 sockets"), "\(ended)"
        )
        let config = try place.fixture.config("images", "next")
        #expect(((config["history"] as? [[String: Any]])?.last?["comment"] as? String) == "more")
        let base = try place.fixture.manifest("images", "base")["layers"] as? [[String: Any]] ?? []
        let next = try place.fixture.manifest("images", "next")["layers"] as? [[String: Any]] ?? []
        #expect(next.count == 2 && next[0]["digest"] as? String == base[0]["digest"] as? String)
        try place.berth("pull", "-q", "oci:images:next")
        expectEqual(try place.listing("oci:images:next"), live)
        // What was committed runs, and is changed again.
        let again = try place.container("oci:images:next")
        defer { again.running.signal(SIGKILL) }
        expectEqual(try place.shell("cd /proc/\(again.running.processID)/root; " + Self.lister), live)
        _ = try place.shell("cd /proc/\(again.running.processID)/root; rm -r opt/data; echo third > opt/third")
        try place.berth("commit", "-q", again.name, "oci:images:third")
        #expect((try place.fixture.manifest("images", "third")["layers"] as? [Any])?.count == 3)
        try place.berth("pull", "-q", "oci:images:third")
        let third = try place.listing("oci:images:third")
        #expect(third.contains("opt/third") && !third.contains("opt/data"))
    }

    /// As `srun --container-name` keeps it.
    @Test func aNamedContainerThatDoesNotRunBecomesAnImage() throws {
        let place = try Installation(0)
        try awkwardTree(place.fixture, "root")
        try place.berth("export", "dir:root", "oci:images:base")
        try place.berth("pull", "-q", "oci:images:base")
        let text = try place.berth("inspect", "oci:images:base").output
        let digest = try #require(
            (try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])?["digest"] as? String)
        let kept = "store/containers/kept"
        for part in ["upper", "work"] { try place.fixture.place.makeDirectory(kept + "/" + part) }
        try place.fixture.place.write("", to: kept + "/lease", mode: 0o600)
        let image = "oci:\(place.fixture.path)/images:base"
        try place.fixture.place.write("berth-container-record 1\n\(image)\n\(digest)\n", to: kept + "/record")
        let script = Self.changes + "\n" + Self.lister + "\nexit 0"
        let live = try place.fixture.listing(
            place.fixture.trees("oci:images:base"), upper: place.fixture.path + "/" + kept + "/upper", change: script)
        let lines = try place.berth("diff", "kept").output.split(separator: "\n").map(String.init)
        for line in ["D /opt/gone", "C /opt/data", "A /opt/data/c", "D /opt/data/a", "D /etc/shadow", "A /opt/moved"] {
            #expect(lines.contains(line), "\(line): \(lines)")
        }
        try place.berth("commit", "-q", "kept", "oci:images:next")
        try place.berth("pull", "-q", "oci:images:next")
        expectEqual(try place.listing("oci:images:next"), live)
    }

    @Test func whatCannotBeCommittedIsAnError() throws {
        let place = try Installation(0)
        func refused(_ words: String...) throws -> String {
            let ended = try place.command(words).run()
            #expect(ended.status == 125, "\(ended)")
            return ended.errors
        }
        #expect(try refused("commit", "absent", "oci:x").contains("no running container on this node is called absent"))
        #expect(try refused("commit", "absent", "x:1").contains("does not name a kind of destination"))
        #expect(try refused("diff", "../containers").contains("no running container"))
        #expect(try !place.fixture.names().contains("x"))
        guard Installation.callers.count > 1 else { return }
        // Another user's container: for root a refusal, for everyone else it does not exist.
        let other = try Installation(Installation.callers[1])
        try awkwardTree(other.fixture, "root")
        try other.give("root")
        let theirs = try other.container("dir:\(other.fixture.path)/root")
        defer { theirs.running.signal(SIGKILL) }
        #expect(try refused("diff", theirs.name).contains("belongs to another user"))
        #expect(try refused("commit", "\(theirs.running.processID)", "oci:x").contains("belongs to another user"))
        try awkwardTree(place.fixture, "root")
        let own = try place.container("dir:\(place.fixture.path)/root")
        defer { own.running.signal(SIGKILL) }
        let ended = try other.command(["diff", "\(own.running.processID)"]).run()
        #expect(ended.status == 125 && ended.errors.contains("is in no container of yours"), "\(ended)")
        // A root file system that is no image is one layer below.
        #expect(try other.berth("diff", theirs.name).output.contains("C /etc\n"))
        try other.berth("commit", "-q", theirs.name, "oci:plain:1")
        #expect((try other.fixture.manifest("plain", "1")["layers"] as? [Any])?.count == 2)
    }
}

/// Lists of files, by the lines that only one of them has.
private func expectEqual(_ one: String, _ other: String) {
    let (mine, theirs) = (one.split(separator: "\n"), other.split(separator: "\n"))
    #expect(mine.filter { !Set(theirs).contains($0) } == theirs.filter { !Set(mine).contains($0) })
    #expect(mine.count == theirs.count)
}

/// The launcher and the image tool as they are installed, in a directory of a caller's.
private struct Installation {
    let fixture: Fixture
    let user: UInt32

    /// The newest that was built.
    static let launcher: String? = {
        let root = packageRoot()
        let built = ["build/bin/berth", ".build/lean/release/berth", ".build/lean-test/debug/berth"].map {
            root + "/" + $0
        }
        func age(_ path: String) -> Date {
            (try? FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date) ?? .distantPast
        }
        return built.filter(FileManager.default.isExecutableFile(atPath:)).max { age($0) < age($1) }
    }()

    /// Root and an ordinary user, or who runs the tests.
    static let callers: [UInt32] = geteuid() == 0 ? [0, 1000] : [geteuid()]

    init(_ user: UInt32) throws {
        fixture = try Fixture()
        self.user = user
        try fixture.place.makeDirectory("prefix/bin")
        try fixture.place.makeDirectory("prefix/libexec/berth")
        try FileManager.default.copyItem(atPath: #require(Self.launcher), toPath: fixture.path + "/prefix/bin/berth")
        try FileManager.default.copyItem(
            atPath: Fixture.program, toPath: fixture.path + "/prefix/libexec/berth/berth-image")
        let probe = [
            "cc", "-static", "-O1", "-o", fixture.path + "/prefix/probe", packageRoot() + "/Tests/Probe/probe.c",
        ]
        let compiled = try Command(probe).run()
        guard compiled.status == 0 else { throw TestSupportError("the probe does not compile: \(compiled)") }
        try FileManager.default.copyItem(
            atPath: packageRoot() + "/build/libexec/berth/seccomp",
            toPath: fixture.path + "/prefix/libexec/berth/seccomp")
        if geteuid() == 0 { _ = try Command(["chown", "\(user):\(user)", fixture.path]).run() }
    }

    /// Makes the caller the owner of a tree.
    func give(_ name: String) throws {
        if geteuid() == 0 { _ = try Command(["chown", "-hR", "\(user):\(user)", fixture.path + "/" + name]).run() }
    }

    private func asCaller(_ words: [String]) -> Command {
        let prefix = user == geteuid() ? [] : ["setpriv", "--reuid=\(user)", "--regid=\(user)", "--clear-groups"]
        return Command(
            prefix + words, environment: fixture.environment.merging(["BERTH_CONFIG": "/dev/null"]) { $1 },
            directory: fixture.path, secondsAllowed: 240)
    }

    func command(_ words: [String]) -> Command { asCaller([fixture.path + "/prefix/bin/berth"] + words) }

    @discardableResult
    func berth(_ words: String...) throws -> Ended {
        let ended = try command(words).run()
        guard ended.status == 0 else { throw TestSupportError("berth \(words): \(ended)") }
        return ended
    }

    func shell(_ script: String) throws -> String {
        let ended = try asCaller(["/bin/bash", "-euc", script]).run()
        guard ended.status == 0 else { throw TestSupportError("\(script): \(ended)") }
        return ended.output
    }

    /// A container that waits until it is killed.
    func container(_ image: String) throws -> (name: String, running: Running) {
        let name = "commit-" + UUID().uuidString.prefix(8)
        let running = try command([
            "run", "--root", "--name", name, "-v", "\(fixture.path)/prefix:/run/prefix", image, "--",
            "/run/prefix/probe",
            "signal", "\(SIGTERM)",
        ]).start()
        try running.until("ready") { $0.printed.hasSuffix("ready\n") }
        return (name, running)
    }

    /// As overlayfs shows the image.
    func listing(_ image: String) throws -> String {
        let text = try berth("inspect", image).output
        let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
        let trees = (object?["trees"] as? [String] ?? []).reversed().joined(separator: ":")
        return try shell(
            """
            mkdir -p m empty
            unshare --user --map-root-user --mount bash -euc 'mount -t overlay -o "lowerdir=$0:$PWD/empty,userxattr" none m
            cd m
            \(CommitTests.lister.replacingOccurrences(of: "'", with: "'\\''"))' '\(trees)'
            """)
    }
}
