import Foundation
import TestSupport
import Testing

/// What the launcher is made of must start in a millisecond, in one thread.
@Suite struct LeanTests {
    static let root = packageRoot()

    static let lean = [
        "LinuxKernel", "ImageSpec", "LaunchPlanning", "Sandbox", "Store", "SiteConfig", "Allocation", "Devices",
        "Diagnostics", "berth",
    ]

    static func files(_ directory: String, _ suffixes: [String]) -> [String] {
        let names = FileManager.default.enumerator(atPath: root + "/" + directory)?.compactMap { $0 as? String } ?? []
        return names.filter { name in suffixes.contains { name.hasSuffix($0) } }.map { directory + "/" + $0 }.sorted()
    }

    static func lines(_ file: String) -> [String] {
        let text =
            FileManager.default.contents(atPath: root + "/" + file).map { String(decoding: $0, as: UTF8.self) } ?? ""
        return text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    @Test(arguments: lean) func theLauncherNeverWaitsAndLoadsNothingLarge(_ target: String) {
        let large = [
            "Foundation", "FoundationEssentials", "Dispatch", "ArgumentParser", "NIOCore", "Synchronization",
            "_Concurrency", "RegexBuilder",
        ]
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

    @Test func noTestAndNoFileInCIsTooLong() {
        for file in Self.files("Sources", [".c", ".h"]) + Self.files("Tests", [".swift", ".c", ".py"])
            + Self.files("Plugin", [".c", ".h"])
        {
            #expect(Self.lines(file).count <= 600, "\(file) has \(Self.lines(file).count) lines: split it")
        }
    }
}
