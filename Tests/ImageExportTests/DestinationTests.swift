import Foundation
import TestSupport
import Testing

/// Existing files stay, and failures leave nothing.
@Suite(.serialized) struct DestinationTests {
    static func small() throws -> Fixture {
        let fixture = try Fixture()
        try fixture.shell("mkdir -p root/etc; echo 1 > root/etc/one; touch -d '2001-01-01 UTC' root/etc root/etc/one")
        return fixture
    }

    @Test func aLayoutKeepsItsOtherImages() throws {
        let fixture = try Self.small()
        try fixture.berth("export", "dir:root", "oci:all:one")
        // Entries of other tools in the index must be preserved.
        try fixture.shell(
            #"""
            python3 - <<'END'
            import json
            index = json.load(open('all/index.json'))
            index['annotations'] = {'theirs': 'yes'}
            index['manifests'][0]['annotations']['note'] = 'kept'
            index['unknown'] = [1, {'a': None}]
            json.dump(index, open('all/index.json', 'w'))
            END
            echo mine > all/README
            """#)
        let first = try fixture.manifest("all", "one")
        try fixture.shell("echo 2 > root/etc/two")
        try fixture.berth("export", "dir:root", "oci:all:two")
        let blobs = try fixture.names("all/blobs/sha256")
        try fixture.shell("echo 3 > root/etc/three")
        try fixture.berth("export", "dir:root", "oci:all:two")
        #expect(try fixture.names("all/blobs/sha256").isSuperset(of: blobs))
        let index = try fixture.json("all/index.json")
        #expect(index["annotations"] as? [String: String] == ["theirs": "yes"])
        #expect((index["unknown"] as? [Any])?.count == 2)
        let entries = try fixture.manifests("all")
        #expect(entries.count == 3)
        #expect((entries[0]["annotations"] as? [String: String])?["note"] == "kept")
        // The image that had the tag is still listed by its digest.
        #expect(entries[1]["annotations"] == nil)
        #expect(NSDictionary(dictionary: try fixture.manifest("all", "one")) == NSDictionary(dictionary: first))
        #expect(try fixture.names("all") == ["blobs", "index.json", "oci-layout", "README"])
        if Fixture.has("umoci") { #expect(try fixture.shell("umoci ls --layout all") == "one\ntwo\n") }
        for tag in ["one", "two"] { try fixture.berth("pull", "-q", "oci:all:\(tag)") }
        // Exporting the same image again changes nothing.
        try fixture.berth("export", "dir:root", "oci:all:two")
        #expect(try fixture.manifests("all").count == 3)
    }

    @Test func manyAtOnceIntoOneLayout() throws {
        let fixture = try Self.small()
        try fixture.berth("export", "dir:root", "oci:all:first")
        let running = try (0..<8).map { try fixture.command(["export", "dir:root", "oci:all:t\($0)"]).start() }
        for one in running { #expect(try one.wait().status == 0) }
        let tags = try fixture.manifests("all").compactMap {
            ($0["annotations"] as? [String: String])?["org.opencontainers.image.ref.name"]
        }
        #expect(Set(tags) == Set(["first"] + (0..<8).map { "t\($0)" }))
        #expect(try fixture.names("all") == ["blobs", "index.json", "oci-layout"])
    }

    /// A killed export leaves its draft next to the target. The next export to that directory removes it.
    @Test func whatAKilledExportLeftIsSwept() throws {
        let fixture = try Self.small()
        try fixture.shell(
            """
            mkdir -p out/.berth-export-dead/blobs out/.berth-export-young; touch out/.berth-export-dead/alive
            mkdir -p out/.berth-export-old; touch -d '2001-01-01 UTC' out/.berth-export-old
            touch out/.new.tar.berth-00112233 out/.other.tar.berth-001122334455 out/.my.berth-notes
            """)
        try fixture.berth("export", "dir:root", "oci:out/new")
        #expect(
            try fixture.names("out") == [
                ".berth-export-young", ".my.berth-notes", ".new.tar.berth-00112233", ".other.tar.berth-001122334455",
                "new",
            ])
        try fixture.berth("export", "dir:root", "oci-archive:out/new.tar")
        #expect(try fixture.names("out") == [".berth-export-young", ".my.berth-notes", "new", "new.tar"])
    }

    @Test func anExportThatIsKilledIsSweptByTheNext() throws {
        let fixture = try Self.small()
        try fixture.shell("mkdir out; head -c 200000000 /dev/urandom > root/big")
        for target in ["oci:out/new", "oci-archive:out/new.tar"] {
            let running = try fixture.command(["export", "dir:root", target]).start()
            try running.until("a draft") { _ in
                (try? fixture.names("out").contains { $0.contains("berth-") }) == true  // not there yet
            }
            running.signal(SIGKILL)
            _ = try running.wait()
            #expect(try fixture.names("out").contains { $0.contains("berth-") })
            try fixture.shell("rm -f root/big")
            try fixture.berth("export", "dir:root", target)
            #expect(try fixture.names("out").allSatisfy { !$0.contains("berth-") })
            try fixture.shell("head -c 200000000 /dev/urandom > root/big")
        }
    }

    @Test func refusalsLeaveNothing() throws {
        let fixture = try Self.small()
        try fixture.shell(
            "mkdir full; echo x > full/file; echo x > there.tar; mkdir bad; mkdir broken; "
                + "echo x > bad/.wh.x; echo '{' > broken/index.json; echo '{}' > broken/oci-layout")
        let before = try fixture.shell("find . -mindepth 1 -printf '%p %s %T@ %i\\n' | sort")
        #expect(try fixture.refusal("export", "dir:root", "oci:full").contains("not an OCI layout"))
        #expect(try fixture.refusal("export", "dir:root", "oci-archive:there.tar").contains("already exists"))
        #expect(try fixture.refusal("export", "dir:bad", "oci:new").contains("starts with .wh."))
        #expect(try fixture.refusal("export", "dir:bad", "oci-archive:new.tar").contains("starts with .wh."))
        #expect(try fixture.refusal("export", "dir:absent", "oci:new").contains("No such file"))
        #expect(try fixture.refusal("export", "dir:root", "oci:no/such/place").contains("create its directory first"))
        #expect(try fixture.refusal("export", "dir:root", "dir:new").contains("images are not written to"))
        #expect(try fixture.refusal("export", "dir:root", "docker-archive:x.tar").contains("images are not written to"))
        #expect(try fixture.refusal("export", "debian:12", "oci:new").contains("not in the store"))
        #expect(try fixture.refusal("export", "--compression", "lzw", "dir:root", "oci:new").contains("gzip, zstd"))
        #expect(try fixture.shell("find . -mindepth 1 -printf '%p %s %T@ %i\\n' | sort") == before)
        #expect(try fixture.refusal("export", "dir:root", "oci:broken").contains("is unreadable"))
        #expect(try fixture.names("broken") == ["index.json", "oci-layout"])
    }

    @Test(arguments: ["oci:new", "oci:old:big", "oci-archive:new.tar"], [SIGTERM, SIGINT])
    func anInterruptedExportLeavesNothing(_ destination: String, _ signal: Int32) throws {
        let fixture = try Self.small()
        try fixture.berth("export", "dir:root", "oci:old:one")
        // Takes long to read, but no space.
        try fixture.shell("mkdir big; truncate -s 200G big/zeros")
        let blobs = try fixture.names("old/blobs/sha256")
        let running = try fixture.command(["export", "dir:big", destination]).start()
        try running.until("a draft") { _ in
            let found = try? fixture.shell("find . -name '*berth-*' | head -n 1")
            return found?.isEmpty == false
        }
        running.signal(signal)
        let ended = try running.wait()
        #expect(ended.status == 128 + signal)
        #expect(ended.errors.contains("interrupted"))
        #expect(try fixture.names() == ["root", "old", "big"])
        #expect(try fixture.names("old") == ["blobs", "index.json", "oci-layout"])
        #expect(try fixture.names("old/blobs/sha256") == blobs)
    }

    @Test func whatAKilledExportLeftIsSweptByTheNext() throws {
        let fixture = try Self.small()
        try fixture.berth("export", "dir:root", "oci:old:one")
        try fixture.shell("mkdir big; truncate -s 200G big/zeros")
        let running = try fixture.command(["export", "dir:big", "oci:old:big"]).start()
        try running.until("a draft") { _ in
            (try? fixture.names("old"))?.contains { $0.hasPrefix(".berth-export-") } == true
        }
        // The draft of a running export stays.
        try fixture.berth("export", "dir:root", "oci:old:two")
        #expect(try fixture.names("old").count == 4)
        running.signal(SIGKILL)
        _ = try running.wait()
        try fixture.berth("export", "dir:root", "oci:old:three")
        #expect(try fixture.names("old") == ["blobs", "index.json", "oci-layout"])
    }

    @Test func anArchiveIsAnImageToo() throws {
        let fixture = try Self.small()
        let name = try fixture.berth("export", "-q", "dir:root", "oci-archive:out.tar:a").output
        #expect(name.hasPrefix("oci-archive:\(fixture.path)/out.tar:a@sha256:"))
        try fixture.berth("pull", "-q", "oci-archive:out.tar:a")
        let tree = try #require(fixture.trees("oci-archive:out.tar:a").first)
        #expect(try fixture.listing([tree]) == fixture.listing([fixture.path + "/root"]))
        #expect(try fixture.names().filter { $0.contains("berth-") }.isEmpty)
        // From one store into another, with an upper directory that only contains deletions.
        _ = try fixture.change("oci-archive:out.tar:a", "upper", "rm -r etc")
        try fixture.berth("export", "--upper", "upper", "oci-archive:out.tar:a", "oci-archive:less.tar")
        try fixture.berth("pull", "-q", "oci-archive:less.tar")
        #expect(try fixture.listing(fixture.trees("oci-archive:less.tar")) == "")
    }

    @Test func anInterruptedPushEnds() throws {
        let fixture = try Self.small()
        // Takes an upload and never answers.
        try fixture.place.write(
            """
            import http.server, time
            class Handler(http.server.BaseHTTPRequestHandler):
                def answer(self, status, *headers):
                    self.send_response(status)
                    for name, value in headers: self.send_header(name, value)
                    self.send_header('Content-Length', '0'); self.end_headers()
                def do_HEAD(self): self.answer(404)
                def do_POST(self): self.answer(202, ('Location', '/upload/1'))
                def do_PUT(self): open('reached', 'w').close(); time.sleep(600)
                def log_message(self, *words): pass
            server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
            open('port.new', 'w').write(str(server.server_port))
            import os; os.rename('port.new', 'port')
            server.serve_forever()
            """, to: "server.py")
        let server = try Command(["python3", "server.py"], directory: fixture.path, secondsAllowed: 120).start()
        defer {
            server.signal(SIGKILL)
            _ = try? server.wait()
        }
        try server.until("a server") { _ in fixture.place.exists("port") }
        let port = fixture.place.text("port") ?? ""
        let running = try fixture.command(["export", "dir:root", "docker://127.0.0.1:\(port)/team/app:1"]).start()
        try running.until("an upload") { _ in fixture.place.exists("reached") }
        running.signal(SIGTERM)
        let ended = try running.wait()
        #expect(ended.status == 128 + SIGTERM)
        #expect(ended.errors.contains("interrupted"))
        #expect(try fixture.names() == ["root", "server.py", "port", "reached"])
    }

    @Test func whatIsMountedInATreeIsNotItsOwn() throws {
        let fixture = try Self.small()
        try fixture.shell(
            #"""
            mkdir -p root/mnt root/same inside; echo x > inside/x; echo host > other; touch root/etc/two
            unshare --user --map-root-user --mount bash -euc '
                mount -t tmpfs none root/mnt; echo hidden > root/mnt/x
                mount --bind inside root/same; mount --bind other root/etc/two
                "$1" export dir:root oci:out 2> said' bash "$1"
            """#, Fixture.program)
        #expect(fixture.place.text("said")?.contains("3 things mounted over the image's own were left out") == true)
        try fixture.berth("pull", "-q", "oci:out")
        let tree = try #require(fixture.trees("oci:out").first)
        #expect(try fixture.shell("cd \"$1\" && find . | sort", tree) == ".\n./etc\n./etc/one\n./mnt\n./same\n")
    }

    @Test func overlaysOtherMarks() throws {
        let fixture = try Self.small()
        try fixture.berth("export", "dir:root", "oci:base")
        try fixture.berth("pull", "-q", "oci:base")
        // Whiteouts as files, as overlayfs creates them where it cannot create devices.
        try fixture.shell(
            "mkdir -p upper/etc; touch upper/etc/one; setfattr -n user.overlay.whiteout -v y upper/etc/one; "
                + "setfattr -n user.overlay.opaque -v x upper/etc; setfattr -n user.overlay.origin -v x upper/etc")
        try fixture.berth("export", "--upper", "upper", "--compression", "none", "oci:base", "oci:saved")
        let blobs = try fixture.manifest("saved", "latest")["layers"] as? [[String: Any]] ?? []
        let top = (blobs.last?["digest"] as? String ?? "").replacingOccurrences(of: ":", with: "/")
        #expect(try fixture.shell("tar -tf saved/blobs/\(top)") == "etc/\netc/.wh.one\n")
        #expect(try !fixture.shell("grep -c overlay saved/blobs/\(top) || :").hasPrefix("1"))
        // A file or directory with a part of its content elsewhere.
        try fixture.shell("mkdir upper/moved; setfattr -n user.overlay.redirect -v /etc upper/moved")
        #expect(
            try fixture.refusal("export", "--upper", "upper", "oci:base", "oci:new").contains("user.overlay.redirect"))
        #expect(try !fixture.names().contains("new"))
    }
}
