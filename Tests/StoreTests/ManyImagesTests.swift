import ImageSpec
import LinuxKernel
@testable import Store
import Testing
import TestSupport

/// The cost of a look-up does not depend on the number of images.
@Suite struct ManyImagesTests {
    static func stocked(_ count: Int) throws -> (shop: Workshop, store: ImageStore) {
        let shop = try Workshop()
        let store = try shop.open()
        for number in 0..<count {
            var bytes = [UInt8](repeating: 7, count: 32)
            withUnsafeBytes(of: number) { for (index, byte) in $0.enumerated() { bytes[index] = byte } }
            guard let digest = Digest(.sha256, bytes: bytes) else { throw TestSupportError("no digest") }
            var record = try Workshop.record(1)
            record.digest = digest
            try store.publish(record, manifest: [], config: [], names: [try Workshop.key("r.io/team/image\(number):1")])
        }
        return (shop, store)
    }

    /// The minimum of many runs in nanoseconds, because other load only adds time.
    static func least(_ store: ImageStore, _ key: ImageKey) throws -> UInt64 {
        var least = UInt64.max
        for _ in 0..<3000 {
            let started = Clock.monotonicNanoseconds
            let found = try isThere(store.lease(key))
            least = min(least, Clock.monotonicNanoseconds - started)
            guard found else { throw TestSupportError("the image is gone") }
        }
        return least
    }

    /// The read(2) calls of this thread: proc_pid_io(5).
    static func reads() throws -> Int {
        let text = try contents(of: "/proc/thread-self/io", limit: 4096).displayPath
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("syscr: ") }),
            let count = Int(line.dropFirst("syscr: ".count))
        else { throw TestSupportError("no count of reads in /proc/thread-self/io") }
        return count
    }

    /// The number of files read to show an image, to look it up, and to remove one of its names.
    static func cost(_ count: Int) throws -> [Int] {
        let (shop, store) = try stocked(count)
        defer { withExtendedLifetime(shop) {} }
        let key = try Workshop.key("r.io/team/image5:1")
        guard let digest = try store.digest(of: key) else { throw TestSupportError("the image is gone") }
        try store.name(digest, [try Workshop.key("r.io/team/another:2"), key])
        return try [
            { try store.image(digest)?.names == ["r.io/team/another:2", "r.io/team/image5:1"] },
            { try isThere(store.lease(key)) },
            { try store.removeName(key) },
        ].map { body in
            let before = try reads()
            guard try body() else { throw TestSupportError("the image is gone") }
            return try reads() - before
        }
    }

    @Test(.enabled(if: (try? ManyImagesTests.reads()) != nil, "the kernel counts no reads"))
    func whatIsReadOfOneImageDoesNotDependOnHowManyThereAre() throws {
        let (few, many) = try (Self.cost(10), Self.cost(1000))
        #expect(few == many)
        #expect(few.allSatisfy { $0 < 20 })
    }

    /// An image of a version without notes, or notes after a power failure.
    @Test(arguments: [false, true]) func anImageWithoutANoteOfItsNamesHasThemAll(_ isEmpty: Bool) throws {
        let (shop, store) = try Self.stocked(3)
        let key = try Workshop.key("r.io/team/image1:1")
        let digest = try #require(try store.digest(of: key))
        let note = shop.path + "/images/" + digest.directoryName + "/names"
        try OwnedFileDescriptor(opening: shop.path, [.readOnly, .directory]).removeFile(note)
        if isEmpty {
            _ = try OwnedFileDescriptor(opening: shop.path, [.readOnly, .directory])
                .open(note, [.writeOnly, .create, .exclusive], mode: 0o644)
        }
        try store.name(digest, [try Workshop.key("r.io/team/further:1")])
        #expect(try store.image(digest)?.names == ["r.io/team/further:1", "r.io/team/image1:1"])
    }

    @Test func aNameThatMovedOnIsNoLongerTheImages() throws {
        let (shop, store) = try Self.stocked(2)
        defer { withExtendedLifetime(shop) {} }
        let (one, other) = try (Workshop.key("r.io/team/image0:1"), Workshop.key("r.io/team/image1:1"))
        let old = try #require(try store.digest(of: one))
        let new = try #require(try store.digest(of: other))
        try store.name(new, [one])
        #expect(try store.image(old)?.names == [])
        #expect(try store.image(new)?.names == ["r.io/team/image0:1", "r.io/team/image1:1"])
        try store.name(old, [one])
        try store.name(new, [one])
        #expect(try store.image(new)?.names == ["r.io/team/image0:1", "r.io/team/image1:1"])
        // Recorded once, even if it was given several times.
        #expect(try shop.names("images/" + new.directoryName).filter { $0.hasPrefix("names") }.count == 2)
    }

    @Test func tenThousandImagesAreLookedUpLikeTen() throws {
        let few = try Self.stocked(10)
        let many = try Self.stocked(10_000)
        defer { withExtendedLifetime((few.shop, many.shop)) {} }
        let (ten, thousands) = try (
            Self.least(few.store, try Workshop.key("r.io/team/image5:1")),
            Self.least(many.store, try Workshop.key("r.io/team/image7777:1"))
        )
        #expect(thousands < 2 * ten, "\(ten) ns with ten, \(thousands) ns with ten thousand")
        #expect(try many.store.images().count == 10_000)
    }
}
