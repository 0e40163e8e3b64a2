/// In which order layers are fetched.
///
/// The largest first, for it decides when the last one ends. Small ones cost a round trip each and hardly any bandwidth,
/// so some always run beside the large ones, instead of all at the end.
struct LayerQueue {
    private var large: ArraySlice<Int>
    private var small: ArraySlice<Int>
    private let isLarge: Set<Int>
    private let width: Int
    private var running = 0
    private var largeRunning = 0

    /// Up to here a blob's latency counts for more than its bytes: a few hundred kB are under way at a time.
    private static let smallest: Int64 = 1 << 20

    init(_ layers: [Int], width: Int, size: (Int) -> Int64) {
        let sorted = layers.sorted { (size($0), $1) > (size($1), $0) }
        large = sorted.filter { size($0) > Self.smallest }[...]
        small = sorted.filter { size($0) <= Self.smallest }[...]
        isLarge = Set(large)
        self.width = width
    }

    /// The layer to begin with now; nil where enough are under way, or none is left.
    mutating func next() -> Int? {
        guard running < width else { return nil }
        // A quarter of the places is for small ones as long as any are left.
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
