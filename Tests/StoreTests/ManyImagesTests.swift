import ImageSpec
import LinuxKernel
@testable import Store
import Testing
import TestSupport

/// A look-up costs the same, however many images there are.
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

    /// The least of many, in nanoseconds: what else the machine does only makes it longer.
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
