import Foundation

/// Texts that were reviewed once and must not change. `BERTH_RECORD=1` rewrites them for another review.
package enum Golden {
    /// Describes the difference between `text` and the recorded one; `nil` if they are equal.
    ///
    /// - Parameter directory: The directory next to the test's file.
    package static func difference(_ text: String, from name: String, beside file: String) -> String? {
        let path =
            file.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
            + "/Golden/\(name).txt"
        if ProcessInfo.processInfo.environment["BERTH_RECORD"] == "1" {
            let directory = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
                separator: "/")
            do {
                try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
                try Data(text.utf8).write(to: URL(fileURLWithPath: path))
            } catch {
                return "cannot record \(path): \(error)"
            }
            return nil
        }
        guard let data = FileManager.default.contents(atPath: path) else {
            return "Golden/\(name).txt is missing: run the tests once with BERTH_RECORD=1 and read what it writes"
        }
        let recorded = String(decoding: data, as: UTF8.self)
        if recorded == text { return nil }
        let before = lines(recorded)
        let now = lines(text)
        let changes = now.difference(from: before).sorted { Self.offset($0) < Self.offset($1) }.map { change in
            switch change {
            case .insert(let offset, let line, _): "+ \(offset + 1): \(line)"
            case .remove(let offset, let line, _): "- \(offset + 1): \(line)"
            }
        }
        return "Golden/\(name).txt differs (BERTH_RECORD=1 records what is now):\n" + changes.joined(separator: "\n")
    }

    /// Removes the numbers of a plan's steps, so that a new step does not change all later lines.
    private static func lines(_ text: String) -> [Substring] {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            let rest = line.drop { $0 == " " }
            let text = rest.drop { $0.isNumber }
            return text.startIndex == rest.startIndex ? line : text
        }
    }

    private static func offset(_ change: CollectionDifference<Substring>.Change) -> Int {
        switch change {
        case .insert(let offset, _, _): offset * 2 + 1
        case .remove(let offset, _, _): offset * 2
        }
    }
}

/// The root of the package, for a file in `Tests/TARGET/`.
package func packageRoot(_ file: String = #filePath) -> String {
    file.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
}
