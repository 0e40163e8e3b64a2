internal import LinuxKernel
internal import SiteConfig

extension NodeFacts {
    /// A file system of a server, or of another process.
    package struct RemoteMount: Equatable, Sendable {
        package let path: String
        package let type: String
        package let answer: Answer

        package enum Answer: Equatable, Sendable {
            case well
            case failed(Int32)
            /// Not within the time that the doctor has.
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

    /// Asks each by statfs(2), which nobody answers from memory, in another process: this one must not wait for a server that
    /// is gone. What does not answer takes most of the time that all have; who comes then is left out.
    static func remoteMounts(_ table: [Substring]) -> [RemoteMount] {
        let end = Clock.monotonicNanoseconds + 400_000_000
        var found: [RemoteMount] = []
        for line in table {
            let words = line.split(separator: " ")
            guard let dash = words.firstIndex(of: "-"), words.count > dash + 1, words.count > 4 else { continue }
            let type = String(words[dash + 1])
            guard remoteTypes.contains(type) || type.hasPrefix("fuse.") else { continue }
            let path = SiteConfiguration.Mount.unescape(String(words[4]))
            // Below one that is silent the way there is as long.
            if found.contains(where: { $0.path == path || ($0.answer == .none && $0.holds(path)) }) { continue }
            let now = Clock.monotonicNanoseconds
            // With less time left one that is well might seem not to be.
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
            // Without that program nothing is known.
            return error.errno == Errno.ETIMEDOUT ? .none : .well
        }
        // It answered, so it will once more.
        do throws(SystemError) {
            _ = try OwnedFileDescriptor(opening: path, .path).space()
            return .well
        } catch {
            // A user's own FUSE is nobody else's business.
            return error.errno == Errno.EACCES ? .well : .failed(error.errno)
        }
    }
}
