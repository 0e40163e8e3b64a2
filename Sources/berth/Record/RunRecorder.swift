internal import Allocation
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig

/// Writes down what a launch is, for `berth history` and `berth replay`. It never fails a launch: what keeps a record from being
/// written is one line.
struct RunRecorder {
    private let path: String
    private let directory: DescriptorBox
    private let record: RunRecord

    /// Everything that has to be read on the host, before the container's files take its place.
    ///
    /// - Returns: `nil` if this launch is not to be recorded.
    /// - Parameters:
    ///   - words: The options of `berth run` as they were written, without IMAGE and the command.
    ///   - command: What was written behind IMAGE, or the command of the step.
    init?(
        _ request: LaunchRequest, _ image: LocatedImage, _ plan: LaunchPlan, words: [String], command: [String]
    ) {
        guard Self.wants(request), let path = request.recordDirectory else { return nil }
        self.path = path
        do throws(SystemError) {
            let top = try Self.directory(path)
            let record =
                try RunRecord(request, image, plan, words: words, command: command)
            self.record = record
            // A year of runs in one directory would make each listing slow.
            let month = String(record.id.prefix(6))
            let directory = try Self.enter(month, in: top)
            // In a directory that others can write to it may be another user's, who would choose what `berth replay` runs.
            if Trust(isOwnFile: true).fault(of: try directory.status(), at: path + "/" + month) != nil {
                throw SystemError(call: "open", errno: Errno.EPERM, subject: path + "/" + month)
            }
            self.directory = DescriptorBox(directory)
        } catch {
            Self.warn(path, error)
            return nil
        }
    }

    /// Publishes the record, now that the container exists.
    func publish() {
        let draft = ".\(record.id).new"
        do throws(SystemError) {
            do throws(SystemError) {
                let text = record.text
                try directory.descriptor.open(draft, .writeOnly | .create | .exclusive | .noFollow, mode: 0o600)
                    .writeAll(Array(text.utf8))
                try directory.descriptor.move(draft, to: record.id + ".json", in: directory.descriptor)
            } catch {
                try? directory.descriptor.removeFile(draft)  // it may not exist
                throw error
            }
        } catch {
            Self.warn(path, error)
        }
    }

    /// With `record = yes`; one task of one node for a whole step.
    private static func wants(_ request: LaunchRequest) -> Bool {
        guard request.configuration.record else { return false }
        if let task = request.task, task.nodeID != 0 || task.localID != 0 && request.audience == .thisProcess { return false }
        return true
    }

    private static func directory(_ path: String) throws(SystemError) -> OwnedFileDescriptor {
        do throws(SystemError) { return try OwnedFileDescriptor(opening: path, .path | .directory) } catch {
            guard error.errno == Errno.ENOENT else { throw error }
        }
        var directory = try OwnedFileDescriptor(opening: "/", .path | .directory)
        for name in path.split(separator: "/") { directory = try enter(String(name), in: directory, following: true) }
        return directory
    }

    /// A directory below another one, created if it is missing.
    ///
    /// - Parameter following: It may be a link, on the way to the site's or the user's directory of records.
    private static func enter(
        _ name: String, in parent: borrowing OwnedFileDescriptor, following: Bool = false
    ) throws(SystemError) -> OwnedFileDescriptor {
        let flags: OpenFlags = following ? .path | .directory : .path | .directory | .noFollow
        do throws(SystemError) { return try parent.open(name, flags) } catch {
            guard error.errno == Errno.ENOENT else { throw error }
        }
        do throws(SystemError) { try parent.makeDirectory(name, mode: 0o700) } catch {
            guard error.errno == Errno.EEXIST else { throw error }
        }
        return try parent.open(name, .path | .directory | .noFollow)
    }

    private static func warn(_ path: String, _ error: SystemError) {
        Terminal.say(
            Report(
                "warning: this run is not recorded in \(path): \(error.sentence)",
                hint: "`record = no` in ~/.config/berth/berth.conf turns records off"))
    }
}

extension LaunchRequest {
    /// Where this caller's runs are recorded.
    var recordDirectory: String? {
        configuration.runRecords(environment: caller.variable, accountHome: caller.account?.homeDirectory)
    }
}
