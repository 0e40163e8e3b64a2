import LinuxKernel
@testable import Store
import Synchronization
import Testing
import TestSupport

final class Counter: Sendable {
    private let count = Atomic(0)
    func decrement() { count.subtract(1, ordering: .relaxed) }
    func increment() { count.add(1, ordering: .relaxed) }
    var value: Int { count.load(ordering: .relaxed) }
}

@Suite struct StoreLayoutTests {
    @Test func thereIsNoStoreWhereThereIsNothing() throws {
        let shop = try Workshop()
        #expect(try ImageStore.open(existing: shop.path) == nil)
        try shop.directory.makeDirectory("parent/store")
        #expect(try ImageStore.open(existing: shop.path) == nil)
    }

    @Test func itIsMadeWithItsParentsAndFoundAgain() throws {
        let shop = try Workshop()
        _ = try shop.open()
        #expect(
            try shop.names("")
                == ["drafts", "images", "layers", "locks", "mount", "refs", "rootfs", "version"])
        #expect(shop.directory.text("parent/store/version") == "berth-store 1\n")
        #expect(try ImageStore.open(existing: shop.path) != nil)
        _ = try shop.open()
        #expect(try shop.names("").count == 8)
    }

    @Test func manyMayMakeItAtOnce() throws {
        let shop = try Workshop()
        try concurrently(32) { _ in _ = try shop.open() }
        #expect(try ImageStore.open(existing: shop.path) != nil)
        #expect(try shop.names("").filter { $0.hasPrefix("version") } == ["version"])
    }

    @Test func aDirectoryWithOtherFilesIsNoStore() throws {
        let shop = try Workshop()
        try shop.directory.write("thesis", to: "parent/store/thesis.tex")
        #expect(throws: StoreError.notAStore(path: shop.path)) { try shop.open() }
        #expect(try shop.names("") == ["thesis.tex"])
    }

    @Test(arguments: ["berth-store 2\n", "berth-store 11\n", "\u{0}\u{1}"]) func aLayoutFromAnotherTimeIsNotTouched(
        _ version: String
    ) throws {
        let shop = try Workshop()
        try shop.directory.write(version, to: "parent/store/version")
        #expect(throws: StoreError.unknownLayout(path: shop.path, found: version)) {
            try ImageStore.open(existing: shop.path)
        }
        #expect(throws: StoreError.unknownLayout(path: shop.path, found: version)) { try shop.open() }
    }

    @Test func halfAStoreIsFinished() throws {
        let shop = try Workshop()
        try shop.directory.makeDirectory("parent/store/refs")
        try shop.directory.write("berth-store 1\n", to: "parent/store/version.0123456789abcdef")
        _ = try shop.open()
        #expect(try ImageStore.open(existing: shop.path) != nil)
    }

    @Test func aFileInItsPlaceIsAnError() throws {
        let shop = try Workshop()
        try shop.directory.write("", to: "parent/store")
        #expect(throws: StoreError.self) { try shop.open() }
        #expect(throws: StoreError.self) { try ImageStore.open(existing: shop.path) }
    }

    // MARK: Drafts

    @Test func aDraftIsSeenOnlyOncePublished() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let diffID = try Workshop.digest(1)
        do {
            // The draft is locked while it exists.
            let draft = try #require(try store.draftLayer(diffID))
            try draft.tree.descriptor.open("f", [.writeOnly, .create], mode: 0o600).writeAll([1, 2])
            #expect(try !store.hasLayer(diffID))
            #expect(try !isThere(store.layerTree(diffID)))
            #expect(try shop.names("drafts").count == 1)
            try store.publish(draft, summary: [7])
        }
        #expect(try store.hasLayer(diffID))
        #expect(try store.layerSummary(diffID) == [7])
        #expect(try there(try store.layerTree(diffID)).open("f", .readOnly).readAll() == [1, 2])
        #expect(try shop.names("drafts") == [])
        try store.flush()
        #expect(try shop.names("layers/\(diffID.directoryName)") == ["summary", "tree"])
        #expect(try store.draftLayer(diffID) == nil)
    }

    @Test func aDraftThatCameToNothingLeavesNothing() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let draft = try #require(try store.draftRootfs(try Workshop.digest(1)))
        try draft.tree.descriptor.makeDirectory("closed", mode: 0)
        store.discard(draft)
        #expect(try shop.names("drafts") == [])
        #expect(try shop.names("rootfs") == [])
    }

    @Test func draftsOfTheDeadAreSweptAndThoseOfTheLivingStay() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let living = try #require(try store.draftLayer(try Workshop.digest(1)))
        do {
            // Abandoned as after a kill: unlocked, but the directory exists.
            let dead = try #require(try store.draftLayer(try Workshop.digest(2)))
            try dead.tree.descriptor.makeDirectory("closed", mode: 0)
        }
        #expect(try shop.names("drafts").count == 2)
        #expect(
            try soon {
                _ = try shop.open()
                return try shop.names("drafts") == [living.name]
            })
        try store.publish(living, summary: [])
        #expect(try store.hasLayer(try Workshop.digest(1)))
    }

    @Test func aDraftWithoutALockIsSweptOnlyWhenItIsOld() throws {
        let shop = try Workshop()
        _ = try shop.open()
        try shop.directory.makeDirectory("parent/store/drafts/young/tree")
        try shop.directory.makeDirectory("parent/store/drafts/old/tree")
        let drafts = try OwnedFileDescriptor(opening: shop.path + "/drafts", [.readOnly, .directory])
        try drafts.setTimes(of: "old", modified: Timestamp(seconds: 1_000_000))
        _ = try shop.open()
        #expect(try shop.names("drafts") == ["young"])
    }

    // MARK: Races

    @Test func ofManyWhoWantTheSameLayerOneMakesIt() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let diffID = try Workshop.digest(3)
        let made = Counter()
        try concurrently(16) { number in
            // Each has its own store object, as each process does.
            let own = try shop.open()
            guard let draft = try own.draftLayer(diffID) else { return }
            made.increment()
            try draft.tree.descriptor.open("by", [.writeOnly, .create], mode: 0o644).writeAll(Array("\(number)".utf8))
            try own.publish(draft, summary: [])
        }
        #expect(made.value == 1)
        #expect(try store.hasLayer(diffID))
        #expect(try shop.names("drafts") == [])
    }

    /// Without locks, two processes may do the same work; the first one to publish wins.
    @Test func whereLocksDoNotHoldTheFirstToPublishWins() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let diffID = try Workshop.digest(4)
        let first = try #require(try store.draftLayer(diffID))
        let locks = try OwnedFileDescriptor(opening: shop.path + "/locks", [.readOnly, .directory])
        for name in try locks.entries() { try locks.removeFile(name) }
        let second = try #require(try store.draftLayer(diffID))
        try first.tree.descriptor.open("by", [.writeOnly, .create], mode: 0o644).writeAll(Array("first".utf8))
        try second.tree.descriptor.open("by", [.writeOnly, .create], mode: 0o644).writeAll(Array("second".utf8))
        try store.publish(second, summary: [2])
        try store.publish(first, summary: [1])
        #expect(try there(try store.layerTree(diffID)).open("by", .readOnly).readAll() == Array("second".utf8))
        #expect(try store.layerSummary(diffID) == [2])
        #expect(try shop.names("drafts") == [])
    }

    @Test func pullsOfOneImageWaitForEachOtherAndOfTwoDoNot() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let (one, other) = try (Workshop.key("a:1"), Workshop.key("a:2"))
        do {
            let held = try store.lockPull(of: one)
            #expect(try !isThere(store.tryLockPull(of: one)))
            #expect(try isThere(store.tryLockPull(of: other)))
            withExtendedLifetime(held) {}
        }
        #expect(try soon { try isThere(store.tryLockPull(of: one)) })
    }
}
