internal import Diagnostics
internal import FoundationEssentials
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig

/// A record that a launch wrote: docs/reference/run-records.md.
struct StoredRun: Decodable, Equatable {
    struct Image: Decodable, Equatable {
        let reference, name, platform: String
        let pinned, digest: String?
        let layers: [String]?
    }
    struct Directories: Decodable, Equatable { let host, container: String }
    struct User: Decodable, Equatable {
        let name: String?
        let uid, gid: UInt32
        let rootInside: Bool
    }
    struct Mount: Decodable, Equatable {
        let source, target: String
        let readOnly: Bool
        let fileSystem: String?
    }
    struct Variable: Decodable, Equatable { let name, value, from: String }
    struct GPU: Decodable, Equatable {
        let node, address: String
        let uuid, model: String?
    }
    struct Devices: Decodable, Equatable {
        let nodes: [String]
        let gpus: [GPU]?
        let driver: String?
        let cdi: [String]?
    }
    struct Limit: Decodable, Equatable {
        let name: String
        let soft, hard: UInt64
    }
    struct Host: Decodable, Equatable { let name, kernel: String? }
    struct File: Decodable, Equatable {
        let path, sha256: String
        /// Its path on the host.
        let source: String?
    }
    struct Git: Decodable, Equatable {
        let directory: String
        let commit, branch: String?
        let changed: [String]?
    }

    let record: Int
    let id, time, berth: String
    let replayOf: String?
    let image: Image
    /// What ran; the words behind IMAGE; the options in front of it.
    let command, written, options: [String]
    let workingDirectory: Directories
    let user: User
    let mounts: [Mount]
    let environment: [Variable]
    /// Of Slurm's variables, by the record's names.
    let job: [String: String]?
    let devices: Devices?
    let limits: [Limit]
    let host: Host
    let files: [File]?
    let git: Git?

    /// `JOB.STEP`, `JOB` in a batch script, `nil` outside of Slurm.
    var step: String? { job?["id"].map { id in id + (job?["step"].map { "." + $0 } ?? "") } }

    /// What stands in a record for a secret.
    static let masked = SecretMask.replacement
}

/// The directory of all records: one file each, in a directory for each month.
struct RunHistory {
    let path: String

    init(_ settings: Settings) throws(Failure) {
        let environment = settings.environment
        guard let path = settings.configuration.runRecords(environment: { environment[$0] }, accountHome: settings.accountHome) else {
            throw Failure(
                Report(
                    "this account has no home directory, so there is no place for records of runs",
                    hint: "write record-directory = /a/directory into berth.conf"))
        }
        self.path = path
    }

    static let nothing = Report("no runs are recorded", hint: "`record = yes` in berth.conf records runs")

    /// The IDs, newest first.
    func ids() throws(Failure) -> [String] {
        try reporting({ Report($0) }) { () throws(SystemError) in
            var ids: [String] = []
            let top: OwnedFileDescriptor
            do throws(SystemError) { top = try OwnedFileDescriptor(opening: path, .readOnly | .directory) } catch {
                if error.errno == Errno.ENOENT { return [] }
                throw error
            }
            for month in try top.entries().sorted(by: { $1.lexicographicallyPrecedes($0) }) {
                guard month.count == 6, let directory = try? top.open(month, .readOnly | .directory) else { continue }  // not ours
                for name in try directory.entries().sorted(by: { $1.lexicographicallyPrecedes($0) }) {
                    let name = RawText.string(name[...])
                    if !name.hasPrefix("."), name.hasSuffix(".json") { ids.append(String(name.dropLast(5))) }
                }
            }
            return ids
        }
    }

    func text(of id: String) throws(Failure) -> [UInt8] {
        let path = "\(path)/\(id.prefix(6))/\(id).json"
        // A record decides what `berth replay` runs.
        let fault = try reporting({ Report($0) }) { () throws(SystemError) in try Trust().fault(on: path) }
        if let fault {
            throw Failure(
                Report(
                    refusing: "record", path, fault,
                    hint: "`record-directory` in ~/.config/berth/berth.conf names a directory of your own"))
        }
        return try reporting({ Report($0) }) { () throws(SystemError) in try contents(ofRegularFile: path, limit: 4 << 20) }
    }

    func run(_ id: String) throws(Failure) -> StoredRun {
        do { return try JSONDecoder().decode(StoredRun.self, from: Data(try text(of: id))) } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(
                Report(
                    "cannot read the record \(id): it is damaged, or of another version of Berth",
                    hint: "it is the file \(path)/\(id.prefix(6))/\(id).json"))
        }
    }

    /// What a user calls a run: an ID or the beginning of one, `JOB` or `JOB.STEP` of Slurm's, or `last`.
    func find(_ text: String) throws(Failure) -> StoredRun {
        let ids = try ids()
        if ids.isEmpty { throw Failure(Self.nothing) }
        if text == "last", let first = ids.first { return try run(first) }
        var matches = ids.filter { $0.hasPrefix(text) || $0.hasSuffix("-" + text) }
        if matches.isEmpty, text.prefix(1).allSatisfy(\.isNumber) {
            for id in ids {
                guard let run = try? run(id) else { continue }  // a damaged one is named by the list
                if run.step == text || run.job?["id"] == text { matches.append(id) }
            }
        }
        guard let match = matches.first else {
            throw Failure(Report("no run \(text) is recorded", hint: "list the recorded runs with `berth history`"))
        }
        guard matches.count == 1 else {
            throw Failure(
                Report(
                    "\(matches.count) recorded runs match \(text)", details: matches.prefix(10).map { $0 },
                    hint: "give more of the ID"))
        }
        return try run(match)
    }
}
