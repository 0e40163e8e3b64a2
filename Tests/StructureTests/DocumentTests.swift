import Foundation
import TestSupport
import Testing

/// README.md, CONTRIBUTING.md and docs/: command blocks are marked, links are valid, tables match the code.
@Suite struct DocumentTests {
    static let pages: [String] = ["README.md", "CONTRIBUTING.md"] + LeanTests.files("docs", [".md"])

    /// Each ```sh block is executed (`run` by Tests/DocumentTests; `run: slurm` by Tests/SlurmTests) or has the reason
    /// why not.
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

    /// Readers search for the message on their screen, so quoted messages must be those of the programs. Searches the
    /// sources for the pieces between placeholders.
    @Test(arguments: ["docs/how-to/troubleshooting.md", "docs/reference/slurm-plugin.md"])
    func messagesThatAreExplainedExist(_ page: String) throws {
        let code = LeanTests.files("Sources", [".swift"]) + LeanTests.files("Plugin", [".c"])
        let source = code.map(ProgramTests.page).joined().replacingOccurrences(
            of: #""\s*\n\s*\+ ""#, with: "", options: .regularExpression)
        let others = [
            "Read-only file system", "Input/output error", "No space left on device", "Disk quota exceeded",
            "No such file or directory", "Operation not permitted", "Invalid argument", "unrecognized option",
            "Incompatible plugin version", "not found (required by srun)",
        ]
        var count = 0
        for line in LeanTests.lines(page) {
            let cell =
                line.hasPrefix("**`")
                ? line.components(separatedBy: "**").filter { $0.hasPrefix("`") }.joined()
                : line.hasPrefix("| `") && !line.hasPrefix("| `-")
                    ? line.components(separatedBy: " | ")[0] : ""
            for message in cell.components(separatedBy: "`").enumerated().filter({ $0.offset % 2 == 1 }).map(\.element)
            {
                let pieces = message.replacing(#/\.\.\.|HOST|IMAGE|NAME|/PATH|\bN\b|[:"(\d]/#, with: "\0")
                for piece in pieces.split(separator: "\0").map({ $0.trimmingCharacters(in: .whitespaces) })
                where piece.utf8.count > 9 && piece.contains(" ") {
                    count += 1
                    guard !others.contains(where: { message.contains($0) }) else { continue }
                    let isPrinted = source.contains(piece)
                    #expect(isPrinted, "\(page): no message has \"\(piece)\"")
                }
            }
        }
        #expect(count > 5)
    }

    /// Anchors of headings as GitHub creates them.
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
