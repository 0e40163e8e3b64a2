internal import Diagnostics
internal import Glibc
internal import ImageSpec
internal import LinuxKernel
internal import Store

/// `berth images --filter`: several references are alternatives, everything else is required as well.
struct ImageFilter {
    private var patterns: [String] = []
    private var isDangling: Bool?
    /// Seconds since 1970.
    private var (before, since): (Int64?, Int64?)

    /// - Parameter images: Where `before` and `since` look for theirs.
    init(_ texts: [String], among images: [ImageRow]) throws(Failure) {
        for text in texts {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            switch (parts[0], parts.count == 2 ? parts[1] : "") {
            case ("reference", let pattern) where !pattern.isEmpty: patterns.append(pattern)
            case ("dangling", "true"), ("dangling", "1"): isDangling = true
            case ("dangling", "false"), ("dangling", "0"): isDangling = false
            case ("before", let name) where !name.isEmpty:
                before = min(before ?? .max, try Self.pulled(name, images, text))
            case ("since", let name) where !name.isEmpty:
                since = max(since ?? .min, try Self.pulled(name, images, text))
            default:
                throw Failure(
                    Report(
                        "--filter \(text) is not known",
                        hint: "reference=PATTERN, dangling=true, dangling=false, before=IMAGE or since=IMAGE"))
            }
        }
    }

    private static func pulled(_ name: String, _ images: [ImageRow], _ text: String) throws(Failure) -> Int64 {
        let digits = name.hasPrefix("sha256:") ? String(name.dropFirst(7)) : name
        let found = images.filter { row in
            row.names.contains { forms(of: $0).contains(name) }
                || (digits.utf8.count >= 12 && row.image.record.digest.hex.hasPrefix(digits))
        }
        guard let image = found.first else {
            throw Failure(
                Report("--filter \(text): no such image is in the store", hint: "`berth images` lists the images"))
        }
        return image.image.record.created
    }

    func apply(to rows: [ImageRow]) -> [ImageRow] {
        rows.compactMap { row in
            var row = row
            let created = row.image.record.created
            if let isDangling, row.names.isEmpty != isDangling { return nil }
            if let before, created >= before { return nil }
            if let since, created <= since { return nil }
            if patterns.isEmpty { return row }
            row.names = row.names.filter { name in
                Self.forms(of: name).contains { form in patterns.contains { fnmatch($0, form, FNM_PATHNAME) == 0 } }
            }
            return row.names.isEmpty ? nil : row
        }
    }

    /// A name as people write it: without Docker Hub's parts, and without the tag.
    private static func forms(of name: String) -> [String] {
        var forms = [name]
        for prefix in ["docker.io/", "docker.io/library/"] where name.hasPrefix(prefix) {
            forms.append(String(name.dropFirst(prefix.count)))
        }
        return forms + forms.map { ImageRow.parts(of: $0).repository }
    }
}
