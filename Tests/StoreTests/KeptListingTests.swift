import Foundation
import ImageSpec
import LinuxKernel
@testable import Store
import Synchronization
import Testing
import TestSupport

/// The kept listing is what reading everything would find, or it is not believed.
@Suite struct KeptListingTests {
    /// Far above what these file systems' times are apart, in nanoseconds, and a wait that is longer.
    static let coarsest: Int64 = 30_000_000
    static func pause() { Clock.sleep(milliseconds: 50) }

    /// A store with images, their listing kept.
    static func kept(_ count: Int = 3) throws -> (shop: Workshop, store: ImageStore) {
        let (shop, store) = try ManyImagesTests.stocked(count)
        try keep(store)
        return (shop, store)
    }

    static func keep(_ store: ImageStore) throws {
        pause()
        _ = try store.listing(coarsest: coarsest)
        let kept = try #require(store.believedListing())
        #expect(try kept == ImageListing(store.images()))
    }

    static func names(_ listing: ImageListing) -> [String] {
        var names: [String] = []
        listing.forEach { bytes, image in
            image.forEachName(bytes) { names.append(String(decoding: bytes[$0], as: UTF8.self)) }
        }
        return names.sorted()
    }

    static func key(_ number: Int) throws -> ImageKey { try Workshop.key("r.io/team/image\(number):1") }
    static func digest(_ number: Int, _ store: ImageStore) throws -> Digest {
        try #require(try store.digest(of: key(number)))
    }

    // MARK: Changes

    enum Kind: CaseIterable {
        case publish, replaceDamaged, furtherName, moveName, removeName, removeLastName, prune, pruneNamed, pruneBySize
        case settle, publishAgain, nameAgain
    }

    @Test(arguments: Kind.allCases) func afterAChangeItIsWhatIsThere(_ kind: Kind) throws {
        let (shop, store) = try Self.kept()
        try store.name(try Self.digest(2, store), [try Workshop.key("r.io/team/second:1")])
        if kind == .prune { #expect(try store.removeName(Self.key(1))) }
        let digest = try Self.digest(0, store)
        let place = "parent/store/images/\(digest.directoryName)/record"
        let record = try #require(LaunchRecord(decoding: try contents(of: "\(shop.directory.path)/\(place)")))
        if kind == .replaceDamaged { try shop.directory.write("", to: place) }
        try Self.keep(store)
        let before = try #require(store.believedListing())
        // Another process' handle, for all that can be told.
        let other = try shop.open()
        switch kind {
        case .publish: try other.publish(Workshop.record(77), manifest: [], config: [], names: [Self.key(77)])
        case .replaceDamaged, .publishAgain:
            try other.publish(record, manifest: [], config: [], names: [Self.key(0)])
        case .furtherName: try other.name(digest, [Workshop.key("r.io/team/further:1")])
        case .moveName: try other.name(digest, [Self.key(1)])
        case .nameAgain: try other.name(digest, [Self.key(0)])
        case .removeName, .removeLastName: #expect(try other.removeName(Self.key(kind == .removeName ? 2 : 0)))
        case .prune: #expect(try other.collect().images == 1)
        case .pruneNamed: #expect(try other.collect(includingNamed: true).images == 3)
        case .pruneBySize:
            var rules = CollectionRules()
            rules.keepBytes = 0
            rules.unusedSince = Clock.now.seconds + 10
            try Workshop.addLayer(9, to: other)
            try other.publish(Workshop.record(78, layers: [9]), manifest: [], config: [], names: [Self.key(78)])
            try Self.keep(store)
            #expect(try other.collect(rules).images > 0)
        case .settle: try other.settle()
        }
        // What stays as it is need not be read again; all else must be.
        let isTheSame = [.settle, .publishAgain, .nameAgain].contains(kind)
        #expect((store.believedListing() != nil) == isTheSame)
        let now = try store.listing(coarsest: Self.coarsest)
        #expect(try now == ImageListing(store.images()))
        #expect((now == before) == isTheSame)
        #expect(try shop.names("changes") == [])
        try Self.keep(store)
        #expect(try shop.names("drafts").filter { !$0.hasPrefix("removed-") } == [])
    }

    @Test func aDryRunAndAPruneWithNothingToDoChangeNothing() throws {
        let (shop, store) = try Self.kept()
        _ = try store.collect(includingNamed: true, dryRun: true)
        #expect(try store.collect() == Collected())
        #expect(store.believedListing() != nil)
        withExtendedLifetime(shop) {}
    }

    @Test func whatChangesWhileItIsMadeIsNotMissed() throws {
        let (shop, store) = try Self.kept()
        try store.publish(Workshop.record(70), manifest: [], config: [], names: [Self.key(70)])
        Self.pause()
        let draft = try #require(store.beginListing(coarsest: Self.coarsest))
        let (images, hasMarks) = try store.scan()
        let other = try shop.open()
        #expect(try other.removeName(Self.key(1)))
        store.keep(ImageListing(images), draft, hasMarks: hasMarks)
        #expect(store.believedListing() == nil)
        #expect(try !Self.names(store.listing(coarsest: Self.coarsest)).contains("r.io/team/image1:1"))
        // As if the other had come between the last look and the listing's name.
        Self.pause()
        let second = try #require(store.beginListing(coarsest: Self.coarsest))
        let found = try store.scan().images
        store.keep(ImageListing(found), second, hasMarks: false)
        let written = try contents(of: shop.path + "/listing")
        #expect(try other.removeName(Self.key(2)))
        try shop.directory.write(written, to: "parent/store/listing")
        #expect(store.believedListing() == nil)
    }

    /// Begun in the middle of a change, or so soon after one that the next might leave the same times.
    @Test func nothingIsKeptWhileSomethingChangesNorAtOnceAfterwards() throws {
        let (shop, store) = try Self.kept()
        let change = try shop.open().beginChange()
        Self.pause()
        #expect(store.beginListing(coarsest: Self.coarsest) == nil)
        #expect(try store.listing(coarsest: Self.coarsest) == ImageListing(store.images()))
        #expect(store.believedListing() == nil)
        change.end()
        Self.pause()
        #expect(store.beginListing() == nil)
        try Self.keep(store)
    }

    // MARK: kill -9

    @Test(arguments: [false, true]) func whoDiesInAChangeLeavesNothingStale(_ isDone: Bool) throws {
        let (shop, store) = try Self.kept()
        do {
            // Let go of without a word: the lock is free, the file is there.
            let change = try shop.open().beginChange()
            if isDone {
                let refs = try OwnedFileDescriptor(opening: shop.path + "/refs", [.readOnly, .directory])
                try refs.removeFile(try Self.key(1).path)
            }
            withExtendedLifetime(change) {}
        }
        #expect(store.believedListing() == nil)
        let found = try store.listing(coarsest: Self.coarsest)
        #expect(Self.names(found).count == (isDone ? 2 : 3))
        #expect(store.believedListing() == nil)
        // That one swept the mark: the next is kept.
        #expect(try soon { try store.listing(coarsest: Self.coarsest) == found && shop.names("changes") == [] })
        try Self.keep(store)
    }

    @Test func aMarkThatCanNotBeToldToBeDeadStaysForADay() throws {
        let (shop, store) = try Self.kept()
        let changes = try OwnedFileDescriptor(opening: shop.path + "/changes", [.readOnly, .directory])
        try shop.directory.write("", to: "parent/store/changes/\(ImageStore.node)-1.new")
        store.sweepChanges()
        #expect(try shop.names("changes").count == 1)
        try changes.setTimes(of: "\(ImageStore.node)-1.new", modified: Timestamp(seconds: 1_000_000))
        store.sweepChanges()
        #expect(try shop.names("changes") == [])
    }

    /// Taken for dead by mistake, it tells all the same that something has changed.
    @Test func aChangeWhoseMarkIsGoneIsToldInTheEnd() throws {
        let (shop, store) = try Self.kept()
        let change = try shop.open().beginChange()
        for name in try shop.names("changes") {
            try FileManager.default.removeItem(atPath: shop.path + "/changes/" + name)
        }
        try Self.keep(store)
        change.end()
        #expect(store.believedListing() == nil)
    }

    // MARK: What lies there

    @Test func whatIsDamagedIsNotBelievedAndMadeAnew() throws {
        let (shop, store) = try Self.kept()
        let whole = try contents(of: shop.path + "/listing")
        let truth = try ImageListing(store.images())
        var broken: [[UInt8]] = [
            [], Array(whole.dropLast()), Array(whole.prefix(whole.count / 2)), whole + [0],
            Array("berth-listing 2\n".utf8),
            [UInt8](repeating: 0, count: whole.count),
        ]
        for position in stride(from: 0, to: whole.count, by: 13) {
            var flipped = whole
            flipped[position] ^= 0x10
            broken.append(flipped)
        }
        for bytes in broken {
            try shop.directory.write(bytes, to: "parent/store/listing")
            #expect(store.believedListing() == nil)
            #expect(try store.listing(coarsest: Self.coarsest) == truth)
            #expect(try contents(of: shop.path + "/listing") == whole)
        }
    }

    @Test(arguments: [
        "mkdir listing", "mkfifo listing", "ln -s version listing", "mv kept elsewhere; ln -s elsewhere listing",
    ])
    func whatIsNoFileIsNoListing(_ script: String) throws {
        let (shop, store) = try Self.kept()
        let ended = try Command(["sh", "-ec", "mv listing kept; " + script], directory: shop.path).run()
        #expect(ended.status == 0, "\(ended)")
        #expect(store.believedListing() == nil)
        #expect(try store.listing(coarsest: Self.coarsest) == ImageListing(store.images()))
    }

    @Test func anotherBootDoesNotBelieveWhatThisOneKeptOnItsDisk() throws {
        let (shop, store) = try Self.kept()
        let text = try contents(of: shop.path + "/listing").displayPath
        let boot = try #require(Boot.identifier)
        try #require(text.contains(boot))
        let old = text.replacingOccurrences(of: boot, with: SettlingTests.otherBoot)
        try shop.directory.write(old, to: "parent/store/listing")
        #expect(store.believedListing() == nil)
    }

    /// It knows nothing of marks; what it does to images shows all the same.
    @Test func anEarlierBerthsImagesAreSeen() throws {
        let (shop, store) = try Self.kept()
        let name = try shop.names("images")[0]
        try FileManager.default.moveItem(atPath: shop.path + "/images/" + name, toPath: shop.path + "/drafts/removed-1")
        #expect(store.believedListing() == nil)
        #expect(try Self.names(store.listing()).count == 2)
        // A store that it made has no place for marks; who lists it makes one.
        try FileManager.default.removeItem(atPath: shop.path + "/changes")
        #expect(store.believedListing() == nil)
        #expect(try Self.names(store.listing()).count == 2)
        try Self.keep(store)
        try FileManager.default.removeItem(atPath: shop.path + "/changes")
        try store.name(try Self.digest(0, store), [Workshop.key("r.io/team/further:1")])
        try Self.keep(store)
    }

    // MARK: Who may not write

    @Test(.enabled(if: Identity.userID == 0, "gives a store away")) func othersStoresAreReadAndNeverWritten() throws {
        let (shop, store) = try Self.kept()
        let owner: UInt32 = 65534
        let root = try OwnedFileDescriptor(opening: shop.path, [.readOnly, .directory])
        try root.setOwner(user: owner, group: owner)
        let theirs = try #require(try ImageStore.open(existing: shop.path, owner: owner))
        #expect(theirs.believedListing() != nil)
        #expect(try theirs.removeName(Self.key(1)))
        Self.pause()
        let all = try shop.names("")
        let before = try contents(of: shop.path + "/listing")
        #expect(try Self.names(theirs.listing(coarsest: Self.coarsest)).count == 2)
        #expect(try contents(of: shop.path + "/listing") == before && shop.names("") == all)
        // Nor does root leave a directory there that its owner could not use.
        try root.removeDirectory("changes")
        #expect(try theirs.removeName(Self.key(2)))
        #expect(try theirs.listing(coarsest: Self.coarsest) == ImageListing(store.images()))
        #expect(try !shop.names("").contains("changes"))
    }

    @Test func withoutAPlaceToWriteItIsReadAsBefore() throws {
        let (shop, store) = try Self.kept()
        try FileManager.default.removeItem(atPath: shop.path + "/listing")
        try FileManager.default.removeItem(atPath: shop.path + "/drafts")
        #expect(try store.listing(coarsest: Self.coarsest) == ImageListing(store.images()))
        #expect(store.believedListing() == nil)
    }

    // MARK: Many

    /// Each sees what it has done itself, whatever the others keep meanwhile.
    @Test func manyMayChangeAndListAtOnce() throws {
        let (shop, _) = try Self.kept(20)
        let believed = Counter()
        let running = Atomic(4)
        try concurrently(8) { number in
            let store = try shop.open()
            guard number < 4 else {
                while running.load(ordering: .relaxed) > 0 {
                    _ = try store.listing(coarsest: 1_000_000)
                    if store.believedListing() != nil { believed.increment() }
                }
                return
            }
            defer { running.subtract(1, ordering: .relaxed) }
            for round in 0..<40 {
                let name = "r.io/team/of\(number):\(round)"
                let record = try Workshop.record(UInt8(100 + number * 8 + round % 8))
                try store.publish(record, manifest: [], config: [], names: [Workshop.key(name)])
                guard try Self.names(store.listing(coarsest: 1_000_000)).contains(name) else {
                    throw TestSupportError("\(name) is not listed")
                }
                if round % 3 == 0 { continue }
                Clock.sleep(milliseconds: round % 5)
                _ = try store.removeName(Workshop.key(name))
                guard try !Self.names(store.listing(coarsest: 1_000_000)).contains(name) else {
                    throw TestSupportError("\(name) is listed still")
                }
            }
        }
        #expect(believed.value > 0)
        try Self.keep(try shop.open())
    }

    @Test(.enabled(if: (try? ManyImagesTests.reads()) != nil, "the kernel counts no reads"))
    func whatIsReadForAListDoesNotDependOnHowManyThereAre() throws {
        let costs = try [10, 1000].map { count in
            let (shop, store) = try Self.kept(count)
            defer { withExtendedLifetime(shop) {} }
            let before = try ManyImagesTests.reads()
            let listing = try store.listing()
            let cost = try ManyImagesTests.reads() - before
            #expect(Self.names(listing).count == count)
            return cost
        }
        #expect(costs[0] == costs[1] && costs[0] < 10, "\(costs)")
    }
}
