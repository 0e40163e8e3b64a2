import Foundation
import ImageSpec
import TestSupport
import Testing

/// Injects failures of system calls, as disks, quotas and servers cause them, into the built program.
@Suite(.serialized, .enabled(if: Program.isBuilt && KillTests.hasStrace, "needs strace")) struct CallTests {
    struct Call: Sendable, CustomTestStringConvertible {
        let name: String
        let error: String
        /// Whether some failures may be ignored, because the call is optional.
        var mayBeDoneWithout = false
        var testDescription: String { name + " " + error }

        /// Whether the message has the reason and the path: below the scene, or an entry of a layer.
        func isTold(in text: String, _ scene: Scene) -> Bool {
            text.hasPrefix("berth: ")
                && (text.contains("(\(error))") || error == "EROFS" && text.contains("is on a read-only"))
                && (text.contains(scene.place.path) || text.contains("entry ")
                    || text.contains("configuration /dev/null") || text.contains("configuration /etc/berth/"))
        }
    }

    static let calls: [Call] = [
        Call(name: "write", error: "EIO", mayBeDoneWithout: true),
        Call(name: "write", error: "EDQUOT", mayBeDoneWithout: true),
        Call(name: "write", error: "ENOSPC", mayBeDoneWithout: true),
        Call(name: "openat", error: "EDQUOT", mayBeDoneWithout: true),
        Call(name: "mkdirat", error: "EDQUOT", mayBeDoneWithout: true),
        Call(name: "fchmod", error: "EIO", mayBeDoneWithout: true),
        Call(name: "utimensat", error: "EIO"),
        Call(name: "linkat", error: "EIO", mayBeDoneWithout: true),
        // Skipped if other processes have much to write.
        Call(name: "syncfs", error: "EIO", mayBeDoneWithout: true),
        Call(name: "syncfs", error: "ENOSPC", mayBeDoneWithout: true),
        Call(name: "renameat", error: "EIO"),
        Call(name: "renameat2", error: "EIO"),
        Call(name: "unlinkat", error: "EIO", mayBeDoneWithout: true),
        Call(name: "ftruncate", error: "EIO"),
        Call(name: "ftruncate", error: "ENOSPC"),
        Call(name: "symlinkat", error: "EDQUOT"),
        Call(name: "mknodat", error: "ENOSPC"),
        Call(name: "fsetxattr", error: "EIO"),
        Call(name: "fchown", error: "EDQUOT", mayBeDoneWithout: true),
    ]

    /// Fails each of the first calls once, in any thread, then pulls again.
    @Test(.enabled(if: KillTests.hasStrace, "needs strace"), arguments: calls)
    func aCallThatFailsLeavesNothingHalf(_ call: Call) throws {
        let scene = try Scene(.ofManyCalls())
        let quiet = try scene.pull(store: scene.place.path + "/quiet").run()
        try #require(quiet.status == 0, "\(quiet)")
        let expected = try scene.images(in: scene.place.path + "/quiet")
        var failures = 0
        for number in [1, 2, 3, 5, 8, 13] {
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
                // `write` also prints the message itself.
                #expect(call.name == "write" || call.isTold(in: ended.errors, scene), context)
                // Visible images are complete. The image may be visible if only adding its name failed.
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

    static let tidying: [Call] = [
        Call(name: "unlinkat", error: "EIO", mayBeDoneWithout: true),
        Call(name: "renameat", error: "EIO"), Call(name: "renameat", error: "EROFS"),
        Call(name: "getdents64", error: "EIO", mayBeDoneWithout: true),
        Call(name: "syncfs", error: "EIO", mayBeDoneWithout: true),
    ]

    /// Images are moved away as a whole, and the next command removes what could not be removed.
    @Test(arguments: tidying, ["prune", "rmi"])
    func aCallThatFailsWhileTidyingLeavesNothingHalf(_ call: Call, _ verb: String) throws {
        let scene = try Scene(.sample(layers: 2, files: 5, largest: 10))
        try scene.add(.ofManyCalls(largest: 10), "flat")
        func pullBoth(_ store: String) throws {
            for tag in ["one", "flat"] { #expect(try scene.pull(tag, store: store).run().status == 0) }
        }
        let quiet = scene.place.path + "/quiet"
        try pullBoth(quiet)
        let expected = try scene.images(in: quiet)
        var failures = 0
        for number in [1, 2, 3, 5, 8] {
            let store = "\(scene.place.path)/store-\(number)"
            try pullBoth(store)
            let trace = [
                "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(call.name)", "-e",
                "inject=\(call.name):error=\(call.error):when=\(number)",
            ]
            let words = verb == "prune" ? ["--all"] : ["oci:\(scene.layout)/one"]
            let ended = try Program.command(
                [verb, "--store", store] + words, home: scene.place.path, through: trace
            ).run()
            let context: Comment = "\(verb) \(call) no. \(number): \(ended)"
            if ended.status != 0 {
                failures += 1
                #expect(ended.status == 125 && call.isTold(in: ended.errors, scene), context)
            }
            for (digest, prints) in try scene.images(in: store) { #expect(prints == expected[digest], context) }
            let pruned = try Program.command(["prune", "--all", "--store", store], home: scene.place.path).run()
            #expect(pruned.status == 0, "\(context)\n\(pruned)")
            #expect(try scene.images(in: store).isEmpty && scene.garbage(in: store) == [], context)
        }
        if !call.mayBeDoneWithout { #expect(failures > 0, "\(call) was never made, or nobody minds") }
    }

    /// An incomplete listing is an error, never a short list: nothing in use or with a name may be removed.
    @Test(.enabled(if: KillTests.hasStrace, "needs strace"), arguments: ["EIO", "ESTALE"], ["prune", "export"])
    func aListingThatBreaksOffIsNotBelieved(_ error: String, _ verb: String) throws {
        let scene = try Scene(.sample(layers: 2, files: 5, largest: 10))
        #expect(try scene.pull("one").run().status == 0)
        let expected = try scene.images()
        var failures = 0
        for number in 1...16 {
            let trace = [
                "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=getdents64", "-e",
                "inject=getdents64:error=\(error):when=\(number)",
            ]
            let target = "\(scene.place.path)/out-\(number)"
            let words = verb == "prune" ? [] : [scene.source("one"), "oci:" + target]
            let ended = try Program.command(
                [verb, "--store", scene.store] + words, home: scene.place.path, through: trace
            ).run()
            let context: Comment = "\(verb) \(error) no. \(number): \(ended)"
            #expect(try scene.images() == expected, context)
            if ended.status != 0 {
                failures += 1
                #expect(ended.status == 125, context)
                #expect(!FileManager.default.fileExists(atPath: target), context)
            }
        }
        #expect(failures > 1, "no listing is an error")
    }
}

extension LocalImage {
    /// Two layers that need almost all calls: large and sparse files, both types of links, a whiteout, an opaque
    /// directory, an attribute. Flattened because of a link into the lower layer.
    static func ofManyCalls(largest: Int = 5 << 20) -> LocalImage {
        var image = sample(layers: 2, files: 8, largest: largest, isFlattened: true)
        let names = (0..<6).map { "link\($0)" }
        let below: [Item] = [.dir("e"), .dir("o")] + names.map { .symlink("e", "e/" + $0) } + [.file("o/old", "x")]
        image.layers.insert(archive(below), at: 0)
        var sparse = TarWriter()
        for file in 0..<4 {
            sparse.pax([
                ("GNU.sparse.major", Array("1".utf8)), ("GNU.sparse.minor", Array("0".utf8)),
                ("GNU.sparse.name", Array("e/sparse\(file)".utf8)), ("GNU.sparse.realsize", Array("1048576".utf8)),
                ("SCHILY.xattr.user.a", [1, 2, 3]),
            ])
            let map = Array("1\n4096\n5\n".utf8)
            let data = map + [UInt8](repeating: 0, count: 512 - map.count) + Array("holes".utf8)
            sparse.add(.init(name: Array("GNUSparseFile.0/s".utf8), size: Int64(data.count)), data)
        }
        sparse.bytes += archive([.file("o/.wh..wh..opq"), .file("o/new", "y")] + names.map { .file("e/.wh." + $0) })
        image.layers.append(sparse.bytes)
        return image
    }
}
