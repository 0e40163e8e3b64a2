package import LinuxKernel

extension SlurmConfiguration {
    /// The lines of plugstack.conf and the files that it includes, split into words: spank(8). The order is undefined.
    ///
    /// - Throws: The error of an unreadable file or directory. Missing ones are skipped.
    package func plugstack() throws(SystemError) -> [[String]] {
        guard let directory else { return [] }
        var result: [[String]] = []
        var left = [value(of: "PlugStackConfig", in: "slurm.conf") ?? directory + "/plugstack.conf"]
        var seen: [String] = []
        while let file = left.popLast() {
            // Files may include each other.
            if seen.contains(file) || seen.count > 100 { continue }
            seen.append(file)
            let bytes: [UInt8]
            do throws(SystemError) { bytes = try contents(of: root + file, limit: 1 << 20) } catch {
                if error.isAbsence { continue }
                throw error
            }
            for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
                let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" }.map(String.init)
                guard words.count > 1 else { continue }
                if words[0] == "include" {
                    left += try files(words[1].hasPrefix("/") ? words[1] : directory + "/" + words[1])
                } else {
                    result.append(words)
                }
            }
        }
        return result
    }

    /// Expands a pattern with at most one `*`, in the last component, which covers common use.
    private func files(_ pattern: String) throws(SystemError) -> [String] {
        guard let slash = pattern.lastIndex(of: "/"), let star = pattern.lastIndex(of: "*"), star > slash else {
            return [pattern]
        }
        let directory = String(pattern[..<slash])
        let (head, tail) = (
            pattern[pattern.utf8.index(after: slash)..<star], pattern[pattern.utf8.index(after: star)...]
        )
        let names = try OwnedFileDescriptor.entries(of: root + directory + "/") ?? []
        return names.map(\.displayPath).sorted()
            .filter { $0.hasPrefix(head) && $0.hasSuffix(tail) && !$0.hasPrefix(".") }.map { directory + "/" + $0 }
    }
}
