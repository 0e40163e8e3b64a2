internal import LaunchPlanning
internal import LinuxKernel

/// One or more experiment files with all their bases, in one table: Berth's own, and CSCS' environment definition files (EDF).
package struct ExperimentFile: Sendable {
    /// By the canonical name of the key; references to variables as they are written.
    package private(set) var values: [String: TOMLValue] = [:]
    /// The path of each file that was read.
    package private(set) var files: [String] = []
    /// The file that has set a key last.
    private var origin: [String: String] = [:]

    /// - Parameters:
    ///   - names: Paths, or names without a slash of files in the search path. Later ones win.
    ///   - environment: The caller's variables: `EDF_PATH` and `HOME` make the search path.
    ///   - workingDirectory: Where relative paths begin.
    package init(
        _ names: [String], environment: @escaping (String) -> String?, workingDirectory: String
    ) throws(ExperimentFileError) {
        let search = SearchPath(environment, workingDirectory: workingDirectory)
        for name in names { try add(name, search, above: []) }
        try checkLock()
    }

    /// Bases first; the depth is EDF's limit.
    private mutating func add(_ name: String, _ search: SearchPath, above: [String]) throws(ExperimentFileError) {
        let (path, bytes) = try search.read(name)
        if above.contains(path) { throw ExperimentFileError(file: path, reason: .ownBase) }
        guard above.count < 10 else { throw ExperimentFileError(file: path, reason: .tooManyBases) }
        let document: [String: TOMLValue]
        do throws(TOMLValue.SyntaxError) { document = try TOMLValue.document(bytes) } catch {
            throw ExperimentFileError(file: path, reason: .syntax(line: error.line, error.reason))
        }
        var own: [(key: ExperimentKey, value: TOMLValue)] = []
        for (name, value) in document {
            guard let key = ExperimentKey.named(name) else {
                throw ExperimentFileError(file: path, reason: .unknownKey(name))
            }
            try key.check(value, file: path)
            own.append((key, value))
        }
        for base in own.first(where: { $0.key.name == "base" })?.value.strings ?? [] {
            try add(base, search, above: above + [path])
        }
        files.append(path)
        for (key, value) in own where key.name != "base" {
            values[key.name] = key.merged(values[key.name], value)
            origin[key.name] = path
        }
    }

    private func checkLock() throws(ExperimentFileError) {
        guard case .table(let lock)? = values["lock"] else { return }
        guard case .string(let digest)? = lock["digest"], case .string(let image)? = values["image"],
            image.hasSuffix("@" + digest)
        else { throw ExperimentFileError(file: file(of: "lock"), reason: .brokenLock) }
    }

    /// The file that has set a key.
    package func file(of key: String) -> String { origin[key] ?? files.last ?? "" }

    package mutating func set(_ key: String, _ value: TOMLValue) { values[key] = value }
}

extension TOMLValue {
    /// One string, or a list of them.
    var strings: [String]? {
        switch self {
        case .string(let text): return [text]
        case .array(let values):
            let texts = values.compactMap { value -> String? in
                if case .string(let text) = value { text } else { nil }
            }
            return texts.count == values.count ? texts : nil
        default: return nil
        }
    }
}

/// Where names without a slash are looked for: the directories of `EDF_PATH`, or `~/.edf`.
private struct SearchPath {
    private let directories: [String]
    private let workingDirectory: String

    init(_ environment: (String) -> String?, workingDirectory: String) {
        self.workingDirectory = workingDirectory
        if let path = environment("EDF_PATH"), !path.isEmpty {
            directories = path.split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        } else {
            directories = environment("HOME").map { [$0 + "/.edf"] } ?? []
        }
    }

    func read(_ name: String) throws(ExperimentFileError) -> (path: String, bytes: [UInt8]) {
        if name.contains("/") || name.hasSuffix(".toml") {
            let path = absolutePath(name, from: workingDirectory)
            return (path, try Self.contents(path))
        }
        for directory in directories {
            let path = "\(directory)/\(name).toml"
            guard (try? FileStatus(of: path)) != nil else { continue }  // absent here
            // The caller did not name this file: HOME may be another user's, as with sudo.
            let fault: UntrustedPath?
            do throws(SystemError) { fault = try Trust(isOwnFile: true).fault(on: path) } catch {
                throw ExperimentFileError(file: path, reason: .unreadable(error))
            }
            if let fault { throw ExperimentFileError(file: path, reason: .untrusted(fault)) }
            return (path, try Self.contents(path))
        }
        throw ExperimentFileError(file: name, reason: .notFound(searched: directories))
    }

    private static func contents(_ path: String) throws(ExperimentFileError) -> [UInt8] {
        do throws(SystemError) { return try LinuxKernel.contents(of: path, limit: 1 << 20) } catch {
            throw ExperimentFileError(file: path, reason: .unreadable(error))
        }
    }
}
