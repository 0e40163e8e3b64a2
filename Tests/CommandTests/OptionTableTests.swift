import ArgumentParser
import Foundation
import LaunchPlanning
import Testing

@testable import berth_image

/// The launcher's option table must match the help.
@Suite struct OptionTableTests {
    private struct Dump: Decodable {
        struct Command: Decodable { let arguments: [Argument] }
        struct Argument: Decodable {
            struct Name: Decodable, Equatable { let kind: String; let name: String }
            let kind: String
            let isRepeating: Bool
            let parsingStrategy: String?
            let names: [Name]?
        }
        let command: Command
    }

    @Test func runTakesTheSameOptionsInBothPrograms() throws {
        let dump = try JSONDecoder().decode(Dump.self, from: Data(RunCommand._dumpHelp().utf8))
        // Help and version are always available; the launcher passes them on.
        let arguments = dump.command.arguments.filter { argument in
            argument.kind != "positional"
                && argument.names?.contains { ["help", "version"].contains($0.name) } == false
        }
        var declared: [String: String] = [:]
        for argument in arguments {
            let names = argument.names ?? []
            let long = try #require(names.first { $0.kind == "long" }?.name)
            let short = names.first { $0.kind == "short" }?.name ?? "-"
            // `defaultAsFlag` checks whether a value follows.
            let takes =
                argument.kind == "flag" ? "none" : argument.parsingStrategy == "scanningForValue" ? "optional" : "one"
            declared[long] = "\(short) \(takes) \(argument.isRepeating)"
        }
        var parsed: [String: String] = [:]
        for option in RunOption.all {
            parsed[option.name] = "\(option.short.map(String.init) ?? "-") \(option.argument) \(option.repeats)"
        }
        #expect(declared == parsed)
    }
}
