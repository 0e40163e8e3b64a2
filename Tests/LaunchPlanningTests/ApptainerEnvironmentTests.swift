@testable import LaunchPlanning
import LinuxKernel
import Testing

/// The environment script of a SIF file: `.singularity.d/env/10-docker2singularity.sh`.
@Suite struct ApptainerEnvironmentTests {
    static func read(_ script: String) -> ApptainerEnvironment { ApptainerEnvironment(script: Array(script.utf8)) }

    /// As Apptainer writes it: the value with a shell's escapes, and that with Go's `%q`.
    static func written(_ name: String, _ value: String) -> String {
        var escaped = ""
        for character in value {
            switch character {
            case "\\", "\"", "`", "$": escaped += "\\" + String(character)
            default: escaped.append(character)
            }
        }
        var quoted = ""
        for scalar in escaped.unicodeScalars {
            switch scalar {
            case "\\", "\"": quoted += "\\" + String(scalar)
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            case "\u{1B}": quoted += "\\x1b"
            case "\u{A0}": quoted += "\\u00a0"
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return "export \(name)=\"${\(name):-\"\(quoted)\"}\"\n"
    }

    @Test(arguments: [
        "", "plain", "a \"b\" $c", "$(id)", "`id`", "${HOME}/x", "back\\slash", "\\n", "\\\\", "two\nlines", "crlf\r\nend",
        "tab\there", "\u{1B}[0m", "no\u{A0}break", "é", "}\"", "\"}\"", "x=y", "'",
    ]) func everyValueOfAnImageIsRead(_ value: String) {
        let read = Self.read("#!/bin/sh\n" + Self.written("A", value) + Self.written("LAST", "1"))
        #expect(read.defaults == ["A=" + value, "LAST=1"])
        #expect(read.fixed.isEmpty)
    }

    @Test(
        arguments: [
            // Lines within quotes, and ends of lines of another system.
            ("export A=\"${A:-\"one\ntwo\"}\"\nexport B=\"${B:-\"2\"}\"\n", ["A=one\ntwo", "B=2"]),
            ("export A=\"${A:-\"one\r\ntwo\"}\"\r\nexport B=\"${B:-\"2\"}\"\r\n", ["A=one\r\ntwo", "B=2"]),
            ("export A=\"${A:-\"no end of line\"}\"", ["A=no end of line"]),
            // What only a shell knows.
            ("export A=\"${A:-\"$(date)\"}\"\nexport B=\"${B:-\"2\"}\"\n", ["B=2"]),
            ("export A=\"${A:-\"`date`\"}\"\n", []), ("export A=\"${A:-\"$HOME/x\"}\"\n", []),
            ("export A=\"${A:-\"\\\\$(date)\"}\"\n", ["A=$(date)"]),
            // No names of variables.
            ("export A-B=\"${A-B:-\"1\"}\"\nexport 1A=\"${1A:-\"1\"}\"\nexport =\"${:-\"1\"}\"\n", []),
            ("export A.B=\"${A.B:-\"1\"}\"\nexport Ä=\"${Ä:-\"1\"}\"\nexport A B=\"${A B:-\"1\"}\"\n", []),
            // Of another form.
            ("export A=\"${B:-\"1\"}\"\nexport A=\"${A:-\"1\"}\"; rm -rf /\nexport A\nA=1\n", []),
            ("export A=\"${A:-\"no end", []), ("export A=\"${A:-\"\\", []), ("export A=\"${A:-}\"\n", []), ("", []),
        ] as [(String, [String])])
    func whatIsNoPlainValueIsLeftOut(_ script: String, _ defaults: [String]) {
        #expect(Self.read(script).defaults == defaults)
        #expect(Self.read(script).fixed.isEmpty || script.contains("A:-}"))
    }

    @Test func theSearchPathIsTheImages() {
        let read = Self.read("export PATH=\"/opt/bin:/bin\"\n" + Self.written("A", "1"))
        #expect(read.fixed == ["PATH=/opt/bin:/bin"] && read.defaults == ["A=1"])
    }

    /// `${A:-…}`: the user's variable wins, unless it is empty; and unless its path does not exist inside.
    @Test func theUsersVariableWins() throws {
        var image = Sample.image
        image.defaults = ["A=image", "B=image", "C=image", "TOOL=/opt/tool", "HOME=/image", "PATH=/opt/bin"]
        var host = Sample.host
        host.environment += ["A=user", "B=", "TOOL=/usr/local/tool"]
        var plan = try Sample.plan(image: image, host: host)
        func value(_ name: String) -> String? {
            plan.process.environment.first { $0.hasPrefix(name + "=") }.map { String($0.dropFirst(name.utf8.count + 1)) }
        }
        #expect(value("A") == "user" && value("B") == "image" && value("C") == "image")
        #expect(value("HOME") == "/home/ada" && value("PATH") == "/opt/bin")
        #expect(value("TOOL") == "/usr/local/tool")
        plan.process.dropVariables { $0 == "/opt/tool" }
        #expect(value("TOOL") == "/opt/tool")
        #expect(plan.process.environment.filter { $0.hasPrefix("TOOL=") }.count == 1)
        plan = try Sample.plan(image: image, host: host) { $0.variables = [.set(name: "C", value: "option")] }
        #expect(value("C") == "option")
        plan = try Sample.plan(image: image, host: host) { $0.cleansEnvironment = true }
        #expect(value("A") == "image")
    }

    /// What Slurm and PMI say of the job comes from them alone.
    @Test func anImageSetsNoVariableOfTheScheduler() throws {
        let names = ["SLURM_PROCID", "SLURM_NEW", "PMI_RANK", "PMI2_X", "PMIX_RANK", "PMIX_NEW"]
        var image = Sample.image
        image.environment += names.map { $0 + "=image" }
        image.defaults = names.map { $0 + "=image" }
        var host = Sample.host
        host.environment += ["SLURM_PROCID=3", "PMIX_RANK=3"]
        let entries = try Sample.plan(image: image, host: host).process.environment
        #expect(entries.filter { $0.hasPrefix("SLURM") || $0.hasPrefix("PMI") } == ["SLURM_PROCID=3", "PMIX_RANK=3"])
        // The user may.
        let set = try Sample.plan(image: image, host: host) { $0.variables = [.set(name: "SLURM_PROCID", value: "5")] }
        #expect(set.process.environment.contains("SLURM_PROCID=5"))
    }
}
