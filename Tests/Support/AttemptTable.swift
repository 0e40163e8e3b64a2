import Foundation

/// The expected results of system calls and attempts to escape in each mode, from `Tests/Probe/Attempts`.
package struct AttemptTable: Sendable {
    package enum Mode: Int, Sendable, CaseIterable { case user, rootInside, root, rootWithUser }

    package struct Row: Sendable {
        package let name: String
        /// The filters' decisions; `nil` if the filter allows the call.
        package let standard: String?
        package let fakeroot: String?
        /// The kernel's results by mode: several if the node's settings or the kernel's version decide.
        package let kernel: [[String]]
        package let remark: String

        package func answers(_ mode: Mode, standard hasStandard: Bool, fakeroot hasFakeroot: Bool) -> [String] {
            if hasStandard, let standard { return [standard] }
            if hasFakeroot, let fakeroot { return [fakeroot] }
            return kernel[mode.rawValue]
        }
    }

    package let rows: [Row]

    /// - Parameter name: `calls` or `escapes`.
    package init(_ name: String) throws {
        let path = packageRoot() + "/Tests/Probe/Attempts/\(name).tsv"
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").dropFirst()
        rows = try lines.map { line in
            let cells = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            guard cells.count >= 7 else { throw TestSupportError("\(path): \(line)") }
            let decisions = cells[1...2].map { $0 == "-" ? nil : $0 }
            return Row(
                name: cells[0], standard: decisions[0], fakeroot: decisions[1],
                kernel: cells[3...6].map { $0.split(separator: " ").map(String.init) },
                remark: cells.count > 7 ? cells[7] : "")
        }
    }

    /// Compares output lines of the form `NAME: RESULT` with the table.
    /// - Parameter missing: Calls that this kernel does not have.
    package func differences(
        _ lines: [String], _ mode: Mode, standard: Bool, fakeroot: Bool, missing: Set<String> = []
    ) -> [String] {
        var answers: [String: String] = [:]
        for line in lines {
            let words = line.components(separatedBy: ": ")
            answers[words.dropLast().joined(separator: ": ")] = words.last
        }
        let unknown = Set(answers.keys).subtracting(rows.map(\.name)).sorted().map { "\($0): not in the table" }
        return unknown
            + rows.compactMap { row in
                let expected = row.answers(mode, standard: standard, fakeroot: fakeroot)
                guard let answer = answers[row.name] else { return "\(row.name): no answer" }
                if expected.contains(answer) || answer == "ENOSYS" && missing.contains(row.name) { return nil }
                return "\(row.name): \(answer), expected \(expected.joined(separator: " or "))"
            }
    }
}
