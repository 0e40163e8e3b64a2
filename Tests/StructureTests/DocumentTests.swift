import Foundation
import LaunchPlanning
import TestSupport
import Testing

/// README.md, CONTRIBUTING.md and docs/: blocks of commands are marked, links lead somewhere, tables match the code.
@Suite struct DocumentTests {
    static let pages: [String] = ["README.md", "CONTRIBUTING.md"] + LeanTests.files("docs", [".md"])

    /// A block ```sh is executed (`run`, by Tests/DocumentTests; `run: slurm`, by Tests/SlurmTests), or says why not.
    @Test(arguments: pages) func everyBlockOfCommandsIsMarked(_ page: String) throws {
        let lines = LeanTests.lines(page)
        let mark = #/<!-- (run(: (fails|slurm))?|not run: .{10,}) -->/#
        var isInside = false
        for (number, line) in lines.enumerated() {
            let text = line.trimmingCharacters(in: .whitespaces)
            guard text.hasPrefix("```") else { continue }
            isInside.toggle()
            guard isInside else { continue }
            let language = String(text.dropFirst(3))
            #expect(
                ["sh", "text", "ini", "json"].contains(language), "\(page):\(number + 1): a block of \"\(language)\"")
            guard language == "sh" else { continue }
            let before = number > 0 ? lines[number - 1].trimmingCharacters(in: .whitespaces) : ""
            #expect(before.wholeMatch(of: mark) != nil, "\(page):\(number + 1): no mark before the block")
        }
        #expect(!isInside, "\(page): a block without an end")
    }

    @Test(arguments: pages) func linksToSectionsLeadToOne(_ page: String) throws {
        let directory = page.split(separator: "/").dropLast()
        for part in ProgramTests.page(page).components(separatedBy: "](").dropFirst() {
            let link = part.prefix { $0 != ")" && $0 != " " }.split(separator: "#", omittingEmptySubsequences: false)
            guard link.count == 2, !link[0].contains("://") else { continue }
            var path = Array(directory)
            for component in link[0].split(separator: "/") {
                if component == ".." { path.removeLast() } else { path.append(component) }
            }
            let target = link[0].isEmpty ? page : path.joined(separator: "/")
            #expect(Self.sections(target).contains(String(link[1])), "\(page) points to \(target)#\(link[1])")
        }
    }

    /// What each of Docker's options does here is in one table; this holds it to the options that there are.
    @Test func dockersOptionsAreWhatTheTableSays() throws {
        let known = Set(RunOption.all.map(\.name)).union(["net", "help"])
        var seen = 0
        let page = ProgramTests.page("docs/reference/docker-options.md").components(separatedBy: "## ")[0]
        for row in page.split(separator: "\n") where row.hasPrefix("| `-") {
            let cells = row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            let isTaken = cells[1] != "refused"
            #expect(["yes", "no effect", "refused"].contains(cells[1]), "\(row)")
            for option in cells[0].split(separator: ", ").map({ $0.trimmingCharacters(in: ["`"]) })
            where option.hasPrefix("--") {
                seen += 1
                #expect(known.contains(String(option.dropFirst(2))) == isTaken, "docker-options.md: \(option)")
            }
        }
        #expect(seen > 90)
    }

    /// As GitHub makes them of the headings.
    private static func sections(_ page: String) -> Set<String> {
        var isInside = false
        var names: Set<String> = []
        for line in LeanTests.lines(page) {
            if line.trimmingCharacters(in: .whitespaces).hasPrefix("```") { isInside.toggle() }
            guard !isInside, line.hasPrefix("#") else { continue }
            let heading = line.drop { $0 == "#" }.trimmingCharacters(in: .whitespaces).lowercased()
            let kept = heading.filter { $0.isLetter || $0.isNumber || $0 == " " || $0 == "-" || $0 == "_" }
            names.insert(kept.replacingOccurrences(of: " ", with: "-"))
        }
        return names
    }
}
