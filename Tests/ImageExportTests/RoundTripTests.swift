import Foundation
import TestSupport
import Testing

/// An exported and imported image is unchanged.
@Suite(.serialized) struct RoundTripTests {
    @Test func aDirectoryBecomesAnImageAndATreeAgain() throws {
        let fixture = try Fixture()
        try awkwardTree(fixture, "root")
        let before = try fixture.listing([fixture.path + "/root"])
        #expect(before.contains("opt/new?line"))
        for compression in ["gzip", "zstd", "none"] {
            try fixture.berth("export", "--compression", compression, "dir:root", "oci:out:\(compression)")
            try fixture.berth("pull", "-q", "oci:out:\(compression)", store: "store-\(compression)")
            let trees = try fixture.trees("oci:out:\(compression)", store: "store-\(compression)")
            #expect(trees.count == 1)
            #expect(try fixture.listing(trees) == before)
        }
        // The same layer for all compressions.
        let diffIDs = try ["gzip", "zstd", "none"].map { tag in
            (try fixture.config("out", tag)["rootfs"] as? [String: Any])?["diff_ids"] as? [String]
        }
        #expect(Set(diffIDs).count == 1)
    }

    @Test(.enabled(if: Fixture.has("skopeo") && Fixture.has("umoci"))) func othersReadIt() throws {
        let fixture = try Fixture()
        try awkwardTree(fixture, "root")
        try fixture.berth("export", "dir:root", "oci:out:one")
        try fixture.berth("export", "dir:root", "oci-archive:out.tar:one")
        let inspected = try fixture.shell("skopeo inspect oci:out:one && skopeo inspect oci-archive:out.tar:one")
        #expect(inspected.contains("\"Layers\""))
        // Copying verifies digests and compresses again.
        try fixture.shell("skopeo --insecure-policy copy -q oci-archive:out.tar:one dir:copied")
        try fixture.shell("umoci unpack --rootless --image out:one bundle")
        // umoci preserves names that are not UTF-8, and restores modes, times and links.
        #expect(try fixture.listing([fixture.path + "/bundle/rootfs"]) == fixture.listing([fixture.path + "/root"]))
        let tar = try fixture.shell("tar -xOf out.tar index.json")
        #expect(tar.contains("org.opencontainers.image.ref.name"))
    }

    static let changes = #"""
        rm opt/gone etc/shadow
        rm -r opt/data && mkdir opt/data && echo new > opt/data/c
        rm -r opt/other
        echo more >> usr/bin/tool
        echo added > usr/lib/added; ln usr/lib/added usr/lib/again
        rm opt/dangling && mkdir opt/dangling && echo in > opt/dangling/in
        rm -r tmp && echo file > tmp
        mv opt/large opt/moved
        mkdir -m 700 opt/private; setfattr -n user.mine -v 1 opt/private
        rm opt/old; touch -d '1999-09-09 09:09:09.5 UTC' opt/old
        rm $'opt/\xff\xfe' $'opt/new\nline'
        """#

    @Test func changesSurviveOverLayersWrittenAnew() throws {
        let fixture = try Fixture()
        try awkwardTree(fixture, "root")
        try fixture.berth("export", "dir:root", "oci:base")
        try fixture.berth("pull", "-q", "oci:base")
        let merged = try fixture.change("oci:base", "upper", Self.changes)
        #expect(!merged.contains("opt/gone") && merged.contains("opt/data/c") && !merged.contains("opt/data/a"))
        try fixture.berth("export", "--upper", "upper", "oci:base", "oci:saved:x")
        let manifest = try fixture.manifest("saved", "x")
        #expect((manifest["layers"] as? [Any])?.count == 2)
        #expect(manifest["mediaType"] as? String == "application/vnd.oci.image.manifest.v1+json")
        try fixture.berth("pull", "-q", "oci:saved:x", store: "second")
        #expect(try fixture.listing(fixture.trees("oci:saved:x", store: "second")) == merged)
    }

    @Test func layersThatAreThereAreNamedAsTheyAre() throws {
        let fixture = try Fixture()
        try awkwardTree(fixture, "root")
        try fixture.berth("export", "--compression", "zstd", "dir:root", "oci:images:base")
        try fixture.berth("pull", "-q", "oci:images:base")
        let blobs = try fixture.names("images/blobs/sha256")
        let merged = try fixture.change("oci:images:base", "upper", Self.changes)
        let ended = try fixture.berth("export", "--upper", "upper", "oci:images:base", "oci:images:next")
        #expect(ended.errors.contains("2 layers, 1 of them there already"))
        // A layer, a configuration and a manifest.
        #expect(try fixture.names("images/blobs/sha256").subtracting(blobs).count == 3)
        try fixture.berth("pull", "-q", "oci:images:next", store: "second")
        #expect(try fixture.listing(fixture.trees("oci:images:next", store: "second")) == merged)
        // Again on top of that.
        try fixture.berth("pull", "-q", "oci:images:next")
        let twice = try fixture.change(
            "oci:images:next", "upper2", "rm -r opt/data; mkdir opt/data; echo 3 > etc/three")
        try fixture.berth("export", "--upper", "upper2", "oci:images:next", "oci:images:third")
        try fixture.berth("pull", "-q", "oci:images:third", store: "third")
        #expect(try fixture.listing(fixture.trees("oci:images:third", store: "third")) == twice)
        let config = try fixture.config("images", "third")
        #expect((config["history"] as? [Any])?.count == 3)
    }

    @Test(.enabled(if: Fixture.has("umoci"))) func umociSeesTheSameChanges() throws {
        let fixture = try Fixture()
        try awkwardTree(fixture, "root")
        try fixture.berth("export", "dir:root", "oci:base")
        try fixture.berth("pull", "-q", "oci:base")
        let merged = try fixture.change("oci:base", "upper", Self.changes)
        try fixture.berth("export", "--upper", "upper", "oci:base", "oci:saved:x")
        try fixture.shell("umoci unpack --rootless --image saved:x bundle")
        #expect(try fixture.listing([fixture.path + "/bundle/rootfs"]) == merged)
    }

    @Test func theConfigurationStaysTheImages() throws {
        let fixture = try Fixture()
        try awkwardTree(fixture, "root")
        try fixture.berth("export", "dir:root", "oci:base")
        try fixture.shell(
            #"""
            python3 - <<'END'
            import json, hashlib, os
            index = json.load(open('base/index.json'))
            def blob(d): return 'base/blobs/' + d['digest'].replace(':', '/')
            def put(o):
                b = json.dumps(o).replace('"exact": 0', '"exact": 0.12345678901234567890123').encode(); h = hashlib.sha256(b).hexdigest()
                open('base/blobs/sha256/' + h, 'wb').write(b)
                return {'digest': 'sha256:' + h, 'size': len(b)}
            m = json.load(open(blob(index['manifests'][0])))
            c = json.load(open(blob(m['config'])))
            c['config'] = {'Env': ['A=b'], 'Cmd': ['/usr/bin/tool'], 'Labels': {'l': 'm'}, 'OnBuild': ['x']}
            c['strange'] = {'n': 1.5, 'exact': 0, 'whole': 12345678901234567890}
            c['author'] = 'me'
            c['history'] = [{'created_by': 'first'}, {'created_by': 'ENV', 'empty_layer': True}]
            m['config'].update(put(c))
            index['manifests'][0].update(put(m))
            json.dump(index, open('base/index.json', 'w'))
            END
            """#)
        try fixture.berth("pull", "-q", "oci:base")
        _ = try fixture.change("oci:base", "upper", "echo 1 > etc/new")
        try fixture.berth("export", "--upper", "upper", "oci:base", "oci:saved")
        let config = try fixture.config("saved", "latest")
        #expect(config["author"] as? String == "me")
        #expect((config["strange"] as? [String: Any])?["n"] as? Double == 1.5)
        // Compare digits, because this test's parser may use another number type.
        for number in [#""exact":0.12345678901234567890123"#, #""whole":12345678901234567890"#] {
            try fixture.shell("cat saved/blobs/sha256/* | grep -aqF '\(number)'")
        }
        let execution = config["config"] as? [String: Any]
        #expect(execution?["OnBuild"] as? [String] == ["x"])
        #expect(execution?["Cmd"] as? [String] == ["/usr/bin/tool"])
        let history = config["history"] as? [[String: Any]] ?? []
        #expect(history.map { $0["created_by"] as? String } == ["first", "ENV", "berth export"])
        // A single layer of other files with the same configuration.
        try fixture.berth("export", "--root", "root", "oci:base", "oci:saved:flat")
        let flat = try fixture.config("saved", "flat")
        #expect(((flat["rootfs"] as? [String: Any])?["diff_ids"] as? [Any])?.count == 1)
        #expect((flat["config"] as? [String: Any])?["OnBuild"] as? [String] == ["x"])
    }

    @Test func theSameTwice() throws {
        let fixture = try Fixture()
        try awkwardTree(fixture, "root")
        try fixture.berth("export", "dir:root", "oci:base")
        try fixture.berth("pull", "-q", "oci:base")
        _ = try fixture.change("oci:base", "upper", Self.changes)
        for compression in ["gzip", "zstd", "none"] {
            let names = try ["a", "b"].map { layout in
                try fixture.berth(
                    "export", "-q", "--compression", compression, "--upper", "upper", "oci:base",
                    "oci:\(layout)-\(compression)"
                ).output.split(separator: "@").last
            }
            #expect(names[0] == names[1])
            #expect(
                try fixture.names("a-\(compression)/blobs/sha256") == fixture.names("b-\(compression)/blobs/sha256"))
        }
    }

    @Test func nothingChangedIsALayerToo() throws {
        let fixture = try Fixture()
        try awkwardTree(fixture, "root")
        try fixture.berth("export", "dir:root", "oci:base")
        try fixture.berth("pull", "-q", "oci:base")
        try fixture.place.makeDirectory("upper")
        try fixture.berth("export", "--upper", "upper", "oci:base", "oci:saved")
        try fixture.berth("pull", "-q", "oci:saved", store: "second")
        let trees = try fixture.trees("oci:saved", store: "second")
        #expect(try fixture.listing(trees) == fixture.listing([fixture.path + "/root"]))
    }

    /// As an ordinary user: images of Red Hat's distributions contain files of mode 000.
    @Test(.enabled(if: geteuid() == 0)) func aUserExportsWhatHeMayNotRead() throws {
        let fixture = try Fixture()
        try fixture.shell(
            #"""
            mkdir user; chown 65534:65534 user; cp "$1" user/berth-image; chmod 755 user/berth-image
            cat > user/run <<'END'
            set -eu
            cd "$(dirname "$0")"
            export HOME=$PWD BERTH_STORE=$PWD/store
            mkdir -p root/etc root/locked
            echo secret > root/etc/shadow; chmod 000 root/etc/shadow
            echo in > root/locked/in; chmod 000 root/locked
            unshare --user true || { echo SKIPPED: no user namespaces; exit 0; }
            ./berth-image export -q dir:root oci:out
            END
            """#, Fixture.program)
        let output = try fixture.shell("setpriv --reuid 65534 --regid 65534 --clear-groups bash user/run")
        if output.contains("SKIPPED") { return }
        try fixture.berth("pull", "-q", "oci:user/out")
        let tree = try #require(fixture.trees("oci:user/out").last)
        #expect(try fixture.shell("cat \"$1/etc/shadow\" \"$1/locked/in\"", tree) == "secret\nin\n")
        #expect(try fixture.shell("stat -c %u:%g \"$1/etc/shadow\"", tree) == "0:0\n")
    }
}
