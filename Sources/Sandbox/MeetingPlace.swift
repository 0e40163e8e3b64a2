internal import LinuxKernel

/// Where the tasks of a step on one node meet: a directory of the user's own, mode 0700, with a socket and a lock in it. No
/// other user can take its name once it is there, listen in it or connect to it; where one took the name before, the next
/// place in the list serves.
///
/// Who holds the lock builds. Where that process is killed the lock is free, and the next task takes it over.
struct MeetingPlace: ~Copyable {
    private let parent: OwnedFileDescriptor
    private let directory: OwnedFileDescriptor
    private let name: String
    private var lock: DescriptorBox?

    private static let socket = "socket"
    private static let lockName = "lock"
    private static var prefix: String { "berth-\(Identity.userID)-" }

    /// - Parameters:
    ///   - places: Directories, all tasks' the same; the last ones are for where the first cannot be used.
    ///   - key: What all tasks that are to meet have in common, and no others.
    static func open(in places: [String], for key: String) throws(RendezvousError) -> MeetingPlace {
        let name = prefix + String(fingerprint(key), radix: 16)
        var unusable: [RendezvousError.UnusablePlace] = []
        for path in places {
            do throws(SystemError) { return try open(path, name) } catch {
                unusable.append(RendezvousError.UnusablePlace(path: "\(path)/\(name)", error: error))
            }
        }
        throw .noPlace(unusable)
    }

    private static func open(_ path: String, _ name: String) throws(SystemError) -> MeetingPlace {
        let parent = try OwnedFileDescriptor(opening: path, .readOnly | .directory)
        let status = try parent.status()
        guard status.permissions & 0o022 == 0 || status.permissions & 0o1000 != 0 else {
            throw SystemError(call: "open", errno: Errno.EPERM, subject: name)
        }
        let directory = try make(name, in: parent)
        return MeetingPlace(parent: parent, directory: directory, name: name)
    }

    private init(parent: consuming OwnedFileDescriptor, directory: consuming OwnedFileDescriptor, name: String) {
        self.parent = parent
        self.directory = directory
        self.name = name
    }

    private static func make(
        _ name: String, in parent: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> OwnedFileDescriptor {
        do throws(SystemError) { try parent.makeDirectory(name, mode: 0o700) } catch {
            if error.errno != Errno.EEXIST { throw error }
        }
        let directory = try parent.open(name, .readOnly | .directory | .noFollow)
        let status = try directory.status()
        guard status.userID == Identity.userID, status.permissions & 0o077 == 0 else {
            throw SystemError(call: "open", errno: Errno.EPERM, subject: name)
        }
        return directory
    }

    /// Whether this process is the builder from now on: until it lets go of this, or removes the place.
    mutating func takeLock() throws(SystemError) -> Bool {
        do throws(SystemError) {
            let file = try directory.open(Self.lockName, .readWrite | .create | .noFollow, mode: 0o600)
            guard try file.tryLock(.exclusive) else { return false }
            // A builder that was done has removed it meanwhile, and with it the directory: the next attempt makes both.
            guard try file.status().links > 0 else { return false }
            lock = DescriptorBox(file)
            return true
        } catch {
            if error.errno == Errno.ENOENT { return false }  // likewise
            throw error
        }
    }

    func listen() throws(SystemError) -> OwnedFileDescriptor {
        try? directory.removeFile(Self.socket)  // a killed builder's; absent as a rule
        return try LocalSockets.listen(in: directory, Self.socket)
    }

    enum Attempt {
        case connected(DescriptorBox)
        /// Somebody listens, and more have come than fit in the queue.
        case full
        case nobody
    }

    func connect() throws(SystemError) -> Attempt {
        do throws(SystemError) {
            guard let socket = try LocalSockets.connect(in: directory, Self.socket) else { return .nobody }
            return .connected(DescriptorBox(socket))
        } catch {
            if error.errno == Errno.EAGAIN { return .full }
            throw error
        }
    }

    /// The builder is done: who comes now builds another container.
    consuming func remove() {
        // Each may fail where another task has begun to use the place again, or the session has cleaned up.
        try? directory.removeFile(Self.socket)
        try? directory.removeFile(Self.lockName)
        try? parent.removeDirectory(name)
        sweep()
    }

    /// What the builders of killed steps have left beside it.
    private func sweep() {
        guard let names = try? parent.entries() else { return }  // the next step tries again
        for name in names where name.starts(with: Self.prefix.utf8) && !name.elementsEqual(self.name.utf8) {
            guard let other = try? parent.open(name, .readOnly | .directory | .noFollow),  // gone already
                let status = try? other.status(), status.userID == Identity.userID  // likewise
            else { continue }
            if let file = try? other.open(Self.lockName, .readWrite | .noFollow) {  // none: it is just being made, or empty
                guard (try? file.tryLock(.exclusive)) == true else { continue }  // in use
                try? other.removeFile(Self.socket)  // absent
                try? other.removeFile(Self.lockName)  // absent
            }
            try? parent.removeDirectory(name)  // not empty: in use again
        }
    }

    private static func fingerprint(_ text: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return hash
    }
}
