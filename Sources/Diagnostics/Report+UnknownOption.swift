internal import LaunchPlanning
internal import LinuxKernel

extension Report {
    /// Suggests a replacement for an unknown option of `berth run`.
    static func instead(of option: String) -> String? {
        if option.hasPrefix("--container-") {
            return "this is an srun option of Berth's Slurm plugin: srun \(option)=…"
        }
        return nearest(to: option).map { "did you mean \($0)? `berth run --help` lists the options" }
    }

    /// The option with this prefix, or else the nearest one with at most two typing errors.
    private static func nearest(to option: String) -> String? {
        guard option.hasPrefix("--") else { return nearestShort(to: option) }
        let name = String(option.dropFirst(2))
        guard name.utf8.count > 1 else { return nil }
        if name.utf8.count > 2, let longer = RunOption.all.first(where: { $0.name.hasPrefix(name) }) {
            return "--" + longer.name
        }
        return Self.nearest(to: name, among: RunOption.table.filter { $0.answer != .refused }.map(\.name)).map {
            "--" + $0
        }
    }

    /// `-E` for `-e`, `-gpus` for `--gpus`.
    private static func nearestShort(to option: String) -> String? {
        let word = String(option.dropFirst())
        if RunOption.named(word) != nil { return "--" + word }
        let lower = word.lowercased()
        for known in RunOption.all {
            if let short = known.short, lower == String(short) { return "-\(short) (--\(known.name))" }
        }
        // A prefix of only one long option.
        let begun = RunOption.all.filter { $0.name.hasPrefix(lower) }
        return begun.count == 1 ? "--" + begun[0].name : nil
    }

    /// The name with the smallest edit distance: at most one for short names, and at most two for others.
    package static func nearest(to name: String, among names: [String]) -> String? {
        let bytes = Array(name.utf8)
        let allowed = bytes.count < 5 ? 1 : 2
        return names.map { ($0, editDistance(bytes, Array($0.utf8))) }.filter { $0.1 <= allowed && $0.1 < bytes.count }
            .min { $0.1 < $1.1 }?.0
    }

    /// The Levenshtein distance, in which swapping two neighbours counts as one edit.
    package static func editDistance(_ one: [UInt8], _ other: [UInt8]) -> Int {
        var before: [Int] = []
        var row = Array(0...other.count)
        for i in one.indices {
            var next = [i + 1]
            for j in other.indices {
                var least = min(row[j] + (one[i] == other[j] ? 0 : 1), row[j + 1] + 1, next[j] + 1)
                if i > 0, j > 0, one[i] == other[j - 1], one[i - 1] == other[j] {
                    least = min(least, before[j - 1] + 1)
                }
                next.append(least)
            }
            (before, row) = (row, next)
        }
        return row[other.count]
    }
}
