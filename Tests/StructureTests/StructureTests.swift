import Foundation
import TestSupport
import Testing

/// Rules of docs/explanation/architecture.md that are easy to break unintentionally.
@Suite struct StructureTests {
    /// Modules of the toolchain. The launcher's targets do not use them (`LeanTests`).
    static let toolchain: Set = ["Dispatch", "FoundationEssentials", "Glibc", "Synchronization"]

    /// SwiftPM itself allows imports of indirect dependencies.
    @Test func everyTargetImportsWhatItDeclares() throws {
        let manifest = try Manifest.shared.get()
        for target in manifest.sources {
            let sources = Source.all.filter { $0.target == target.name }
            for source in sources {
                for module in source.imports where !Self.toolchain.contains(module) {
                    #expect(target.modules.contains(module), "\(source.path) imports \(module): see Package.swift")
                }
            }
            let unused = target.modules.subtracting(sources.flatMap(\.imports))
            #expect(unused.isEmpty, "\(target.name) declares but does not import \(unused.sorted())")
        }
    }

    /// docs/reference/dependencies.md has one row for each dependency of Package.swift, and Scripts/setup installs the
    /// libraries.
    @Test func everyDependencyIsStated() throws {
        let manifest = try Manifest.shared.get()
        let packages = manifest.dependencies.flatMap { $0.sourceControl.map(\.identity) }
        let page = try String(contentsOfFile: packageRoot() + "/docs/reference/dependencies.md", encoding: .utf8)
        // | [name](address) (`Debian package`) | …
        let rows = page.split(separator: "\n").filter { $0.hasPrefix("| [") }.map { row -> String in
            let cell = row.dropFirst(3).prefix { $0 != "|" }
            let quoted = cell.split(separator: "`")
            return String(quoted.count > 1 ? quoted[1] : cell.prefix { $0 != "]" })
        }
        #expect(rows.sorted() == (packages + manifest.debianPackages).sorted())
        let setup = try String(contentsOfFile: packageRoot() + "/Scripts/setup", encoding: .utf8)
        let build = setup.split(separator: "\n").first { $0.hasPrefix("build=(") } ?? ""
        for package in manifest.debianPackages { #expect(build.contains(" \(package) "), "\(package)") }
    }

    @Test func noFileIsOverSixHundredLines() {
        for source in Source.all { #expect(source.lines.count <= 600, "\(source.path): split it") }
    }

    /// Only one module of each program contains messages.
    @Test func librariesNeitherPrintNorExit() {
        for source in Source.all where !["berth", "berth-image"].contains(source.target) {
            for (index, line) in source.lines.enumerated() {
                let code = line.components(separatedBy: "//")[0]
                if code.range(of: " print(") != nil || code.range(of: "ProcessInfo.processInfo.environment") != nil {
                    Issue.record("\(source.path):\(index + 1): \(code)")
                }
            }
        }
    }

    /// Write errors must not be lost, and names must be made safe for the terminal.
    @Test func oneFileWritesToTheStandardStreams() {
        for source in Source.all where !source.path.hasSuffix("/Diagnostics/Output.swift") {
            for (index, line) in source.lines.enumerated() {
                let code = line.components(separatedBy: "//")[0]
                #expect(
                    !code.contains("Streams.standardOutput(") && !code.contains("Streams.standardError("),
                    "\(source.path):\(index + 1): use Output")
            }
        }
    }

    /// `Documents` decodes all image documents, because it checks them first. Other JSON is answers and settings.
    @Test func imageDocumentsAreDecodedInOnePlace() {
        let others = [
            "/Authentication/", "/Credentials/", "/ServerErrors.swift", "/DocumentDecoding.swift", "/SeccompProfiles/",
            "/History/", "/ExperimentFiles/",
        ]
        for source in Source.all where !others.contains(where: source.path.contains) {
            for (index, line) in source.lines.enumerated() {
                #expect(!line.contains("JSONDecoder("), "\(source.path):\(index + 1): use Documents")
            }
        }
    }

    /// docs/explanation/known-attacks.md: a test file that a row names must contain each number of the row.
    @Test func knownAttacksAreTestedWhereTheDocumentSays() throws {
        let root = packageRoot()
        let tests = FileManager.default.enumerator(atPath: root + "/Tests")?.compactMap { $0 as? String } ?? []
        let rows = try String(contentsOfFile: root + "/docs/explanation/known-attacks.md", encoding: .utf8)
            .split(separator: "\n").filter { $0.hasPrefix("| CVE") || $0.hasPrefix("| GHSA") }
        #expect(rows.count > 25)
        for row in rows {
            let cells = row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            try #require(cells.count == 3, "\(row)")
            guard cells[2].hasPrefix("`") else { continue }
            let name = cells[2].trimmingCharacters(in: ["`"])
            let file = try #require(tests.first { ("/" + $0).hasSuffix("/" + name) }, "\(name)")
            let text = try String(contentsOfFile: root + "/Tests/" + file, encoding: .utf8)
            for number in cells[0].split(separator: ", ") { #expect(text.contains(number), "\(number) in \(name)") }
        }
    }

    @Test(arguments: ["run", "pull", "images", "inspect", "export", "rmi", "prune", "containers", "prefetch"])
    func everyVerbHasAPage(_ verb: String) {
        #expect(FileManager.default.fileExists(atPath: packageRoot() + "/docs/reference/commands/\(verb).md"))
    }

    /// Statically linked and single-threaded, so that unshare(CLONE_NEWUSER) cannot fail.
    @Test func theLauncherIsStaticAndHasNoThreads() throws {
        let unstripped = packageRoot() + "/.build/lean/release/berth"
        try #require(
            FileManager.default.isExecutableFile(atPath: unstripped), "no built launcher: run Scripts/build --lean")
        let symbols = try Command(["nm", unstripped]).run()
        #expect(symbols.status == 0)
        #expect(!symbols.output.contains("pthread_create"))
        #expect(!symbols.output.contains("10Foundation"))
        let header = try Command(["readelf", "-l", unstripped]).run()
        #expect(!header.output.contains("INTERP"))
    }
}

/// A Swift file of the product.
private struct Source {
    let path: String
    let target: String
    let lines: [String]

    static let all: [Source] = {
        let root = packageRoot() + "/Sources"
        let files = FileManager.default.enumerator(atPath: root)?.compactMap { $0 as? String } ?? []
        return files.filter { $0.hasSuffix(".swift") }.sorted().map { file in
            let text =
                FileManager.default.contents(atPath: root + "/" + file).map { String(decoding: $0, as: UTF8.self) }
                ?? ""
            return Source(
                path: "Sources/" + file, target: String(file.prefix { $0 != "/" }),
                lines: text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
        }
    }()

    var imports: [String] {
        lines.compactMap { line in
            var words = line.split(separator: " ").map(String.init)[...]
            while let first = words.first, ["internal", "package", "public", "private", "@testable"].contains(first) {
                words.removeFirst()
            }
            guard words.first == "import" else { return nil }
            words.removeFirst()
            if let kind = words.first, ["struct", "class", "enum", "func", "protocol"].contains(kind) {
                words.removeFirst()
            }
            return words.first.map { String($0.prefix { $0 != "." }) }
        }
    }
}
