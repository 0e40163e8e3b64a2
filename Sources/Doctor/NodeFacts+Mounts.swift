internal import LinuxKernel
internal import SiteConfig

extension NodeFacts {
    /// A file system that depends on a server or another process.
    package struct RemoteMount: Equatable, Sendable {
        package let path: String
        package let type: String
        package let answer: Answer

        package enum Answer: Equatable, Sendable {
            case well
            case failed(Int32)
            /// No answer within the time limit.
            case none
        }

        package init(path: String, type: String, answer: Answer) {
            self.path = path
            self.type = type
            self.answer = answer
        }

        func holds(_ path: String) -> Bool { path == self.path || path.hasPrefix(self.path + "/") }
    }

    private static let remoteTypes = [
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse", "gpfs", "lustre", "nfs", "nfs4", "panfs", "pvfs2", "smb3",
        "virtiofs", "wekafs",
    ]

    /// Calls statfs(2) in another process, because it waits for a server that is down. A mount that does not answer
    /// takes most of the total time limit, and the mounts after it are skipped.
    static func remoteMounts(_ table: [Substring]) -> [RemoteMount] {
        let end = Clock.monotonicNanoseconds + 400_000_000
        var found: [RemoteMount] = []
        for line in table {
            let words = line.split(separator: " ")
            guard let dash = words.firstIndex(of: "-"), words.count > dash + 1, words.count > 4 else { continue }
            let type = String(words[dash + 1])
            guard remoteTypes.contains(type) || type.hasPrefix("fuse.") else { continue }
            let path = SiteConfiguration.Mount.unescape(String(words[4]))
            // Skip mounts below a mount that does not answer.
            if found.contains(where: { $0.path == path || ($0.answer == .none && $0.holds(path)) }) { continue }
            let now = Clock.monotonicNanoseconds
            // With less time left, a working mount could fail to answer.
            guard now + 100_000_000 < end else { break }
            found.append(RemoteMount(path: path, type: type, answer: answer(of: path, by: min(end, now + 250_000_000))))
        }
        return found
    }

    private static func answer(of path: String, by deadline: UInt64) -> RemoteMount.Answer {
        do throws(SystemError) {
            let ended = try Processes.run(
                "/usr/bin/stat", arguments: ["stat", "-f", "--", path], environment: [],
                output: .captureBoth(limit: 65536), deadline: deadline)
            if ended.status == 0 { return .well }
        } catch {
            // The program is missing, so the state is unknown.
            return error.errno == Errno.ETIMEDOUT ? .none : .well
        }
        // The mount has answered, so this call does not block.
        do throws(SystemError) {
            _ = try OwnedFileDescriptor(opening: path, .path).space()
            return .well
        } catch {
            // EACCES: another user's FUSE mount.
            return error.errno == Errno.EACCES ? .well : .failed(error.errno)
        }
    }
}
