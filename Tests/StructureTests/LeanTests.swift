import Foundation
import TestSupport
import Testing

/// The launcher must start in a millisecond with a single thread.
@Suite struct LeanTests {
    static let root = packageRoot()

    static func files(_ directory: String, _ suffixes: [String]) -> [String] {
        let names = FileManager.default.enumerator(atPath: root + "/" + directory)?.compactMap { $0 as? String } ?? []
        return names.filter { name in suffixes.contains { name.hasSuffix($0) } }.map { directory + "/" + $0 }.sorted()
    }

    static func lines(_ file: String) -> [String] {
        let text =
            FileManager.default.contents(atPath: root + "/" + file).map { String(decoding: $0, as: UTF8.self) } ?? ""
        return text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    @Test func theLauncherNeverWaitsAndLoadsNothingLarge() throws {
        let large = [
            "Foundation", "FoundationEssentials", "Dispatch", "ArgumentParser", "NIOCore", "Synchronization",
            "_Concurrency", "RegexBuilder",
        ]
        for target in try Manifest.shared.get().closure(of: "berth").sorted() {
            for file in Self.files("Sources/" + target, [".swift"]) {
                for (number, line) in Self.lines(file).enumerated() {
                    for module in large { #expect(!line.hasSuffix("import " + module), "\(file) imports \(module)") }
                    let code = line.components(separatedBy: "//").first ?? ""
                    let words = code.split { !$0.isLetter && $0 != "_" }
                    for word in ["async", "await", "actor", "Task"] {
                        #expect(!words.contains(Substring(word)), "\(file):\(number + 1): \(word)")
                    }
                }
            }
        }
    }

    /// The standard library compares and splits strings by characters; importing LinuxKernel hides that
    /// (`ByteStrings.swift`). ImageSpec, which imports nothing, uses `utf8`.
    @Test func stringsAreTakenApartByTheirBytes() {
        let methods = [
            ".hasPrefix(", ".hasSuffix(", ".split(separator: \"", ".split(whereSeparator: { $0 == \"",
            ".firstIndex(of: \"",
            ".lastIndex(of: \"", ".prefix { $0 != \"", ".prefix(while: { $0 != \"", ".drop { $0 == \"", ".first == \"",
        ]
        for file in Self.files("Sources", [".swift"]) {
            let target = file.split(separator: "/")[1]
            if ["LinuxKernel", "Distribution"].contains(target) { continue }
            let lines = Self.lines(file)
            let isImported = lines.contains { $0.hasSuffix("import LinuxKernel") }
            for (number, line) in lines.enumerated() where !isImported {
                for method in methods {
                    #expect(
                        !line.contains(method),
                        "\(file):\(number + 1): \(method)…) is about characters: import LinuxKernel, or use utf8")
                }
            }
            // `index(after:)` on a string skips combining characters; on `utf8`, it moves by one byte.
            for (number, line) in lines.enumerated() {
                let isOfText = ["text", "entry", "path", "line", "value", "kind"].contains {
                    line.contains($0 + ".index(after:")
                }
                #expect(!isOfText, "\(file):\(number + 1): utf8.index(after:)")
            }
        }
    }

    /// User 0 of a user namespace is not root, so code must use `Identity.isRoot`.
    @Test func rootIsAskedForByName() {
        for file in Self.files("Sources", [".swift"]) where !file.hasSuffix("LinuxKernel/Identity.swift") {
            for (number, line) in Self.lines(file).enumerated() {
                for words in [
                    "Identity.userID == 0", "Identity.userID != 0", "host.userID == 0", "host.userID != 0", "geteuid()",
                ] {
                    #expect(!line.contains(words), "\(file):\(number + 1): \(words): use isRoot")
                }
            }
        }
    }

    @Test func noTestAndNoFileInCIsTooLong() {
        for file in Self.files("Sources", [".c", ".h"]) + Self.files("Tests", [".swift", ".c", ".py"])
            + Self.files("Plugin", [".c", ".h"])
        {
            #expect(Self.lines(file).count <= 600, "\(file) has \(Self.lines(file).count) lines: split it")
        }
    }
}
