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
            let processes = try? OwnedFileDescriptor(opening: "/proc", .readOnly | .directory),  // likewise
            let names = try? processes.entries()  // likewise
        else { return [] }
        let own = Processes.ownID
        var found: [FileHolder] = []
        for name in names {
            guard let processID = Int32(name.displayPath), processID != own,
                let process = try? processes.open(name, .readOnly | .directory),  // exited
                let user = try? process.status().userID,  // likewise
                let open = try? process.open("fd", .readOnly | .directory),  // another user's
                let numbers = try? open.entries(),  // likewise
                numbers.contains(where: { number in
                    guard let status = try? FileStatus(of: "/proc/\(processID)/fd/\(number.displayPath)")  // closed
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
