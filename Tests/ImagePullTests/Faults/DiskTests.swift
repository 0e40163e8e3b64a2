import Foundation
import ImageSpec
import Store
import TestSupport
import Testing

/// The built program with a disk that is full, faulty or read-only.
@Suite(.serialized, .enabled(if: Program.isBuilt)) struct DiskTests {
    // MARK: Full

    /// The size of the store's tmpfs, and its number of inodes.
    static let sizes: [(String, String)] =
        ["12k", "40k", "100k", "300k", "700k", "1200k", "2500k", "3300k", "4200k"].map { ($0, "100000") }
        + ["9", "14", "20", "60", "150", "250", "262"].map { ("20m", $0) }

    @Test(.enabled(if: Program.isRoot, "mounts a tmpfs: root only"), arguments: sizes)
    func aFullDiskLeavesNothingHalf(_ limit: (size: String, inodes: String)) throws {
        let scene = try Scene(.sample())
        try scene.place.makeDirectory("disk")
        // The script prints the state, because the mount is in its own namespace.
        let script = """
            mount -t tmpfs -o size=\(limit.size),nr_inodes=\(limit.inodes) none disk
            set +e
            "$@" --store "$PWD/disk/store" "$SOURCE" >out 2>err
            echo status $?
            echo drafts $(ls disk/store/drafts 2>/dev/null | wc -l)
            echo images $(ls disk/store/images 2>/dev/null | wc -l)
            mount -o remount,size=40m,nr_inodes=100000 disk
            "$@" --store "$PWD/disk/store" "$SOURCE" >/dev/null 2>err2
            echo again $?
            echo images $(ls disk/store/images | wc -l)
            find disk/store/layers -size 0 ! -name f0 -type f | head -n 3
            """
        var command = try Program.command(
            ["pull", "-q"], home: scene.place.path, through: ["unshare", "-m", "/bin/sh", "-ec", script, "sh"],
            environment: ["SOURCE": scene.source()])
        command.directory = scene.place.path
        let ended = try command.run()
        let context: Comment = "\(limit): \(ended)\n\(scene.place.text("err") ?? "")\(scene.place.text("err2") ?? "")"
        let lines = ended.lines
        try #require(lines.count == 5, context)
        if lines[0] == "status 0" {
            #expect(Array(lines[1...2]) == ["drafts 0", "images 1"], context)
        } else {
            #expect(Array(lines[0...2]) == ["status 125", "drafts 0", "images 0"], context)
            let told = scene.place.text("err") ?? ""
            #expect(told.hasPrefix("berth: ") && told.contains("(ENOSPC)") && told.contains("hint: "), context)
            #expect(told.contains("disk/store"), context)
        }
        #expect(Array(lines[3...]) == ["again 0", "images 1"], context)
    }

    /// A full blob cache must not prevent a pull.
    @Test(.enabled(if: Program.isRoot, "mounts a tmpfs: root only"), arguments: ["0", "40k", "1m", "3m", "40m"])
    func aFullBlobCacheIsDoneWithout(_ size: String) throws {
        let scene = try Scene(.sample())
        let registry = try SlowRegistry(scene, bytesPerSecond: 1 << 30)
        defer { registry.stop() }
        try scene.place.makeDirectory("cache")
        let script = """
            mount -t tmpfs -o \(size == "0" ? "size=40m,nr_inodes=2" : "size=" + size) none cache
            "$@" --store "$PWD/one" \(registry.reference("one")) >/dev/null
            "$@" --store "$PWD/two" \(registry.reference("one")) >/dev/null
            ls cache/blobs 2>/dev/null | wc -l
            ls cache/partial 2>/dev/null | wc -l
            """
        var command = try Program.command(
            ["pull", "-q", "--blob-cache", "cache"], home: scene.place.path,
            through: ["unshare", "-m", "/bin/sh", "-ec", script, "sh"], environment: registry.environment)
        command.directory = scene.place.path
        let ended = try command.run()
        #expect(ended.status == 0, "\(size): \(ended)")
        for store in ["one", "two"] { #expect(try scene.images(in: "\(scene.place.path)/\(store)").count == 1) }
        let blobs = registry.requests.count { $0.contains("/blobs/") }
        // Three layers and the configuration, which is never cached; each once, twice, or some of them.
        #expect((5...10).contains(blobs), "\(size): \(registry.requests)")
        if size == "40m" {
            #expect(ended.lines == ["3", "0"] && blobs == 5, "\(ended) \(registry.requests)")
        }
    }

    /// Pulls into the site's store always flush, and what the disk did not store stays invisible.
    @Test(.enabled(if: KillTests.hasStrace, "needs strace"), arguments: ["EIO", "ENOSPC"])
    func whatTheDiskDidNotTakeIsNotSharedWithAnybody(_ error: String) throws {
        let scene = try Scene(.sample(layers: 1, files: 12, largest: 100))
        let shared = scene.place.path + "/shared"
        try scene.place.write("system-store = \(shared)\n", to: "berth.conf")
        let trace = [
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:error=\(error)",
        ]
        let failed = try Program.command(
            ["pull", "-q", "--system", scene.source()], home: scene.place.path, through: trace
        ).run()
        #expect(failed.status == 125 && failed.errors.contains("syncfs"), "\(failed)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: shared + "/layers") == [])
        let again = try Program.command(["pull", "-q", "--system", scene.source()], home: scene.place.path).run()
        #expect(again.status == 0, "\(again)")
        #expect(try scene.images(in: shared).count == 1)
    }

    /// A write error that occurs after publishing makes the image invisible again.
    @Test(.enabled(if: KillTests.hasStrace, "needs strace"))
    func whatTheDiskDidNotTakeAfterwardsIsMissing() throws {
        let scene = try Scene(.sample(layers: 1, files: 12, largest: 100))
        let pulled = try scene.pull().run()
        #expect(pulled.status == 0, "\(pulled)")
        // The state before the flush.
        let boot = try String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8).prefix { $0 != "\n" }
        let layers = try FileManager.default.contentsOfDirectory(atPath: scene.store + "/layers")
        let images = try FileManager.default.contentsOfDirectory(atPath: scene.store + "/images")
        for layer in layers {
            try scene.place.write(String(boot), to: "store/layers/\(layer)/boot")
            try scene.place.write("", to: "store/unsettled/layers.\(layer)")
        }
        for image in images {
            let record = "store/images/\(image)/record"
            let text = try #require(scene.place.text(record))
            try scene.place.write(text + (text.contains("\0boot=") ? "" : "boot=\(boot)\0"), to: record)
            try scene.place.write("", to: "store/unsettled/images.\(image)")
        }
        #expect(try scene.images().count == 1)
        let trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:error=EIO"]
        let failed = try Program.command(
            ["prune", "--store", scene.store], home: scene.place.path, through: trace
        ).run()
        #expect(failed.status == 125 && failed.errors.contains("syncfs"), "\(failed)")
        #expect(try scene.images() == [:])
        let again = try scene.pull().run()
        #expect(again.status == 0, "\(again)")
        #expect(try scene.images().count == 1)
    }

    // MARK: Read-only

    @Test(.enabled(if: Program.isRoot, "mounts: root only"), arguments: [true, false])
    func aReadOnlyStoreIsSaidToBeOne(_ isThere: Bool) throws {
        let scene = try Scene(.sample(layers: 1, files: 3, largest: 10))
        try scene.place.makeDirectory("store")
        if isThere {
            #expect(try Program.command(["prune", "--store", scene.store], home: scene.place.path).run().status == 0)
        }
        let script = "mount --bind store store && mount -o remount,ro,bind store && exec \"$@\""
        var command = try scene.pull(through: ["unshare", "-m", "/bin/sh", "-ec", script, "sh"])
        command.directory = scene.place.path
        let ended = try command.run()
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.hasPrefix("berth: cannot write to the store"), "\(ended)")
        #expect(ended.errors.contains("read-only file system"), "\(ended)")
    }
}
