internal import ImagePull
internal import ImageSpec

/// Where a pull stands: a value that events change and that is drawn from time to time.
struct PullProgress: Sendable, Equatable {
    struct Layer: Sendable, Equatable {
        let digest: Digest
        let size: Int64
        let wasPresent: Bool
        var downloaded: Int64 = 0
        var unpacked: Int64 = 0
        var isFinished = false

        enum Phase: Equatable { case present, waiting, downloading, unpacking, done }

        var phase: Phase {
            if wasPresent { return .present }
            if isFinished { return .done }
            if downloaded == 0 { return .waiting }
            return downloaded < size ? .downloading : .unpacking
        }
    }

    enum Stage: Sendable, Equatable {
        case resolving
        /// For another process that pulls the same.
        case waiting
        case layers
        case composing(flattenedBecause: String?)
    }

    let name: String
    private(set) var stage = Stage.resolving
    private(set) var layers: [Layer] = []
    private(set) var digest: Digest?

    init(name: String) { self.name = name }

    mutating func apply(_ event: PullEvent) {
        switch event {
        case .waiting: stage = .waiting
        case .resolved(let digest, let states):
            stage = .layers
            self.digest = digest
            layers = states.map { Layer(digest: $0.digest, size: $0.size, wasPresent: $0.isPresent) }
        case .downloaded(let layer, let bytes):
            // Events of several threads may overtake each other; a number never goes back.
            update(layer) { $0.downloaded = max($0.downloaded, min(bytes, $0.size)) }
        case .unpacked(let layer, let bytes): update(layer) { $0.unpacked = max($0.unpacked, bytes) }
        case .finished(let layer):
            update(layer) {
                $0.downloaded = $0.size
                $0.isFinished = true
            }
        case .composing(let reason): stage = .composing(flattenedBecause: reason)
        }
    }

    private mutating func update(_ index: Int, _ change: (inout Layer) -> Void) {
        guard layers.indices.contains(index) else { return }
        change(&layers[index])
    }

    /// Of what has to come over the network.
    var totalBytes: Int64 { layers.reduce(0) { $0 + ($1.wasPresent ? 0 : $1.size) } }
    var downloadedBytes: Int64 { layers.reduce(0) { $0 + $1.downloaded } }
    var finishedLayers: Int { layers.count { $0.isFinished || $0.wasPresent } }
}

/// Numbers for people.
enum Quantity {
    /// `425 MB`, decimal as registries and networks count.
    static func bytes(_ count: Int64) -> String {
        var (value, unit) = (Double(count), 0)
        if value < 1000 { return "\(count) B" }
        while value >= 999.5, unit < 4 {
            value /= 1000
            unit += 1
        }
        let name = ["B", "kB", "MB", "GB", "TB"][unit]
        return value < 99.95 ? "\(oneDecimal(value)) \(name)" : "\(UInt64(value.rounded())) \(name)"
    }

    /// `1 layer`, `2 layers`.
    static func count(_ number: some BinaryInteger, _ name: String) -> String { "\(number) \(name)\(number == 1 ? "" : "s")" }

    /// `3 days`, for lists.
    static func age(seconds: Int64) -> String {
        let units: [(length: Int64, name: String)] = [
            (86400 * 365, "year"), (86400 * 7, "week"), (86400, "day"), (3600, "hour"), (60, "minute"),
        ]
        guard let unit = units.first(where: { seconds >= $0.length }) else { return "moments" }
        let count = seconds / unit.length
        return "\(count) \(unit.name)\(count == 1 ? "" : "s")"
    }

    static func seconds(_ seconds: Double) -> String {
        if seconds < 99.95 { return "\(oneDecimal(seconds)) s" }
        return wholeSeconds(seconds)
    }

    /// What is only guessed.
    static func wholeSeconds(_ seconds: Double) -> String {
        let whole = Int(min(seconds, 1e9).rounded())
        if whole < 100 { return "\(whole) s" }
        if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
        return "\(whole / 3600) h \(whole % 3600 / 60) min"
    }

    private static func oneDecimal(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
