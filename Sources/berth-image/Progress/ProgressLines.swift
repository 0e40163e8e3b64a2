internal import ImageSpec
internal import LinuxKernel

/// A pull's progress as lines of text: pure, so that it can be tested without a terminal.
struct ProgressLines {
    /// Bytes per second over the last moments; nil until there is something to go by.
    var rate: Double?
    var width: Int
    /// Lines there is room for.
    var height: Int

    func lines(for progress: PullProgress) -> [String] {
        var lines = [summary(progress)]
        guard case .layers = progress.stage else { return lines.map(fitted) }
        let active = progress.layers.filter { $0.phase == .downloading || $0.phase == .unpacking }
        let room = max(0, min(8, height - 2))
        for layer in active.prefix(room) { lines.append(line(layer)) }
        if active.count > room, room > 0 { lines.append("  … and \(active.count - room) more") }
        return lines.map(fitted)
    }

    private func summary(_ progress: PullProgress) -> String {
        switch progress.stage {
        case .resolving: return "\(progress.name): asking for the manifest"
        case .waiting: return "\(progress.name): another process is pulling it; waiting"
        case .composing(nil): return "\(progress.name): joining \(Quantity.count(progress.layers.count, "layer"))"
        case .composing(let reason?): return "\(progress.name): flattening \(Quantity.count(progress.layers.count, "layer")) (\(reason))"
        case .layers:
            let (done, total) = (progress.downloadedBytes, progress.totalBytes)
            var parts = [
                "\(progress.finishedLayers)/\(progress.layers.count) layers",
                "\(Quantity.bytes(done)) of \(Quantity.bytes(total))",
            ]
            if let rate, rate > 0, done < total {
                parts.append("\(Quantity.bytes(Int64(rate)))/s")
                parts.append("\(Quantity.wholeSeconds(Double(total - done) / rate)) left")
            }
            return "\(progress.name): " + parts.joined(separator: ", ")
        }
    }

    private func line(_ layer: PullProgress.Layer) -> String {
        let bar = 20
        let filled = layer.size == 0 ? bar : Int(Int64(bar) * layer.downloaded / layer.size)
        let drawn = String(repeating: "#", count: filled) + String(repeating: "·", count: bar - filled)
        let amount = "\(Quantity.bytes(layer.downloaded)) of \(Quantity.bytes(layer.size))"
        let phase =
            layer.phase == .downloading
            ? "download, verify, unpack \(Quantity.bytes(layer.unpacked))" : "unpack \(Quantity.bytes(layer.unpacked))"
        return "  \(layer.digest.hex.prefix(12))  \(drawn)  \(amount), \(phase)"
    }

    /// One column less than there is, for some terminals wrap when the last is written.
    private func fitted(_ line: String) -> String {
        let line = TerminalText.line(line)
        let room = max(8, width - 1)
        guard line.count > room else { return line }
        return line.prefix(room - 1) + "…"
    }
}

/// How fast bytes come, over the last few seconds: a longer memory would hide that a line went quiet.
struct RateMeter: Sendable {
    private var samples: [(time: Double, bytes: Int64)] = []
    private static let window = 4.0

    mutating func add(_ bytes: Int64, at time: Double) {
        samples.append((time, bytes))
        // One sample older than the window stays, to measure from.
        while samples.count > 2, samples[1].time < time - Self.window { samples.removeFirst() }
    }

    var rate: Double? {
        guard let first = samples.first, let last = samples.last, last.time - first.time >= 0.5 else { return nil }
        return Double(last.bytes - first.bytes) / (last.time - first.time)
    }
}
