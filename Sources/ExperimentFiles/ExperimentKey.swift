/// A key of an experiment file. The page docs/reference/experiment-files.md and its JSON Schema list the same ones.
package struct ExperimentKey: Sendable {
    package enum Form: Sendable {
        case text, boolean
        /// A text or a boolean.
        case textOrBoolean
        /// A text or an integer.
        case textOrInteger
        /// A list of texts, or one text.
        case texts
        /// A list of texts; one text would be ambiguous.
        case words
        /// Texts by name; integers and booleans are taken as their text.
        case table
        /// Texts by names with dots, each dot perhaps a table of its own.
        case annotations
    }

    package let name: String
    /// Names that mean the same: EDF's.
    package let otherNames: [String]
    package let form: Form
    package let meaning: String

    private init(_ name: String, _ form: Form, _ meaning: String, also otherNames: [String] = []) {
        (self.name, self.form, self.meaning, self.otherNames) = (name, form, meaning, otherNames)
    }

    package static let all = [
        ExperimentKey("base", .texts, "files whose keys count before this file's", also: ["base_environment"]),
        ExperimentKey("image", .text, "the image, as for `berth run`"),
        ExperimentKey("command", .words, "the command and its arguments, for a command line that has none"),
        ExperimentKey("workdir", .text, "the working directory inside"),
        ExperimentKey(
            "entrypoint", .textOrBoolean, "whether the image's ENTRYPOINT runs, or another program in its place"),
        ExperimentKey("writable", .boolean, "`false`: the root file system is read-only"),
        ExperimentKey("root", .boolean, "whether you are root inside"),
        ExperimentKey("home", .boolean, "whether the home directory is mounted"),
        ExperimentKey("mounts", .texts, "mounts in the form of `--container-mounts`: SRC:DST[:FLAG+FLAG]"),
        ExperimentKey("gpus", .textOrInteger, "the granted GPUs to show, as `--gpus`"),
        ExperimentKey("devices", .texts, "devices to show, as `--device`"),
        ExperimentKey("fabric", .text, "the network between nodes, as `--fabric`"),
        ExperimentKey("profile", .text, "variables for a kind of program, as `--profile`"),
        ExperimentKey("seccomp", .text, "the filter of system calls, as `--seccomp`"),
        ExperimentKey("require", .texts, "what must be there, as `--require`"),
        ExperimentKey("slurm", .boolean, "`true`: srun, sbatch and what they need are there"),
        ExperimentKey("env", .table, "variables; an empty text unsets the variable"),
        ExperimentKey("ulimits", .table, "resource limits by name: a number, or SOFT:HARD"),
        ExperimentKey("annotations", .annotations, "EDF's hooks; see the table"),
        ExperimentKey("lock", .table, "written by `berth lock`"),
    ]

    package static func named(_ name: String) -> ExperimentKey? {
        all.first { $0.name == name || $0.otherNames.contains(name) }
    }

    /// Every name that a file may use.
    package static var names: [String] { all.flatMap { [$0.name] + $0.otherNames } }

    func check(_ value: TOMLValue, file: String) throws(ExperimentFileError) {
        if !isForm(of: value) || value.holdsNUL {
            throw ExperimentFileError(file: file, reason: .badValue(key: name, expected: expected))
        }
    }

    private func isForm(of value: TOMLValue) -> Bool {
        switch (form, value) {
        case (.text, .string), (.textOrBoolean, .string), (.textOrInteger, .string), (.boolean, .boolean),
            (.textOrBoolean, .boolean), (.textOrInteger, .integer), (.annotations, .table):
            true
        case (.texts, _): value.strings != nil
        case (.words, .array): value.strings?.isEmpty == false
        case (.table, .table(let entries)): entries.allSatisfy { !$0.key.isEmpty && $0.value.scalarText != nil }
        default: false
        }
    }

    private var expected: String {
        switch form {
        case .text: "a text"
        case .boolean: "true or false"
        case .textOrBoolean: "true, false or a text"
        case .textOrInteger: "a text or an integer"
        case .texts: "a list of texts, or one text"
        case .words: "a list of texts: one for the program and one for each argument"
        case .table: "a table of texts, integers and booleans"
        case .annotations: "a table"
        }
    }

    /// What a file says, over what its bases say: lists and tables add up, the rest replaces.
    func merged(_ base: TOMLValue?, _ own: TOMLValue) -> TOMLValue {
        switch (form, base, own) {
        case (.texts, let base?, _): .array(((base.strings ?? []) + (own.strings ?? [])).map { .string($0) })
        case (.table, .table(let base)?, .table(let own)): .table(base.merging(own) { $1 })
        case (.annotations, .table(let base)?, .table(let own)):
            .table(Self.flattened(base).merging(Self.flattened(own)) { $1 })
        case (.annotations, _, .table(let own)): .table(Self.flattened(own))
        default: own
        }
    }

    /// `[annotations.com.hooks.ssh] enabled = …` and `com.hooks.ssh.enabled = …` are the same.
    private static func flattened(_ table: [String: TOMLValue], _ prefix: String = "") -> [String: TOMLValue] {
        var flat: [String: TOMLValue] = [:]
        for (name, value) in table {
            if case .table(let inner) = value {
                flat.merge(flattened(inner, prefix + name + ".")) { $1 }
            } else {
                flat[prefix + name] = value
            }
        }
        return flat
    }
}

extension TOMLValue {
    /// Of a text, an integer or a boolean.
    var scalarText: String? {
        switch self {
        case .string(let text): text
        case .integer(let number): "\(number)"
        case .boolean(let flag): flag ? "true" : "false"
        default: nil
        }
    }

    var holdsNUL: Bool {
        switch self {
        case .string(let text): text.utf8.contains(0)
        case .array(let values): values.contains(where: \.holdsNUL)
        case .table(let entries): entries.contains { $0.key.utf8.contains(0) || $0.value.holdsNUL }
        default: false
        }
    }
}
