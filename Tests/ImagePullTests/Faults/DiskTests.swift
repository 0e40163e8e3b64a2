import Foundation
import ImageSpec
import Store
import TestSupport
import Testing

/// A disk that is full, broken or read-only, met by the shipped program.
@Suite(.serialized, .enabled(if: Program.isBuilt)) struct DiskTests {
    // MARK: Full

    /// The size of the tmpfs that the store is on, and how many files it takes.
    static let sizes: [(String, String)] =
        ["12k", "40k", "100k", "300k", "700k", "1200k", "2500k", "3300k", "4200k"].map { ($0, "100000") }
        + ["9", "14", "20", "60", "150", "250", "262"].map { ("20m", $0) }

    @Test(.enabled(if: Program.isRoot, "mounts a tmpfs: root only"), arguments: sizes)
    func aFullDiskLeavesNothingHalf(_ limit: (size: String, inodes: String)) throws {
        let scene = try Scene(.sample())
        try scene.place.makeDirectory("disk")
        // What is to be seen of it afterwards is said by the script: the mount is its own.
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

    // MARK: Broken

    struct Call: Sendable, CustomTestStringConvertible {
        let name: String
        let error: String
        /// Whether some of its failures may be passed over, being advice or tidying.
        var mayBeDoneWithout = false
        var testDescription: String { name + " " + error }
    }

    static let calls: [Call] = [
        Call(name: "write", error: "EIO", mayBeDoneWithout: true),
        Call(name: "write", error: "EDQUOT", mayBeDoneWithout: true),
        Call(name: "write", error: "ENOSPC", mayBeDoneWithout: true),
        Call(name: "openat", error: "EDQUOT", mayBeDoneWithout: true),
        Call(name: "mkdirat", error: "EDQUOT", mayBeDoneWithout: true),
        Call(name: "fallocate", error: "ENOSPC"),
        Call(name: "fchmod", error: "EIO", mayBeDoneWithout: true),
        Call(name: "utimensat", error: "EIO"),
        Call(name: "linkat", error: "EIO", mayBeDoneWithout: true),
        // Not made where the neighbours have much to write.
        Call(name: "syncfs", error: "EIO", mayBeDoneWithout: true),
        Call(name: "syncfs", error: "ENOSPC", mayBeDoneWithout: true),
        Call(name: "renameat", error: "EIO"),
        Call(name: "renameat2", error: "EIO"),
        Call(name: "unlinkat", error: "EIO", mayBeDoneWithout: true),
    ]

    /// Each of the first calls fails once, in whichever thread makes it; then the pull is made again.
    @Test(.enabled(if: KillTests.hasStrace, "needs strace"), arguments: calls)
    func aCallThatFailsLeavesNothingHalf(_ call: Call) throws {
        let scene = try Scene(.sample(layers: 2, files: 12, largest: 5 << 20, isFlattened: true))
        let quiet = try scene.pull(store: scene.place.path + "/quiet").run()
        try #require(quiet.status == 0, "\(quiet)")
        let expected = try scene.images(in: scene.place.path + "/quiet")
        var failures = 0
        for number in [1, 2, 3, 4, 6, 9, 14, 21, 30] {
            let store = "\(scene.place.path)/store-\(number)"
            let trace = [
                "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(call.name)", "-e",
                "inject=\(call.name):error=\(call.error):when=\(number)",
            ]
            let ended = try scene.pull(through: trace, store: store).run()
            let context: Comment = "\(call) no. \(number): \(ended)"
            #expect((ended.signal == nil || ended.isRefusedByDispatch) && !ended.timedOut, context)
            if ended.isRefusedByDispatch {
                failures += 1
            } else if ended.status == 0 {
                #expect(try scene.images(in: store) == expected, context)
            } else {
                failures += 1
                #expect(ended.status == 125, context)
                // The message itself is written, too.
                #expect(ended.errors.contains("berth: ") || call.name == "write", context)
                // What is to be seen is whole: the image itself may be there, where only naming it failed.
                for (digest, prints) in try scene.images(in: store) { #expect(prints == expected[digest], context) }
            }
            let again = try scene.pull(store: store).run()
            #expect(again.status == 0, "\(context)\nagain: \(again)")
            #expect(try scene.images(in: store) == expected, context)
            let pruned = try Program.command(["prune", "--store", store], home: scene.place.path).run()
            #expect(pruned.status == 0, "\(pruned)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: store + "/drafts") == [], context)
        }
        if !call.mayBeDoneWithout { #expect(failures > 0, "\(call) was never made, or nobody minds") }
    }

    /// For the site's store the disk is always waited for, and nothing is to be seen of what it did not take.
    @Test(.enabled(if: KillTests.hasStrace, "needs strace"), arguments: ["EIO", "ENOSPC"])
    func whatTheDiskDidNotTakeIsNotSharedWithAnybody(_ error: String) throws {
        let scene = try Scene(.sample(layers: 1, files: 12, largest: 100))
        let shared = scene.place.path + "/shared"
        try scene.place.write("system-store = \(shared)\n", to: "berth.conf")
        let trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:error=\(error)"]
        let failed = try Program.command(
            ["pull", "-q", "--system", scene.source()], home: scene.place.path, through: trace
        ).run()
        #expect(failed.status == 125 && failed.errors.contains("syncfs"), "\(failed)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: shared + "/layers") == [])
        let again = try Program.command(["pull", "-q", "--system", scene.source()], home: scene.place.path).run()
        #expect(again.status == 0, "\(again)")
        #expect(try scene.images(in: shared).count == 1)
    }

    /// What is found out only after it was published is gone again for everybody.
    @Test(.enabled(if: KillTests.hasStrace, "needs strace"))
    func whatTheDiskDidNotTakeAfterwardsIsMissing() throws {
        let scene = try Scene(.sample(layers: 1, files: 12, largest: 100))
        let pulled = try scene.pull().run()
        #expect(pulled.status == 0, "\(pulled)")
        // As it is where nobody has waited for the disk yet.
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
        #expect(ended.errors.hasPrefix("berth: the store can not be written to"), "\(ended)")
        #expect(ended.errors.contains("read-only file system"), "\(ended)")
    }
}
