@testable import ImagePull
import Testing

/// The order in which layers are fetched.
@Suite struct LayerQueueTests {
    static let mega: Int64 = 1 << 20

    /// The layers that start first, and the order of all if the first running one always finishes next.
    static func order(_ sizes: [Int64]) -> (first: [Int], all: [Int]) {
        var queue = LayerQueue(Array(sizes.indices), width: 8) { sizes[$0] }
        var running: [Int] = []
        while let next = queue.next() { running.append(next) }
        let first = running
        var all = running
        while !running.isEmpty {
            queue.finish(running.removeFirst())
            while let next = queue.next() {
                running.append(next)
                all.append(next)
            }
        }
        return (first, all)
    }

    @Test func aLargeOneRunsBesideSmallOnes() {
        let sizes = Array(repeating: Int64(1000), count: 50) + [72 * Self.mega] + Array(repeating: 1000, count: 49)
        let order = Self.order(sizes)
        #expect(order.first.count == 8 && order.first[0] == 50)
        #expect(order.all.sorted() == Array(sizes.indices))
    }

    @Test func smallOnesAreNotLeftForTheEnd() {
        let sizes = Array(repeating: 10 * Self.mega, count: 20) + Array(repeating: Int64(1000), count: 20)
        let order = Self.order(sizes)
        #expect(order.first.count { $0 < 20 } == 6)
        #expect(order.first.count { $0 >= 20 } == 2)
        #expect(order.all.sorted() == Array(sizes.indices))
    }

    @Test func largeOnesTakeAllPlacesWhereNoneIsSmall() {
        let sizes = (1...20).map { Int64($0) * 2 * Self.mega }
        let order = Self.order(sizes)
        #expect(order.first == Array((12...19).reversed()))
    }

    @Test(arguments: [0, 1, 8, 100]) func allAreFetchedOnce(count: Int) {
        #expect(Self.order(Array(repeating: 5, count: count)).all.sorted() == Array(0..<count))
    }
}
