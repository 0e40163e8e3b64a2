internal import CLinux

/// A process that has a file open, according to /proc.
package struct FileHolder: Equatable, Sendable {
    package let processID: Int32
    package let userID: UInt32
    /// The program's name, as in `ps -o comm`.
    package let command: String
    /// The Slurm job and step of its cgroup: `1234` or `1234.0`; `nil` outside a job.
    package let job: String?

    /// The processes that have this file open and are visible to the caller. An ordinary user sees only its own.
    package static func all(of file: borrowing OwnedFileDescriptor) -> [FileHolder] {
        // Only for messages, so unreadable processes are skipped.
        guard let wanted = try? file.status(),  // unreadable: skip
            let link = try? OwnedFileDescriptor(opening: file.procPath, .path | .noFollow).linkTarget([UInt8]()),  // likewise
            let processes = try? OwnedFileDescriptor(opening: "/proc", .readOnly | .directory),  // likewise
            let this = try? processes.open("self", .readOnly | .directory),  // likewise
            let names = try? processes.entries()  // likewise
        else { return [] }
        let own = Processes.ownID
        let wantedName = lastName(link)
        // Compared with the same file's of the others: stat(2) may show another number, as overlayfs does.
        let node = inode(of: Array("\(file.rawValue)".utf8), in: this)
        var found: [FileHolder] = []
        for name in names {
            guard let processID = Int32(name.displayPath), processID != own,
                let process = try? processes.open(name, .readOnly | .directory),  // exited
                let user = try? process.status().userID,  // likewise
                let open = try? process.open("fd", .readOnly | .directory),  // another user's
                let numbers = try? open.entries(),  // likewise
                numbers.contains(where: { number in
                    // stat(2) only of a file that has the name and the inode number: a server that does not answer would
                    // hold up this process, whatever the other ones have open there.
                    guard let target = try? open.linkTarget(number), lastName(target) == wantedName,  // closed
                        node == nil || inode(of: number, in: process) == node,
                        let status = try? FileStatus(of: "/proc/\(processID)/fd/\(number.displayPath)")  // likewise
                    else { return false }
                    return status.inode == wanted.inode && status.device == wanted.device
                })
            else { continue }
            let command = (try? process.open("comm", .readOnly).readAll(limit: 4096)) ?? []  // exited
            let cgroup = (try? process.open("cgroup", .readOnly).readAll(limit: 1 << 16)) ?? []  // likewise
            found.append(
                FileHolder(
                    processID: processID, userID: user, command: command.filter { $0 != 0x0A }.displayPath,
                    job: job(inCgroup: String(decoding: cgroup, as: UTF8.self))))
        }
        return found
    }

    /// The last name of what `/proc/PID/fd/N` shows. Names above it differ between mount namespaces.
    private static func lastName(_ target: [UInt8]) -> [UInt8] {
        let name = target.lastIndex(of: UInt8(ascii: "/")).map { Array(target[($0 + 1)...]) } ?? target
        let removed = " (deleted)".utf8
        return name.suffix(removed.count).elementsEqual(removed) ? name.dropLast(removed.count) : name
    }

    /// By fdinfo, since Linux 5.14, which asks no file system.
    private static func inode(
        of number: [UInt8], in process: borrowing OwnedFileDescriptor
    ) -> UInt64? {
        let place = "fdinfo/" + number.displayPath
        guard let bytes = try? process.open(place, .readOnly).readAll(limit: 1 << 16) else { return nil }  // closed
        for line in bytes.split(separator: UInt8(ascii: "\n")) where line.starts(with: "ino:".utf8) {
            return UInt64(String(decoding: line.dropFirst(4).filter { $0 != 0x09 && $0 != 0x20 }, as: UTF8.self))
        }
        return nil
    }

    /// Parses `/slurm/uid_1000/job_1234/step_0/task_0` of cgroup v1, and `…/job_1234/step_0/user` of v2.
    package static func job(inCgroup text: String) -> String? {
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: "/")
            guard let job = parts.first(where: { $0.hasPrefix("job_") })?.dropFirst(4), !job.isEmpty else { continue }
            guard let step = parts.first(where: { $0.hasPrefix("step_") })?.dropFirst(5) else { return String(job) }
            return "\(job).\(step)"
        }
        return nil
    }
}
