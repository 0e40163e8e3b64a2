package import LinuxKernel

/// A container's upper directory on disk: `PATH/berth-UID/XXXXXXXXXXXXXXXX`, with a lease that every process of the
/// container inherits. The next launch removes the directory once the lease is free: no process of Berth stays to do it.
///
/// UID is the caller's number in the host's user namespace: inside `--root` every user has the number 0.
package enum ScratchDirectory {
    struct Place: ~Copyable {
        let directory: OwnedFileDescriptor
        let lease: OwnedFileDescriptor
    }

    /// - Parameter user: The caller's number outside: `Identity.outerUserID`, read before the launch creates namespaces.
    static func make(below path: String, user: UInt32) throws(SystemError) -> Place {
        let parent = try ownDirectory(below: path, user: user)
        sweep(parent)
        let name = try Random.hexadecimal(bytes: 8)
        try parent.makeDirectory(name, mode: 0o700)
        let directory = try parent.open(name, .readOnly | .directory | .noFollow)
        let lease = try directory.createLocked("lease", .shared, mode: 0o600)
        try directory.makeDirectory("upper", mode: 0o755)
        try directory.makeDirectory("work", mode: 0o755)
        return Place(directory: directory, lease: lease)
    }

    /// Throws if this caller cannot create a scratch there. Leaves only `berth-UID`, as a launch does.
    package static func attempt(below path: String) throws(SystemError) {
        let parent = try ownDirectory(below: path, user: Identity.outerUserID)
        let name = try Random.hexadecimal(bytes: 8)
        try parent.makeDirectory(name, mode: 0o700)
        try parent.removeTree(name)
    }

    /// `berth-UID`, or `berth-UID.XXXXXXXX` if another user has taken that name, as any user can in a sticky directory.
    private static func ownDirectory(below path: String, user: UInt32) throws(SystemError) -> OwnedFileDescriptor {
        let site = try OwnedFileDescriptor(opening: path, .readOnly | .directory)
        let name = "berth-\(user)"
        if let own = try open(name, in: site) { return own }
        let prefix = Array("\(name).".utf8)
        for other in try site.entries() where other.starts(with: prefix) {
            // Another user may have filled the directory with such names: only one's own is opened, and none is made.
            guard let status = try? site.status(of: other), status.userID == Identity.userID,  // gone
                let own = try? open(other, in: site)  // not private
            else { continue }
            return own
        }
        let other = "\(name).\(try Random.hexadecimal(bytes: 4))"
        guard let own = try open(other, in: site) else {
            throw SystemError(call: "open", errno: Errno.EPERM, subject: "\(path)/\(other)")
        }
        return own
    }

    /// Creates the directory if it is missing; `nil` if another user owns it or can read it.
    private static func open(
        _ name: some PathBytes, in site: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> OwnedFileDescriptor? {
        do throws(SystemError) { try site.makeDirectory(name, mode: 0o700) } catch {
            if error.errno != Errno.EEXIST { throw error }
        }
        do throws(SystemError) {
            let own = try site.open(name, .readOnly | .directory | .noFollow)
            let status = try own.status()
            if status.userID == Identity.userID, status.permissions & 0o077 == 0 { return own }
            return nil
        } catch {
            if [Errno.EACCES, Errno.ENOTDIR, Errno.ELOOP].contains(error.errno) { return nil }  // another user's
            throw error
        }
    }

    /// Removes the directories of containers that have ended. A failure does not stop the launch.
    private static func sweep(_ parent: borrowing OwnedFileDescriptor) {
        guard let names = try? parent.entries() else { return }
        for name in names {
            guard let directory = try? parent.open(name, .readOnly | .directory | .noFollow) else { continue }  // gone already
            if let lease = try? directory.open("lease", .readWrite | .noFollow) {  // being made, or never finished
                guard (try? lease.tryLock(.exclusive)) == true else { continue }  // no lock: leave it
            } else {
                guard let status = try? directory.status(), Clock.now.seconds - status.modified.seconds > 3600 else {  // gone
                    continue
                }
            }
            try? parent.removeTree(name)  // the next launch tries again
        }
    }
}
