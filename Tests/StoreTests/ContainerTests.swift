import Foundation
import LinuxKernel
@testable import Store
import TestSupport
import Testing

/// Named containers and unpacked squashfs files are listed, kept while in use, and removed.
@Suite struct KeptFilesTests {
    static func make(_ store: ImageStore, _ name: String) throws -> NamedContainer {
        let lock = try store.lockContainer(name)
        defer { withExtendedLifetime(lock.descriptor) {} }
        return try store.makeContainer(name, image: "debian:12", digest: "")
    }

    @Test func containersAreListedAndRemoved() throws {
        let shop = try Workshop()
        let store = try shop.open()
        #expect(try store.containers().isEmpty)
        #expect(try store.removeContainer("absent") == .absent)
        for name in ["..", "", "a/b"] { #expect(try store.removeContainer(name) == .absent) }
        do {
            let container = try Self.make(store, "one")
            // The mode that overlayfs sets.
            try shop.directory.makeDirectory("parent/store/containers/one/work/work", mode: 0)
            try shop.directory.write("x", to: "parent/store/containers/one/upper/file")
            #expect(try container.lease.descriptor.tryLock(.shared))
            let found = try store.containers()
            #expect(found.map(\.name) == ["one"])
            #expect(found[0].isRunning && !found[0].isDamaged && found[0].image == "debian:12" && found[0].bytes > 0)
            #expect(try store.removeContainer("one") == .inUse)
        }
        #expect(try soon { try store.containers().allSatisfy { !$0.isRunning } })
        #expect(try store.removeContainer("one", dryRun: true) == .removed)
        #expect(try store.containers().count == 1)
        #expect(try store.removeContainer("one") == .removed)
        #expect(try store.containers().isEmpty)
        #expect(try shop.names("drafts") == [])
    }

    /// Listing must not hold a lock that a starting step would take for a use.
    @Test func listingTakesNoLock() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let container = try Self.make(store, "one")
        let found = try store.containers()
        #expect(try container.lease.descriptor.tryLock(.exclusive))
        withExtendedLifetime(found) {}
    }

    /// An image's root directory may have mode 0000, which the container's root then has, too.
    @Test func aContainerWhoseRootIsClosedIsListedAndRemoved() throws {
        let shop = try Workshop()
        let store = try shop.open()
        _ = try Self.make(store, "one")
        #expect(chmod(shop.path + "/containers/one/upper", 0) == 0)
        #expect(try store.containers().map(\.name) == ["one"])
        #expect(try soon { try store.removeContainer("one") == .removed })
        #expect(try store.containerNames() == [])
    }

    @Test func oneThatCannotBeRemovedDoesNotKeepTheOthers() throws {
        let shop = try Workshop()
        let store = try shop.open()
        for name in ["one", "two", "three"] { _ = try Self.make(store, name) }
        // Skip if the file system lacks the attribute or the user cannot set it.
        let kept = shop.path + "/containers/one"
        guard try Command(["chattr", "+i", kept]).run().status == 0 else { return }
        defer { _ = try? Command(["chattr", "-i", kept]).run() }  // best effort
        do throws(StoreError) {
            try store.removeContainers { _ in true }
            Issue.record("no error")
        } catch {}
        #expect(try store.containerNames() == ["one"])
    }

    @Test func aContainerThatIsBeingMadeIsNotRemoved() throws {
        let shop = try Workshop()
        let store = try shop.open()
        _ = try Self.make(store, "one")
        let lock = try store.lockContainer("one")
        #expect(try store.removeContainer("one") == .inUse)
        withExtendedLifetime(lock.descriptor) {}
    }

    @Test(arguments: HostileLayoutTests.Wrong.allCases, ["record", "lease", "upper", "work"])
    func aDamagedContainerIsShownAndRemoved(_ wrong: HostileLayoutTests.Wrong, _ file: String) throws {
        if Identity.userID != 0, [.device, .foreign].contains(wrong) { return }
        let shop = try Workshop()
        let store = try shop.open()
        _ = try Self.make(store, "one")
        _ = try Self.make(store, "two")
        try HostileLayoutTests.put(wrong, at: shop.path + "/containers/one/" + file)
        #expect(try soon { try store.containers().map(\.name) == ["one", "two"] })
        do throws(StoreError) { _ = try store.container("one") } catch {
            guard case .damaged = error else {
                Issue.record("\(error)")
                return
            }
        }
        #expect(try soon { try store.removeContainer("one") == .removed })
        #expect(try store.containers().map(\.name) == ["two"])
    }

    /// A cleaner of scratch space removes empty files that were never modified first.
    @Test(arguments: ["record", "lease"])
    func aContainerWithoutRecordOrLeaseKeepsItsFiles(_ file: String) throws {
        let shop = try Workshop()
        let store = try shop.open()
        _ = try Self.make(store, "one")
        try shop.directory.write("x", to: "parent/store/containers/one/upper/file")
        try FileManager.default.removeItem(atPath: shop.path + "/containers/one/" + file)
        for attempt in [{ _ = try store.container("one") }, { _ = try Self.make(store, "one") }] {
            #expect {
                try attempt()
            } throws: { error in
                guard case .damaged(let path, _)? = error as? StoreError else { return false }
                return path.hasSuffix("/containers/one")
            }
        }
        #expect(try FileStatus(of: shop.path + "/containers/one/upper/file").kind == .regular)
        #expect(try store.containers().map(\.isDamaged) == [true])
        #expect(try soon { try store.removeContainer("one") == .removed })
    }

    @Test func anInterruptedCreationIsRepeated() throws {
        let shop = try Workshop()
        let store = try shop.open()
        _ = try Self.make(store, "one")
        try FileManager.default.removeItem(atPath: shop.path + "/containers/one/record")
        #expect(try store.container("one") == nil)
        _ = try Self.make(store, "one")
        #expect(try store.containers().map(\.isDamaged) == [false])
    }

    /// Berth makes no such name, and no argument can be it.
    @Test func aNameThatIsNotUTF8IsNotAContainers() throws {
        let shop = try Workshop()
        let store = try shop.open()
        _ = try Self.make(store, "one")
        let all = try OwnedFileDescriptor(opening: shop.path + "/containers", [.readOnly, .directory])
        try all.makeDirectory([0xFF], mode: 0o700)
        #expect(try store.containerNames() == ["one"])
        try store.removeContainers { _ in true }
        #expect(try all.entries() == [[0xFF]])
    }

    // MARK: Squashfs files

    /// Unpacks a file.
    static func unpack(_ shop: Workshop, _ store: ImageStore, _ name: String) throws -> String {
        let path = try shop.directory.write("squash " + name, to: name)
        let key = ImageStore.fileKey(try FileStatus(of: path))
        let place = try #require(try store.unpackedFile(key))
        #expect(place.lease == nil)
        try FileManager.default.createDirectory(atPath: place.draft + "/etc", withIntermediateDirectories: true)
        try Data(repeating: 7, count: 10_000).write(to: URL(fileURLWithPath: place.draft + "/etc/file"))
        _ = try store.publish(place, source: path)
        return path
    }

    @Test func unpackedFilesAreListedCountedAndCollected() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let kept = try Self.unpack(shop, store, "kept.sqsh")
        let gone = try Self.unpack(shop, store, "gone.sqsh")
        let changed = try Self.unpack(shop, store, "changed.sqsh")
        #expect(try Set(store.unpackedFiles().map(\.source)) == [kept, gone, changed])
        #expect(try store.unpackedFiles().allSatisfy { $0.isCurrent && $0.bytes >= 8192 })
        try FileManager.default.removeItem(atPath: gone)
        try shop.directory.write("another text", to: "changed.sqsh")
        var rules = CollectionRules()
        rules.dryRun = true
        #expect(try soon { try store.collect(rules).files == 2 })
        rules.dryRun = false
        let collected = try store.collect(rules)
        #expect(collected.files == 2 && collected.bytes >= 16384 && collected.images == 0)
        #expect(try store.unpackedFiles().map(\.source) == [kept])
        // A file in use stays, whatever the rules.
        rules.includesNamed = true
        do {
            let key = ImageStore.fileKey(try FileStatus(of: kept))
            let used = try #require(try store.unpackedFile(key))
            #expect(used.lease != nil)
            _ = consume used
        }
        rules.keepBytes = 1 << 30
        rules.includesNamed = false
        #expect(try store.collect(rules).files == 0)
        rules.keepBytes = 0
        #expect(try soon { try store.collect(rules).files == 1 })
        #expect(try store.unpackedFiles().isEmpty)
    }

    @Test func anUnpackedFileInUseStays() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let path = try Self.unpack(shop, store, "used.sqsh")
        let key = ImageStore.fileKey(try FileStatus(of: path))
        let used = try #require(try store.unpackedFile(key))
        try FileManager.default.removeItem(atPath: path)
        var rules = CollectionRules()
        rules.includesNamed = true
        #expect(try store.collect(rules).files == 0)
        #expect(try store.collect(rules).inUse == 1)
        withExtendedLifetime(used.lease) {}
    }

    /// A file is modified in place with the same size and modification time; only its change time differs.
    @Test func aFileThatWasWrittenInPlaceIsAnotherOne() throws {
        let shop = try Workshop()
        let path = try shop.directory.write("one", to: "image.sqsh")
        let before = try FileStatus(of: path)
        let file = try OwnedFileDescriptor(opening: path, .readWrite)
        let archive = try Workshop.key("oci-archive:" + path)
        // Wait until the file system's clock advances.
        while try file.status().changed == before.changed {
            try file.writeAll(Array("two".utf8))
            try file.seek(to: 0)
            try file.setTimes(accessed: before.accessed, modified: before.modified)
        }
        let after = try FileStatus(of: path)
        #expect(after.modified == before.modified && after.size == before.size && after.inode == before.inode)
        #expect(ImageStore.fileKey(after) != ImageStore.fileKey(before))
        #expect(try Workshop.key("oci-archive:" + path) != archive)
    }

    @Test func oneProcessUnpacksAFileAndLeavesNothingWhereItFails() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let path = try shop.directory.write("squash", to: "image.sqsh")
        let key = ImageStore.fileKey(try FileStatus(of: path))
        do {
            let place = try #require(try store.unpackedFile(key))
            try FileManager.default.createDirectory(atPath: place.draft + "/etc", withIntermediateDirectories: true)
            chmod(place.draft + "/etc", 0)
            // Another process, with its own descriptors.
            #expect(try ImageStore.open(creating: shop.path).unpackedFile(key) == nil)
            store.abandon(place)
            #expect(try shop.names("squashfs") == [])
            withExtendedLifetime(place.lock) {}
        }
        #expect(try soon { try store.unpackedFile(key) != nil })
    }

    @Test func whatAKilledUnpackLeavesIsCollected() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let path = try shop.directory.write("squash", to: "image.sqsh")
        let key = ImageStore.fileKey(try FileStatus(of: path))
        var place = try store.unpackedFile(key)
        try FileManager.default.createDirectory(atPath: try #require(place?.draft) + "/etc", withIntermediateDirectories: true)
        #expect(try store.collect().files == 0, "its process lives")
        place = nil
        #expect(try soon { try store.collect().files == 1 })
        #expect(try shop.names("squashfs") == [] && shop.names("drafts") == [])
    }

    @Test(arguments: HostileLayoutTests.Wrong.allCases, ["", "/tree", "/lease", "/source", "/bytes"])
    func aDamagedUnpackedFileIsUnpackedAgain(_ wrong: HostileLayoutTests.Wrong, _ part: String) throws {
        if Identity.userID != 0, [.device, .foreign].contains(wrong) { return }
        let shop = try Workshop()
        let store = try shop.open()
        let path = try Self.unpack(shop, store, "used.sqsh")
        let key = ImageStore.fileKey(try FileStatus(of: path))
        try HostileLayoutTests.put(wrong, at: shop.path + "/squashfs/" + key + part)
        _ = try store.unpackedFiles()
        let place = try #require(try store.unpackedFile(key))
        if place.lease == nil {
            try FileManager.default.createDirectory(atPath: place.draft, withIntermediateDirectories: true)
            let (tree, lease) = try store.publish(place, source: path)
            #expect(lease != nil)
            #expect(try FileStatus(of: tree).kind == .directory)
        }
    }
}
