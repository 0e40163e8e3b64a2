/// The order in which layers are fetched.
///
/// The largest come first, because the largest determines when the pull ends. Small ones cost a round trip each and
/// little bandwidth, so some always run in parallel with the large ones rather than all at the end.
struct LayerQueue {
    private var large: ArraySlice<Int>
    private var small: ArraySlice<Int>
    private let isLarge: Set<Int>
    private let width: Int
    private var running = 0
    private var largeRunning = 0

    /// Below this size, latency dominates: only a few hundred kB are in flight at a time.
    private static let smallest: Int64 = 1 << 20

    init(_ layers: [Int], width: Int, size: (Int) -> Int64) {
        let sorted = layers.sorted { (size($0), $1) > (size($1), $0) }
        large = sorted.filter { size($0) > Self.smallest }[...]
        small = sorted.filter { size($0) <= Self.smallest }[...]
        isLarge = Set(large)
        self.width = width
    }

    /// The next layer to fetch; `nil` if enough are running or none is left.
    mutating func next() -> Int? {
        guard running < width else { return nil }
        // Reserve a quarter of the slots for small layers while there are any.
        let limit = small.isEmpty ? width : width - width / 4
        let next: Int?
        if largeRunning < limit, let first = large.popFirst() {
            largeRunning += 1
            next = first
        } else {
            next = small.popFirst()
        }
        if next != nil { running += 1 }
        return next
    }

    mutating func finish(_ layer: Int) {
        running -= 1
        if isLarge.contains(layer) { largeRunning -= 1 }
    }
}
