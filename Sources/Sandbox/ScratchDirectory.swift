internal import LinuxKernel

/// A container's upper directory on disk: `PATH/berth-UID/XXXXXXXXXXXXXXXX`, with a lease that every process of the
/// container inherits. Nobody stays behind to remove it, so the next launch does, once the lease is free.
enum ScratchDirectory {
    struct Place: ~Copyable {
        let directory: OwnedFileDescriptor
        let lease: OwnedFileDescriptor
    }

    static func make(below path: String) throws(SystemError) -> Place {
        let site = try OwnedFileDescriptor(opening: path, .readOnly | .directory)
        let own = "berth-\(Identity.userID)"
        do throws(SystemError) { try site.makeDirectory(own, mode: 0o700) } catch {
            if error.errno != 17 { throw error }  // EEXIST
        }
        let parent = try site.open(own, .readOnly | .directory | .noFollow)
        // Somebody else may have made it first in a directory that all may write.
        let status = try parent.status()
        guard status.userID == Identity.userID, status.permissions & 0o077 == 0 else {
            throw SystemError(call: "open", errno: 1, subject: "\(path)/\(own)")  // EPERM
        }
        sweep(parent)
        let name = try Random.hexadecimal(bytes: 8)
        try parent.makeDirectory(name, mode: 0o700)
        let directory = try parent.open(name, .readOnly | .directory | .noFollow)
        let lease = try directory.createLocked("lease", .shared, mode: 0o600)
        try directory.makeDirectory("upper", mode: 0o755)
        try directory.makeDirectory("work", mode: 0o755)
        return Place(directory: directory, lease: lease)
    }

    /// Removes what containers that have ended left here. Failing to is no reason not to start.
    private static func sweep(_ parent: borrowing OwnedFileDescriptor) {
        guard let names = try? parent.entries() else { return }  // see above
        for name in names {
            guard let directory = try? parent.open(name, .readOnly | .directory | .noFollow),  // gone already
                let lease = try? directory.open("lease", .readWrite | .noFollow),  // not one of ours, or just being made
                (try? lease.tryLock(.exclusive)) == true  // no lock: leave it
            else { continue }
            try? parent.removeTree(name)  // the next launch tries again
        }
    }
}
