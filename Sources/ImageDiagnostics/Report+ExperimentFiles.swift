package import Diagnostics
package import ExperimentFiles

extension Report {
    package init(_ error: ExperimentFileError) {
        let file = error.file
        let page = "docs/reference/experiment-files.md lists the keys"
        switch error.reason {
        case .unreadable(let cause):
            self.init("cannot read the experiment file \(file): \(cause.sentence)", hint: "check its path and its mode")
        case .notFound(let searched):
            self.init(
                "there is no experiment file \(file).toml in \(searched.isEmpty ? "any directory" : searched.joined(separator: ", "))",
                hint: "write a path with a slash, such as ./\(file).toml, or name its directory in EDF_PATH")
        case .untrusted(let fault): self.init(refusing: "the experiment file", file, fault)
        case .syntax(let line, let reason):
            self.init("\(file), line \(line): this is no TOML: \(reason)", hint: "https://toml.io describes the format")
        case .unknownKey(let key):
            self.init(
                "\(file): there is no key \"\(key)\"",
                hint: Report.nearest(to: key, among: ExperimentKey.names).map { "did you mean \($0)?" } ?? page)
        case .badValue(let key, let expected):
            self.init("\(file): the value of \"\(key)\" has the wrong form", hint: "it takes \(expected)")
        case .unresolved(let key, let variable):
            self.init(
                "\(file): \(key) refers to the variable \(variable), which is not set",
                hint: "set it, or write a default: ${\(variable):-DEFAULT}")
        case .malformedReference(let key, let text):
            self.init(
                "\(file): \(key) has \"\(text)\", which is no reference to a variable",
                hint: "write ${NAME} or ${NAME:-DEFAULT}, and $$ for a dollar sign")
        case .tooManyBases:
            self.init("\(file) is the eleventh file in a row of bases", hint: "there may be ten levels; merge some of them")
        case .ownBase: self.init("\(file) is its own base", hint: "remove it from `base`, there or in its bases")
        case .unsupported(_, let reason, let remedy): self.init("\(file): \(reason)", hint: remedy)
        case .brokenLock:
            self.init(
                "\(file): the digest of its image is not the one of its [lock] table",
                hint: "run `berth lock` again, or remove the table")
        }
    }
}
