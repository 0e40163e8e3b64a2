import Foundation
import TestSupport
import Testing

@testable import Store

/// `berth images` by processes: its kept listing while others change the store, are killed, or it cannot be written.
@Suite(.serialized, .enabled(if: Program.isBuilt)) struct ListingTests {
    static func listed(_ scene: Scene) throws -> [String] {
        let ended = try Program.command(["images", "-q", "--store", scene.store], home: scene.place.path).run()
        guard ended.status == 0 else { throw TestSupportError("images: \(ended)") }
        return ended.lines.sorted()
    }

    /// What reading everything finds.
    static func truth(_ scene: Scene) throws -> [String] {
        try ImageStore.open(existing: scene.store)?.images().map { $0.names.first ?? "\($0.record.digest)" }.sorted()
            ?? []
    }

    /// Waits until the listing may be kept, with what the dead left out of the way.
    static func keep(_ scene: Scene) throws {
        let store = try #require(try ImageStore.open(existing: scene.store))
        _ = try store.collect()
        usleep(60_000)
        _ = try store.listing(coarsest: 30_000_000)
        #expect(store.believedListing() != nil)
    }

    @Test(
        .enabled(if: KillTests.hasStrace, "needs strace"), arguments: ["fcntl", "renameat", "unlinkat"])
    func killedAtEachCallOfTakingANameAway(_ call: String) throws {
        let scene = try Scene(.sample(layers: 1, files: 3, largest: 100))
        try scene.add(.sample(layers: 2, files: 2, largest: 100), "other")
        var killed = 0
        for number in 1...60 {
            for tag in ["one", "other"] { #expect(try scene.pull(tag).run().status == 0) }
            try Self.keep(scene)
            let ended = try Program.command(
                ["rmi", "--store", scene.store, scene.source("other")], home: scene.place.path,
                through: [
                    "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
                    "inject=\(call):signal=KILL:when=\(number)",
                ]
            ).run()
            let context: Comment = "\(call) no. \(number): \(ended)"
            #expect(try Self.listed(scene) == Self.truth(scene), context)
            // Nor is what is kept from now on anything else.
            usleep(60_000)
            let store = try #require(try ImageStore.open(existing: scene.store))
            for _ in 0..<2 { #expect(try store.listing(coarsest: 30_000_000) == ImageListing(store.images()), context) }
            guard ended.signal == SIGKILL || ended.status == 128 + SIGKILL else { break }
            killed += 1
        }
        #expect(killed > 0, "\(call) was never made")
    }

    /// Each sees what it has pulled itself, and all see what was there all the time.
    @Test func fourPullAndTwoListAtOnce() throws {
        let scene = try Scene(.sample(layers: 1, files: 1, largest: 100))
        let tags = (10..<22).map { "tag\($0)" }
        for (number, tag) in tags.enumerated() {
            // Of different contents: images of their own.
            try scene.add(.sample(layers: 1, files: number + 2, largest: 100), tag)
        }
        #expect(try scene.pull("one").run().status == 0)
        try concurrently(6) { number in
            for round in 0..<3 {
                let tag = number < 4 ? tags[number * 3 + round] : "one"
                if number < 4 {
                    let ended = try scene.pull(tag).run()
                    guard ended.status == 0 else { throw TestSupportError("\(ended)") }
                }
                let names = try Self.listed(scene)
                guard names.contains(where: { $0.contains("/layout/\(tag)") }) else {
                    throw TestSupportError("\(tag) is not in \(names)")
                }
            }
        }
        #expect(try Self.listed(scene).count == 13)
        #expect(try Self.listed(scene) == Self.truth(scene))
    }

    /// A file system that is mounted so, which root may not write to either.
    @Test(.enabled(if: Program.isRoot, "mounts")) func aReadOnlyStoreIsListed() throws {
        let scene = try Scene(.sample(layers: 1, files: 3, largest: 100))
        #expect(try scene.pull().run().status == 0)
        let store = try #require(try ImageStore.open(existing: scene.store))
        let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && \"$@\""
        for isKept in [false, true] {
            if isKept { try Self.keep(scene) }
            let ended = try Program.command(
                ["images", "-q", "--store", scene.store], home: scene.place.path,
                through: ["unshare", "-m", "sh", "-c", script, scene.store]
            ).run()
            #expect(try ended.status == 0 && ended.lines == Self.truth(scene), "\(ended)")
            #expect((store.believedListing() != nil) == isKept)
        }
    }

    /// No room for a file: the change is made all the same, and seen.
    @Test(.enabled(if: Program.isRoot, "mounts")) func whatChangesOnAFullDiskIsSeen() throws {
        let scene = try Scene(.sample(layers: 1, files: 3, largest: 100))
        try scene.add(.sample(layers: 1, files: 2, largest: 100), "other")
        let berth = try #require(Program.path)
        let script = """
            mkdir $0; mount -t tmpfs -o mode=755,nr_inodes=400 none $0
            $1 pull -q --store $0 $2 >&2; $1 pull -q --store $0 $3 >&2; sleep 3
            $1 images --store $0 >/dev/null; test -s $0/listing
            i=0; while : >$0/mount/$i; do i=$((i+1)); done 2>/dev/null
            $1 rmi -q --store $0 $3 >&2 || echo failed
            $1 images -q --store $0
            """
        let ended = try Program.command(
            [], home: scene.place.path,
            through: [
                "unshare", "-m", "bash", "-ec", script, scene.store, berth, scene.source(), scene.source("other"),
            ]
        ).run()
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines.filter { $0.contains("layout/one") }.count == 1, "\(ended)")
        #expect(ended.lines.allSatisfy { !$0.contains("layout/other") && $0 != "failed" }, "\(ended)")
    }
}
