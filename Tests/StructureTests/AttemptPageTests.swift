import Foundation
import TestSupport
import Testing

/// The pages with the tables of `Tests/Probe/Attempts`. `BERTH_RECORD=1` writes them.
@Suite struct AttemptPageTests {
    static func cell(_ answers: [String]) -> String { answers.joined(separator: " or ") }

    static func calls() throws -> String {
        try AttemptTable("calls").rows.map { row in
            let cells = ["`\(row.name)`", row.standard ?? "", row.fakeroot ?? ""] + row.kernel.map(cell)
            return "| " + cells.joined(separator: " | ") + " |\n"
        }.joined()
    }

    static func escapes() throws -> String {
        try AttemptTable("escapes").rows.map { row in
            let cells = AttemptTable.Mode.allCases.map { mode in
                let found = cell(row.answers(mode, standard: false, fakeroot: mode == .rootInside))
                return found.replacingOccurrences(of: "ok", with: "**succeeds**")
            }
            let standard = row.standard.map { _ in "refused" } ?? ""
            return "| \(row.name) | \(cells.joined(separator: " | ")) | \(standard) | \(row.remark) |\n"
        }.joined()
    }

    @Test(arguments: [("docs/reference/system-calls.md", "calls"), ("docs/explanation/security.md", "escapes")])
    func theTablesAreThoseOfTheTests(_ page: String, _ name: String) throws {
        let path = packageRoot() + "/" + page
        let written = try String(contentsOfFile: path, encoding: .utf8)
        let (start, end) = ("<!-- table of Tests/Probe/Attempts/\(name).tsv -->\n", "<!-- end of the table -->\n")
        let before = try #require(written.range(of: start)), after = try #require(written.range(of: end))
        let head = written[before.upperBound..<after.lowerBound].split(separator: "\n").prefix(2)
        let table = head.map { $0 + "\n" }.joined() + (name == "calls" ? try Self.calls() : try Self.escapes())
        let whole = written[..<before.upperBound] + table + written[after.lowerBound...]
        if ProcessInfo.processInfo.environment["BERTH_RECORD"] == "1" {
            try Data(whole.utf8).write(to: URL(fileURLWithPath: path))
        } else {
            #expect(written == whole, "run StructureTests with BERTH_RECORD=1 and read what it writes")
        }
    }
}
