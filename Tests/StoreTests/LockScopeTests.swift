import Foundation
import ImageSpec
import LinuxKernel
@testable import Store
import TestSupport
import Testing

/// Collecting if an unlocked file does not prove that no other node runs an image:
/// docs/explanation/decisions/collection-and-locks.md
@Suite struct LockScopeTests {
    static func scope(_ line: String, _ path: String = "/mnt/s/store") -> LockScope {
        LockScope(mountinfo: Array(line.utf8), device: 41, path: path)
    }

    @Test(arguments: [
        ("ext4", "rw,errors=remount-ro", LockScope.cluster), ("xfs", "rw", .cluster), ("tmpfs", "rw", .cluster),
        ("overlay", "rw", .cluster), ("zfs", "rw", .cluster), ("bcachefs", "rw", .cluster),
        ("nfs4", "rw,vers=4.2,local_lock=none,addr=10.0.0.1", .cluster),
        ("nfs", "rw,vers=3,local_lock=none", .cluster),
        ("nfs", "rw,vers=3,nolock,local_lock=all", .node), ("nfs4", "rw,local_lock=flock", .cluster),
        ("nfs4", "rw,local_lock=posix", .node),
        ("lustre", "rw,flock,lazystatfs", .cluster), ("lustre", "rw,localflock", .node),
        ("lustre", "rw", .node), ("gfs2", "rw", .cluster), ("ocfs2", "rw,localflocks", .node),
        ("beegfs", "rw", .node), ("fuse.sshfs", "rw", .node), ("fuse", "rw", .node),
        ("virtiofs", "rw", .node), ("9p", "rw", .node), ("ceph", "rw", .cluster), ("gpfs", "rw", .cluster),
        ("fuseblk", "rw", .cluster),
        // Unknown file systems are not assumed to have cluster-wide locks.
        ("cifs", "rw,nobrl", .node), ("smb3", "rw", .node), ("pvfs2", "rw", .node),
        ("wekafs", "rw", .node), ("newfs", "rw", .node),
    ]) func theMountTellsHowFarLocksReach(_ row: (type: String, options: String, scope: LockScope)) {
        let line = "36 35 0:41 / /mnt/s rw,relatime shared:1 - \(row.type) server:/x \(row.options)\n"
        #expect(Self.scope(line) == row.scope)
        // By path if the device is not in the table, as on btrfs.
        #expect(Self.scope(line.replacing("0:41", with: "0:7")) == row.scope)
        #expect(Self.scope(line.replacing("0:41", with: "0:7"), "/mnt/sister") == .node)
    }

    @Test func thisMachinesOwnDisksAreNoRiddle() throws {
        let shop = try Workshop()
        _ = try shop.open()
        let root = try OwnedFileDescriptor(opening: shop.path, [.readOnly, .directory])
        let type = try Command(["findmnt", "-no", "FSTYPE", "-T", shop.path]).run().output
        guard ["ext4\n", "xfs\n", "btrfs\n", "tmpfs\n", "overlay\n"].contains(type) else { return }
        #expect(LockScope(of: root, path: shop.path) == .cluster)
    }

    // MARK: Images and layers

    static var all: CollectionRules {
        var rules = CollectionRules()
        rules.includesNamed = true
        return rules
    }

    @Test func whatWasStartedInThirtyDaysMayRunElsewhere() throws {
        let (shop, store) = try CollectionTests.used(daysAgo: [1, 29, 31])
        // A damaged image cannot run.
        try store.publish(try Workshop.record(9), manifest: [], config: [], names: [])
        try shop.directory.write("garbage", to: "parent/store/images/\(try Workshop.digest(9).directoryName)/record")
        var rules = Self.all
        rules.dryRun = true
        #expect(try store.collect(rules, scope: .node).images == 2)
        rules.dryRun = false
        // Neither the new layer of the removed image nor the remaining images are removed.
        #expect(try store.collect(rules, scope: .node) == Collected(images: 2, inUse: 2))
        #expect(try CollectionTests.left(store) == CollectionTests.names(1, 2))
        rules.keepBytes = 0
        #expect(try store.collect(rules, scope: .node).images == 0)
        #expect(try store.collect(rules, scope: .cluster) == Collected(images: 2, layers: 3, bytes: 3 << 20))
        #expect(try store.images().isEmpty)
    }

    @Test func theyAgeInTheMiddleOfNothing() throws {
        let (shop, store) = try CollectionTests.used(daysAgo: [29])
        #expect(try store.collect(Self.all, scope: .node).inUse == 1)
        try CollectionTests.use(shop, 1, daysAgo: 31)
        #expect(try store.collect(Self.all, scope: .node).images == 1)
    }

    /// Layers without an image in this store: images of other stores use them, and each start reads the summary.
    @Test func aLayerThatAnotherStoreUsedLatelyStays() throws {
        let shop = try Workshop()
        let store = try shop.open()
        for (byte, days) in [(UInt8(1), 1), (2, 29), (3, 31)] {
            try Workshop.addLayer(byte, to: store)
            let summary = shop.path + "/layers/\(try Workshop.digest(byte).directoryName)/summary"
            let times = [("-m", 90), ("-a", days)]
            for (which, days) in times {
                let time = Clock.now.seconds - Int64(days) * CollectionTests.day
                #expect(try Command(["touch", which, "-d", "@\(time)", summary]).run().status == 0)
            }
        }
        #expect(try store.collect(Self.all, scope: .node).layers == 1)
        #expect(try shop.names("layers") == [1, 2].map { try Workshop.digest($0).directoryName })
        #expect(try store.collect(Self.all, scope: .cluster).layers == 2)
    }

    @Test func draftsOfOtherNodesAreSweptWhenTheyAreADayOld() throws {
        let shop = try Workshop()
        let store = try shop.open()
        func make() throws {
            for (name, hours) in [("elsewhere-1", 1), ("elsewhere-2", 25)] {
                try shop.directory.makeDirectory("parent/store/drafts/\(name)/tree")
                try shop.directory.write("", to: "parent/store/drafts/\(name)/alive")
                let directory = shop.path + "/drafts/" + name
                #expect(try Command(["touch", "-d", "-\(hours) hours", directory]).run().status == 0)
            }
        }
        try make()
        // A draft of this node, which no process locks.
        try shop.directory.makeDirectory("parent/store/drafts/\(ImageStore.node)-3")
        try shop.directory.write("", to: "parent/store/drafts/\(ImageStore.node)-3/alive")
        _ = try store.collect(Self.all, scope: .node)
        #expect(try shop.names("drafts") == ["elsewhere-1"])
        let pulling = try store.beginPulling()
        _ = try store.collect(Self.all, scope: .cluster)
        #expect(try shop.names("drafts") == [])
        withExtendedLifetime(pulling) {}
    }

    // MARK: Invisible uses

    /// `chattr +A`: reads do not update the access time, as with `noatime`.
    static func withoutAccessTimes(_ shop: Workshop, _ store: ImageStore) throws -> Bool {
        let ended = try Command(["chattr", "-R", "+A", shop.path]).run()
        if ended.status == 0 { return true }
        FileHandle.standardError.write(Data("SKIPPED: no chattr +A here: \(ended)\n".utf8))
        return false
    }

    @Test func whereStartsLeaveNoTraceASharedStoreLosesNothing() throws {
        let (shop, store) = try CollectionTests.used(daysAgo: [31])
        try Workshop.addLayer(7, to: store)
        let summary = shop.path + "/layers/\(try Workshop.digest(7).directoryName)/summary"
        #expect(try Command(["touch", "-d", "-90 days", summary]).run().status == 0)
        guard try Self.withoutAccessTimes(shop, store) else { return }
        let shared = try there(try ImageStore.open(existing: shop.path, isShared: true))
        #expect(shared.mayHideUses(.node) && !shared.mayHideUses(.cluster) && !store.mayHideUses(.node))
        #expect(try shared.collect(Self.all, scope: .node) == Collected(inUse: 1))
        #expect(try shop.names("drafts") == [])
        #expect(try Command(["chattr", "-R", "-A", shop.path]).run().status == 0)
        let mount = try Command(["findmnt", "-no", "OPTIONS", "-T", shop.path]).run().output
        guard mount.contains("relatime") else { return }
        #expect(!shared.mayHideUses(.node))
        #expect(try shared.collect(Self.all, scope: .node).images == 1)
    }

    /// Without `atime`, a launch sets the access time itself; here on tmpfs, which has no disk, either.
    @Test func anOwnersStartIsNotedWhereReadingIsNot() throws {
        guard let memory = try? TemporaryDirectory(in: "/dev/shm") else { return }  // absent: skip
        let store = try ImageStore.open(creating: memory.path + "/store")
        try store.publish(try Workshop.record(1), manifest: [], config: [], names: [])
        let record = memory.path + "/store/images/\(try Workshop.digest(1).directoryName)/record"
        let file = try OwnedFileDescriptor(opening: record, [.readOnly])
        try #require(try !file.status().isOnBlockDevice)
        func age() throws -> Int64 { Clock.now.seconds - (try file.status().accessed.seconds) }
        let old = Clock.now.seconds - 31 * CollectionTests.day
        // Newer than the contents, as after a start, so that relatime(8) would not update it.
        let isSilent = try Command(["chattr", "+A", record]).run().status == 0
        try file.setTimes(accessed: Timestamp(seconds: old), modified: Timestamp(seconds: old - 1))
        #expect(try isThere(store.lease(try Workshop.digest(1))))
        #expect(try age() < 60, "\(isSilent ? "by the launch" : "by the launch or the file system")")
        // Not at each start.
        let today = Clock.now.seconds - 3600
        try file.setTimes(accessed: Timestamp(seconds: today), modified: Timestamp(seconds: old))
        #expect(try isThere(store.lease(try Workshop.digest(1))))
        #expect(try age() > 3000)
    }
}
