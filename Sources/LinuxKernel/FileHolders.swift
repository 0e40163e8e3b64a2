internal import CLinux

/// A process that has a file open, as /proc shows it.
package struct FileHolder: Equatable, Sendable {
    package let processID: Int32
    package let userID: UInt32
    /// The name of the program, as in `ps -o comm`.
    package let command: String
    /// The job and step of Slurm that its cgroup belongs to: `1234` or `1234.0`; `nil` outside of one.
    package let job: String?

    /// The processes that have this file open, as far as the caller may see: an ordinary user sees its own.
    package static func all(of file: borrowing OwnedFileDescriptor) -> [FileHolder] {
        // To be told to people: what cannot be read is left out.
        guard let wanted = try? file.status(),
            let processes = try? OwnedFileDescriptor(opening: "/proc", .readOnly | .directory),
            let names = try? processes.entries()
        else { return [] }
        let own = Processes.ownID
        var found: [FileHolder] = []
        for name in names {
            guard let processID = Int32(name.displayPath), processID != own,
                let process = try? processes.open(name, .readOnly | .directory),
                let user = try? process.status().userID,
                let open = try? process.open("fd", .readOnly | .directory),
                let numbers = try? open.entries(),
                numbers.contains(where: { number in
                    guard let status = try? FileStatus(of: "/proc/\(processID)/fd/\(number.displayPath)")
                    else { return false }
                    return status.inode == wanted.inode && status.device == wanted.device
                })
            else { continue }
            let command = (try? process.open("comm", .readOnly).readAll(limit: 4096)) ?? []
            let cgroup = (try? process.open("cgroup", .readOnly).readAll(limit: 1 << 16)) ?? []
            found.append(
                FileHolder(
                    processID: processID, userID: user, command: command.filter { $0 != 0x0A }.displayPath,
                    job: job(inCgroup: String(decoding: cgroup, as: UTF8.self))))
        }
        return found
    }

    /// `/slurm/uid_1000/job_1234/step_0/task_0` of cgroups of version 1, and `…/job_1234/step_0/user` of version 2.
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
