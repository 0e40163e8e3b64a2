import Diagnostics
import ExperimentFiles
import Foundation
import ImageDiagnostics
import TestSupport
import Testing

/// Experiment files and CSCS' EDF files, and the words of a launch that they become.
@Suite struct ExperimentFileTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func read(_ names: String..., environment: [String: String] = [:]) throws -> ExperimentFile {
        try ExperimentFile(names, environment: { environment[$0] }, workingDirectory: directory.path)
    }

    private func words(_ text: String, environment: [String: String] = [:]) throws -> ExperimentWords {
        let path = try directory.write(text, to: "x.toml")
        return try read(path, environment: environment).words(
            environment: { environment[$0] }, workingDirectory: "/work/dir")
    }

    /// The message of a file that cannot be used, without its path.
    private func fault(_ text: String, environment: [String: String] = [:]) throws -> String {
        do {
            _ = try words(text, environment: environment)
            return "no error"
        } catch let error as ExperimentFileError {
            return Report(error).text.replacingOccurrences(of: directory.path + "/", with: "")
        }
    }

    @Test func everyKeyBecomesOptions() throws {
        let words = try words(
            """
            image = "nvcr.io#nvidia/pytorch:25.09-py3"
            command = ["python", "train.py", ""]
            workdir = "./here"
            entrypoint = false
            writable = false
            root = true
            home = false
            mounts = ["${SCRATCH}:/data:ro+private", "./a:/b"]
            gpus = 2
            devices = ["nvidia.com/gpu=0"]
            fabric = "none"
            profile = "pytorch"
            seccomp = "default"
            require = ["gpus=2"]
            slurm = true
            [env]
            A = "1"
            B = "${A}:x"
            C = ""
            N = 8
            [ulimits]
            memlock = -1
            """, environment: ["SCRATCH": "/scratch/alice"])
        #expect(words.image == "nvcr.io#nvidia/pytorch:25.09-py3")
        #expect(words.command == ["python", "train.py", ""])
        #expect(words.mounts == ["/scratch/alice:/data:ro+private", "./a:/b"])
        #expect(words.usesEntrypoint == false)
        #expect(
            words.options == [
                "--workdir", "/work/dir/here", "--read-only=true", "--root", "--no-home", "--slurm", "--gpus", "2", "--fabric",
                "none", "--profile", "pytorch", "--seccomp", "default", "--device", "nvidia.com/gpu=0", "--require", "gpus=2",
                "--ulimit", "memlock=-1", "--env", "A=1", "--expand-env", "B=${A}:x", "--unsetenv", "C", "--env", "N=8",
            ])
    }

    @Test func basesCountFirstAndListsAddUp() throws {
        try directory.write("image = 'a'\nmounts = ['/a']\n[env]\nX = '1'\nY = '1'\n", to: "edf/one.toml")
        try directory.write("base_environment = 'one'\nmounts = ['/b']\n[env]\nY = '2'\n", to: "edf/two.toml")
        try directory.write("base = ['one', 'two']\nimage = 'c'\n", to: "edf/three.toml")
        let environment = ["EDF_PATH": "relative:/nowhere:\(directory.path)/edf"]
        let words = try read("three", environment: environment).words(environment: { environment[$0] }, workingDirectory: "/")
        #expect(words.image == "c")
        #expect(words.mounts == ["/a", "/a", "/b"])
        #expect(words.options == ["--env", "X=1", "--env", "Y=2"])
        // Without the variable: ~/.edf.
        try directory.write("image = 'h'\n", to: ".edf/mine.toml")
        #expect(try read("mine", environment: ["HOME": directory.path]).files == ["\(directory.path)/.edf/mine.toml"])
    }

    @Test func loopsAndLongRowsOfBasesEnd() throws {
        try directory.write("base = './loop.toml'\n", to: "loop.toml")
        #expect(throws: ExperimentFileError.self) { try read("./loop.toml") }
        for level in 0..<12 { try directory.write("base = './level\(level + 1).toml'\n", to: "level\(level).toml") }
        do {
            _ = try read("./level0.toml")
            Issue.record("no error")
        } catch let error as ExperimentFileError {
            #expect(Report(error).text.contains("level10.toml is the eleventh file"))
        }
    }

    @Test func filesOfTheSearchPathMustBeOnesOwn() throws {
        try directory.write("image = 'x'\n", to: "edf/mine.toml", mode: 0o666)
        do {
            _ = try read("mine", environment: ["EDF_PATH": directory.path + "/edf"])
            Issue.record("no error")
        } catch let error as ExperimentFileError {
            #expect(Report(error).text.contains("writable by other users"))
        }
        // One that is named by its path is the caller's choice.
        #expect(try read("./edf/mine.toml").files.count == 1)
    }

    @Test(arguments: [
        ("image = 1", "x.toml: the value of \"image\" has the wrong form"),
        ("command = 'python train.py'", "it takes a list of texts: one for the program and one for each argument"),
        ("env = ['A=1']", "it takes a table of texts, integers and booleans"),
        ("imge = 'a'", "there is no key \"imge\"\n  hint: did you mean image?"),
        ("image = 'a'\nimage = 'b'", "x.toml, line 2: this is no TOML"),
        ("image = 'a", "x.toml, line 1: this is no TOML"),
        ("image = '${NONE}'", "image refers to the variable NONE, which is not set"),
        ("image = '${1}'", "image has \"${1}\", which is no reference to a variable"),
        ("image = '${A'", "which is no reference to a variable"),
        ("image = \"a\\u0000b\"", "the value of \"image\" has the wrong form"),
        ("mounts = ['/d.sqsh:/d:sqsh']", "Berth does not mount squashfs files as data"),
        ("image = 'a@sha256:1'\n[lock]\ndigest = 'sha256:2'", "is not the one of its [lock] table"),
    ]) func whatIsWrongIsNamed(_ text: String, _ expected: String) throws {
        let found = try fault(text)
        #expect(found.contains(expected), "\(found)")
        #expect(found.contains("hint: "))
    }

    @Test func annotationsAreFlatAndNamedWhereTheyDoNothing() throws {
        let words = try words(
            """
            [annotations]
            com.hooks.slurm.enabled = "true"
            com.hooks.cxi.enabled = "false"
            [annotations.com.hooks.ssh]
            enabled = "true"
            authorize_ssh_key = "/k"
            """)
        #expect(words.options == ["--slurm"])
        #expect(words.notes.count == 2 && words.notes.allSatisfy { $0.hasPrefix("annotation com.hooks.ssh.") })
    }

    @Test func aRenderedFileReadsAsTheSame() throws {
        let text = """
            image = "a\\"b\\\\c\\td\\u0001é"
            mounts = ["/a:/b"]
            writable = true
            [env]
            "A.B" = "x # no comment"
            PATH = "${PATH}:/x"
            """
        let first = try read(try directory.write(text, to: "a.toml"))
        let rendered = TOMLValue.text(try first.resolved { _ in nil }, order: ExperimentKey.all.map(\.name))
        let second = try read(try directory.write(rendered, to: "b.toml"))
        #expect(second.values == first.values)
    }

    /// For editors. `BERTH_RECORD=1` writes it.
    @Test func theSchemaHasEveryKey() throws {
        let path = Self.root + "/docs/reference/experiment-file.schema.json"
        if ProcessInfo.processInfo.environment["BERTH_RECORD"] == "1" {
            try Data(Self.schema.utf8).write(to: URL(fileURLWithPath: path))
        }
        #expect(
            try String(contentsOfFile: path, encoding: .utf8) == Self.schema,
            "run ExperimentFilesTests with BERTH_RECORD=1 and read what it writes")
        _ = try JSONSerialization.jsonObject(with: Data(Self.schema.utf8))
        let page = try String(contentsOfFile: Self.root + "/docs/reference/experiment-files.md", encoding: .utf8)
        for name in ExperimentKey.names {
            #expect(page.contains("`\(name)`") || page.contains("`[\(name)]`"), "\(name) is not on the page")
        }
        for (prefix, _) in ExperimentWords.annotations { #expect(page.contains("`\(prefix)*`")) }
    }

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    private static var schema: String {
        var lines = [
            "{", #"  "$schema": "https://json-schema.org/draft/2020-12/schema","#, #"  "title": "Berth experiment file","#,
            #"  "type": "object","#, #"  "additionalProperties": false,"#, #"  "properties": {"#,
        ]
        var entries: [String] = []
        for key in ExperimentKey.all {
            let text = #"{"type": "string"}"#
            let form =
                switch key.form {
                case .text: #""type": "string""#
                case .boolean: #""type": "boolean""#
                case .textOrBoolean: #""type": ["string", "boolean"]"#
                case .textOrInteger: #""type": ["string", "integer"]"#
                case .texts: #""type": ["string", "array"], "items": \#(text)"#
                case .words: #""type": "array", "items": \#(text), "minItems": 1"#
                case .table: #""type": "object", "additionalProperties": {"type": ["string", "integer", "boolean"]}"#
                case .annotations: #""type": "object""#
                }
            for name in [key.name] + key.otherNames {
                entries.append(#"    "\#(name)": {\#(form), "description": "\#(key.meaning)"}"#)
            }
        }
        lines.append(entries.joined(separator: ",\n"))
        lines += ["  }", "}", ""]
        return lines.joined(separator: "\n")
    }
}
