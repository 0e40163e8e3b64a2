import ImageSpec
import LinuxKernel
@testable import Store
import Synchronization
import TestSupport
import Testing

/// What a user with read access can do with locks: docs/explanation/decisions/collection-and-locks.md
@Suite struct StrangersLockTests {
    /// Locks everything that others can open with flock(2).
    static func flock(_ shop: Workshop, _ kind: String) throws -> Running {
        // One process for each file.
        let all =
            "for f in $(find \(shop.path) -type f); do flock \(kind) $f sh -c 'echo ready; exec sleep 600' & done; wait"
        let running = try Command(["setsid", "sh", "-c", all]).start()
        let files = try Command(["find", shop.path, "-type", "f"]).run().lines.count
        // Conflicting ones wait; each file has at least one lock.
        try running.until("the locks") { $0.printed.split(separator: "\n").count == files }
        return running
    }

    @Test(arguments: ["-x", "-s"]) func flockHidesNothingAndStopsNobody(_ kind: String) throws {
        let shop = try Workshop()
        let store = try shop.open()
        try Workshop.addLayer(11, to: store)
        let key = try Workshop.key("a:1")
        try store.publish(try Workshop.record(1, layers: [11]), manifest: [1], config: [2], names: [key])
        do { _ = try store.beginPulling() }
        do { _ = try store.lockPull(of: key) }
        let stranger = try Self.flock(shop, kind)
        defer { _ = try? Command(["kill", "-KILL", "--", "-\(stranger.processID)"]).run() }
        #expect(try isThere(store.lease(key)))
        #expect(try isThere(store.tryLockPull(of: key)))
        do { _ = try store.beginPulling() }
        #expect(try store.collect(includingNamed: true).images == 1)
        #expect(try shop.names("layers") == [])
    }

    @Test func lockFilesAreTheOwnersAlone() throws {
        let shop = try Workshop()
        let store = try shop.open()
        // As earlier versions created it.
        let made = try Command(["install", "-m", "644", "/dev/null", shop.path + "/locks/pulling"]).run()
        #expect(made.status == 0)
        do { _ = try store.beginPulling() }
        do { _ = try store.lockPull(of: try Workshop.key("a:1")) }
        let locks = try OwnedFileDescriptor(opening: shop.path + "/locks", [.readOnly, .directory])
        for name in try locks.entries() { #expect(try locks.status(of: name).permissions == 0o600, "\(name)") }
        #expect(try locks.status().permissions & 0o077 == 0)
        let draft = try #require(try store.draftLayer(try Workshop.digest(1)))
        #expect(try draft.directory.descriptor.status(of: "alive").permissions == 0o600)
    }

    /// Only a writable descriptor can lock others out.
    @Test func whoMayOnlyReadCannotLockOthersOut() throws {
        let shop = try Workshop()
        let store = try shop.open()
        try store.publish(try Workshop.record(1), manifest: [], config: [], names: [])
        let path = shop.path + "/images/\(try Workshop.digest(1).directoryName)/lease"
        let reader = try OwnedFileDescriptor(opening: path, .readOnly)
        #expect(throws: SystemError.self) { try reader.tryLock(.exclusive) }
        #expect(try reader.tryLock(.shared))
        #expect(try isThere(store.lease(try Workshop.digest(1))))
        #expect(try store.collect().inUse == 1)
    }

    @Test func aLeaseThatIsRefusedNeverMeansAbsent() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let digest = try Workshop.digest(1)
        try store.publish(try Workshop.record(1), manifest: [], config: [], names: [])
        let path = shop.path + "/images/\(digest.directoryName)/lease"
        let held = Mutex<DescriptorBox?>(try FileLocks.hold(path, .exclusive))
        // Waits for a short collection.
        try concurrently(2) { number in
            if number == 0 {
                let other = try #require(try ImageStore.open(existing: shop.path))
                #expect(try isThere(other.lease(digest)))
            } else {
                Clock.sleep(milliseconds: 300)
                held.withLock { $0 = nil }
            }
        }
        // Then fails with the path that it waited for.
        let kept = try FileLocks.hold(path, .exclusive)
        #expect(throws: StoreError.busy(path: path)) { _ = try store.lease(digest) }
        withExtendedLifetime(kept) {}
    }

    @Test func theOwnerMayIgnoreLeases() throws {
        let shop = try Workshop()
        let store = try shop.open()
        try store.publish(try Workshop.record(1), manifest: [], config: [], names: [])
        let lease = try there(try store.lease(try Workshop.digest(1)))
        var rules = CollectionRules()
        #expect(try store.collect(rules).inUse == 1)
        rules.ignoresLeases = true
        #expect(try store.collect(rules).images == 1)
        withExtendedLifetime(lease.box) {}
    }

    // MARK: Sweeping

    /// A prune between opening and locking a lock file: the lock must not be on a removed file.
    @Test func aLockSurvivesTheSweepOfItsFile() throws {
        let shop = try Workshop()
        let store = try shop.open()
        do {
            let held = try store.lockContainer("job-1-a")
            #expect(try shop.names("locks").count == 1)
            _ = try store.collect()
            #expect(try !isThere(store.tryWorkLock("containers/job-1-a")))
            let file = try #require(try store.unpackedFile("key"))
            _ = try store.collect()
            #expect(try !isThere(store.tryWorkLock("squashfs/key")))
            // The draft still exists.
            #expect(try shop.names("squashfs") == ["key.new"])
            withExtendedLifetime(file.lock) {}
            withExtendedLifetime(held.descriptor) {}
        }
        #expect(
            try soon {
                _ = try store.collect()
                return try shop.names("locks").filter { $0 != "pulling" } == []
            })
    }

    /// Many processes acquire one lock in turn while a prune sweeps; never two at once.
    @Test func sweepsAndLocksInterleave() throws {
        let shop = try Workshop()
        _ = try shop.open()
        let (inside, most, entered) = (Counter(), Counter(), Counter())
        try concurrently(9) { number in
            let store = try shop.open()
            for _ in 0..<60 {
                if number == 0 {
                    store.sweepLocks()
                    continue
                }
                let lock = try store.lockContainer("same")
                inside.increment()
                entered.increment()
                if inside.value > 1 { most.increment() }
                inside.decrement()
                withExtendedLifetime(lock.descriptor) {}
            }
        }
        #expect(entered.value == 480)
        #expect(most.value == 0, "two processes held one lock")
    }
}
