internal import ImageSpec
internal import Layers
internal import LinuxKernel
internal import Store
internal import Synchronization

/// A source that another thread can cancel.
protocol CancellableSource: ChunkSource, Sendable {
    func cancel()
}

extension BlobChannel: CancellableSource {}

/// Reads a blob through a cache: reads a complete file, follows a file that another process downloads, or downloads and
/// stores it itself. Used by one thread; any thread can cancel it.
final class CachedBlobSource: CancellableSource, @unchecked Sendable {  // used by one thread except `cancelled`
    private let cache: BlobCache
    private let blob: Descriptor
    private let download: @Sendable (Int64) throws(PullError) -> any ChunkSource
    private let cancelled = Mutex<(isSet: Bool, channel: BlobChannel?)>((false, nil))

    private enum Role {
        case undecided
        /// The file is complete.
        case reading(DescriptorBox)
        /// Another process writes the file.
        case following(DescriptorBox)
        /// This process writes the file and holds its lock.
        case leading(DescriptorBox)
        /// There is no usable cache.
        case bypassing
    }

    private var role = Role.undecided
    /// The buffer for reads from a file.
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 4096)
    private var position: Int64 = 0
    private var registry: (any ChunkSource)?
    /// The file's state at its last change, and when the change was noticed.
    private var growth: (size: Int64, modified: Timestamp, since: UInt64)?

    /// The size of the followed file, and since when it has had that size.
    private var stall: (size: Int64, since: UInt64)?

    /// Whether bytes came from the cache, so that the cache may have damaged them.
    private(set) var usedCache = false

    init(
        _ cache: BlobCache, _ blob: Descriptor,
        _ download: @escaping @Sendable (Int64) throws(PullError) -> any ChunkSource
    ) {
        self.cache = cache
        self.blob = blob
        self.download = download
    }

    deinit { buffer.deallocate() }

    func cancel() {
        let channel = cancelled.withLock { state -> BlobChannel? in
            state.isSet = true
            return state.channel
        }
        channel?.cancel()
    }

    /// Called after all bytes were read and match the digest.
    func confirm() {
        switch role {
        case .leading, .following: cache.publish(blob.digest)
        case .reading, .undecided, .bypassing: break
        }
    }

    func next() throws(LayerError) -> UnsafeRawBufferPointer {
        while true {
            if cancelled.withLock({ $0.isSet }) { throw LayerError(.cancelled) }
            if position == blob.size { return UnsafeRawBufferPointer(start: nil, count: 0) }
            switch role {
            case .undecided: choose()
            case .bypassing: return try fromRegistry()
            case .reading(let file):
                // Truncated or unreadable: continue with the registry.
                if let chunk = fromFile(file) { return chunk }
                role = .bypassing
            case .following(let file):
                if let chunk = fromFile(file) { return chunk }
                if isAbandoned(file) {
                    role = .undecided
                } else if hasStalled(file) {
                    // The writer is stopped, or another user holds the lock: download the blob without the cache.
                    role = .bypassing
                } else {
                    pause(milliseconds: 50)
                }
            case .leading(let file):
                // Start with what an abandoned download left.
                if let chunk = fromFile(file) { return chunk }
                let chunk = try fromRegistry()
                if !chunk.isEmpty { keep(chunk, in: file) }
                return chunk
            }
        }
    }

    // MARK: Roles

    private func choose() {
        if let file = cache.whole(blob) {
            role = .reading(file)
            return
        }
        let name = cache.partialName(blob.digest)
        do throws(SystemError) {
            let file = DescriptorBox(
                try cache.partial.open(name, [.readWrite, .create, .noFollow, .nonBlocking], mode: 0o644))
            let found = try file.descriptor.status()
            // Another user's file has this user's name, and that user may never release its lock.
            guard found.kind == .regular, Self.isOwn(found) else {
                role = .bypassing
                return
            }
            var isFree = true
            do throws(SystemError) { isFree = try file.descriptor.tryLock(.exclusive) } catch {
                if !error.meansNoLocks { throw error }
            }
            let status = try file.descriptor.status()
            // Another process may have renamed the file before this one acquired the lock: check again.
            guard let now = try? cache.partial.status(of: name), now.inode == status.inode else { return }  // gone
            if !isFree {
                role = .following(file)
                return
            }
            // If locks do not work across nodes, also wait until an unfinished file has stopped growing.
            if cache.scope == .node, status.size > 0, status.size < blob.size, !hasStoodStill(status) {
                role = .following(DescriptorBox(try cache.partial.open(name, [.readOnly, .noFollow, .nonBlocking])))
                return
            }
            role = .leading(file)
        } catch {
            role = .bypassing
        }
    }

    /// With root squashing, root's files belong to nobody (65534).
    private static func isOwn(_ file: FileStatus) -> Bool {
        file.userID == Identity.userID || (Identity.isRoot && file.userID == 65534)
    }

    private func isAbandoned(_ file: DescriptorBox) -> Bool {
        guard let status = try? file.descriptor.status() else { return true }  // stale handle
        if cache.scope == .cluster {
            // Releases the lock at once; `choose` acquires it for writing.
            return (try? file.descriptor.tryLock(.exclusive)) == true  // no locks: assume it is in use
        }
        return hasStoodStill(status)
    }

    /// Whether the file has not grown for longer than a transfer may pause, even if its lock is held.
    private func hasStalled(_ file: DescriptorBox) -> Bool {
        guard let size = try? file.descriptor.status().size else { return true }  // stale handle
        let now = Clock.monotonicNanoseconds
        if let stall, stall.size == size { return Double(now - stall.since) / 1e9 > cache.stallPatience }
        stall = (size, now)
        return false
    }

    private func hasStoodStill(_ status: FileStatus) -> Bool {
        let now = Clock.monotonicNanoseconds
        if let growth, growth.size == status.size, growth.modified == status.modified {
            return Double(now - growth.since) / 1e9 > cache.patience
        }
        growth = (status.size, status.modified, now)
        return false
    }

    private func pause(milliseconds: Int) { Clock.sleep(milliseconds: milliseconds) }

    // MARK: Bytes

    /// Returns `nil` at the end or if the file is unreadable.
    private func fromFile(_ file: DescriptorBox) -> UnsafeRawBufferPointer? {
        let wanted = Int(min(Int64(buffer.count), blob.size - position))
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
        // Treat an unreadable file like the end.
        guard let count = try? file.descriptor.read(into: part, at: position), count > 0  // unreadable: ended
        else { return nil }
        position += Int64(count)
        usedCache = true
        return UnsafeRawBufferPointer(rebasing: buffer[..<count])
    }

    private func fromRegistry() throws(LayerError) -> UnsafeRawBufferPointer {
        let source: any ChunkSource
        if let registry {
            source = registry
        } else {
            do throws(PullError) { source = try download(position) } catch {
                throw LayerError(.source(LayerError.SourceFailure(error)))
            }
            registry = source
            let channel = source as? BlobChannel
            let isTooLate = cancelled.withLock { state in
                state.channel = channel
                return state.isSet
            }
            if isTooLate { channel?.cancel() }
        }
        let chunk = try source.next()
        position += Int64(chunk.count)
        return chunk
    }

    private func keep(_ bytes: UnsafeRawBufferPointer, in file: DescriptorBox) {
        // A full or missing cache must not prevent the pull.
        do throws(SystemError) {
            try file.descriptor.writeAll(bytes, at: position - Int64(bytes.count))
        } catch {
            role = .bypassing
        }
    }
}
