internal import LinuxKernel

/// A lock that lets one process work while others wait for the outcome. Released when it is let go of or its process
/// dies.
package struct WorkLock: ~Copyable {
    let descriptor: DescriptorBox?
}

extension ImageStore {
    /// Waits until nobody else is pulling this image into this store. Blocks.
    package func lockPull(of key: ImageKey) throws(StoreError) -> WorkLock {
        WorkLock(descriptor: try workLock("refs/" + key.path))
    }

    static var activityLock: String { "pulling" }

    /// Held by every pull as long as it lasts, shared with the others, so that a collection knows of it. To be taken
    /// before any other lock: a collection that has it alone removes their files.
    package func beginPulling() throws(StoreError) -> WorkLock {
        WorkLock(
            descriptor: try activityLock { (file) throws(SystemError) in
                try file.lock(.shared)
                return true
            })
    }

    /// `nil` where somebody is pulling, or where the file system can not lock.
    func lockAgainstPulls() throws(StoreError) -> DescriptorBox? {
        try activityLock { (file) throws(SystemError) in try file.tryLock(.exclusive) }
    }

    private func activityLock(
        _ take: (borrowing OwnedFileDescriptor) throws(SystemError) -> Bool
    ) throws(StoreError) -> DescriptorBox? {
        try storing { () throws(SystemError) in
            let file = DescriptorBox(
                try root.open("locks/" + Self.activityLock, .readWrite | .create | .noFollow, mode: 0o666))
            do throws(SystemError) { return try take(file.descriptor) ? file : nil } catch {
                if error.meansNoLocks { return nil }
                throw error
            }
        }
    }

    /// `nil` where somebody else is at it.
    package func tryLockPull(of key: ImageKey) throws(StoreError) -> WorkLock? {
        try tryWorkLock("refs/" + key.path)
    }

    /// `nil` where somebody else has it.
    func tryWorkLock(_ subject: String) throws(StoreError) -> WorkLock? {
        let name = "locks/" + Self.lockName(subject)
        let held = try storing { () throws(SystemError) in
            let file = DescriptorBox(try root.open(name, .readWrite | .create | .noFollow, mode: 0o666))
            do throws(SystemError) {
                guard try file.descriptor.tryLock(.exclusive) else { return Held.elsewhere }
            } catch {
                if error.meansNoLocks { return .impossible }
                throw error
            }
            return .here(file)
        }
        switch held {
        case .elsewhere: return nil
        case .impossible: return WorkLock(descriptor: nil)
        case .here(let file): return WorkLock(descriptor: file)
        }
    }

    private enum Held {
        case here(DescriptorBox), elsewhere, impossible
    }

    /// `nil` where the file system can not lock: the work may then be done twice, and one result is thrown away.
    func workLock(_ subject: String) throws(StoreError) -> DescriptorBox? {
        let name = "locks/" + Self.lockName(subject)
        return try storing { () throws(SystemError) in
            let file = try root.open(name, .readWrite | .create | .noFollow, mode: 0o666)
            do throws(SystemError) { try file.lock(.exclusive) } catch {
                if error.meansNoLocks { return nil }
                throw error
            }
            return DescriptorBox(file)
        }
    }

    /// The kind, so that a pull never waits for itself at one of its layers, and FNV-1a of the subject.
    static func lockName(_ subject: String) -> String {
        String(subject.prefix { $0 != "/" }) + "-" + String(fingerprint(subject), radix: 16)
    }
}
