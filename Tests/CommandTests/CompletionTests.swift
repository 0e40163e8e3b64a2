import ArgumentParser
import Foundation
import Testing

@testable import berth_image

/// The completion script as Bash runs it.
@Suite struct CompletionTests {
    /// - Parameter words: As Bash splits the line, at colons too.
    private static func answers(_ words: [String], _ line: String) throws -> [String] {
        let script = """
            berth() { printf 'docker.io/library/debian:12\\ndocker.io/library/debian:13\\nquay.io/a/b:1\\n'; }
            \(BashCompletion.extended(Berth.completionScript(for: .bash)))
            COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'
            COMP_LINE='\(line)' COMP_POINT=\(line.count) COMP_WORDS=(\(words.joined(separator: " "))) COMP_CWORD=\(words.count - 1)
            _berth_words berth "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
            printf '%s\\n' "${COMPREPLY[@]}"
            """
        let bash = Process()
        bash.executableURL = URL(fileURLWithPath: "/bin/bash")
        bash.arguments = ["-c", script]
        bash.currentDirectoryURL = URL(fileURLWithPath: "/usr")
        let pipe = Pipe()
        bash.standardOutput = pipe
        try bash.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        bash.waitUntilExit()
        return String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test(arguments: [
        (["berth", "run", "deb"], "berth run deb", ["debian:12", "debian:13"]),
        (["berth", "run", "debian", ":", "1"], "berth run debian:1", ["12", "13"]),
        (["berth", "run", "quay.io/a/b", ":"], "berth run quay.io/a/b:", ["1"]),
        (["berth", "run", "./sha"], "berth run ./sha", ["./share"]),
        (["berth", "run", "-v", "./sha"], "berth run -v ./sha", ["./share"]),
        (["berth", "rm"], "berth rm", ["rmi"]),
    ]) func bashCompletes(_ words: [String], _ line: String, _ answers: [String]) throws {
        #expect(try Self.answers(words, line) == answers)
    }
}
