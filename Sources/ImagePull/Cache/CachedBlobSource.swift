internal import ImageSpec
internal import Layers
internal import LinuxKernel
internal import Store
internal import Synchronization

/// A source that another thread can make fail.
protocol CancellableSource: ChunkSource, Sendable {
    func cancel()
}

extension BlobChannel: CancellableSource {}

/// A blob by way of a cache: read where it is whole, followed while somebody else downloads it, downloaded and kept
/// where nobody does. Used by one thread, cancelled by any.
final class CachedBlobSource: CancellableSource, @unchecked Sendable {  // but for `cancelled`, one thread's alone
    private let cache: BlobCache
    private let blob: Descriptor
    private let download: @Sendable (Int64) throws(PullError) -> any ChunkSource
    private let cancelled = Mutex<(isSet: Bool, channel: BlobChannel?)>((false, nil))

    private enum Role {
        case undecided
        /// All of it is in the file.
        case reading(DescriptorBox)
        /// Somebody else writes the file.
        case following(DescriptorBox)
        /// This one writes it, and holds its lock.
        case leading(DescriptorBox)
        /// There is no cache, or none that can be written to.
        case bypassing
    }

    private var role = Role.undecided
    /// What is read from a file at once.
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 4096)
    private var position: Int64 = 0
    private var registry: (any ChunkSource)?
    /// What the file looked like when it last changed, and when that was seen.
    private var growth: (size: Int64, modified: Timestamp, since: UInt64)?

    /// The size of the file that is followed, and since when it has had it.
    private var stall: (size: Int64, since: UInt64)?

    /// Whether bytes came from the cache, so that damage may be its fault.
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

    /// All of it was read, and is what its digest says.
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
                // Shorter than it was, or unreadable: from here on the registry has to do.
                if let chunk = fromFile(file) { return chunk }
                role = .bypassing
            case .following(let file):
                if let chunk = fromFile(file) { return chunk }
                if isAbandoned(file) {
                    role = .undecided
                } else if hasStalled(file) {
                    // A writer that is stopped, or a lock that a stranger holds: the blob is downloaded beside the cache.
                    role = .bypassing
                } else {
                    pause(milliseconds: 50)
                }
            case .leading(let file):
                // What a dead leader has left comes first.
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
            // Another's file under this user's name: its lock might never be given up.
            guard found.kind == .regular, Self.isOwn(found) else {
                role = .bypassing
                return
            }
            var isFree = true
            do throws(SystemError) { isFree = try file.descriptor.tryLock(.exclusive) } catch {
                if !error.meansNoLocks { throw error }
            }
            let status = try file.descriptor.status()
            // Finished and named by somebody between the opening and the lock: look again.
            guard let now = try? cache.partial.status(of: name), now.inode == status.inode else { return }  // gone
            if !isFree {
                role = .following(file)
                return
            }
            // Where locks do not reach, a free one proves nothing; a file that somebody has begun must stand still.
            if cache.reach == .thisNode, status.size > 0, status.size < blob.size, !hasStoodStill(status) {
                role = .following(DescriptorBox(try cache.partial.open(name, [.readOnly, .noFollow, .nonBlocking])))
                return
            }
            role = .leading(file)
        } catch {
            role = .bypassing
        }
    }

    /// Root's files belong to nobody where the file server squashes root.
    private static func isOwn(_ file: FileStatus) -> Bool {
        file.userID == Identity.userID || (Identity.isRoot && file.userID == 65534)
    }

    private func isAbandoned(_ file: DescriptorBox) -> Bool {
        guard let status = try? file.descriptor.status() else { return true }  // stale handle
        if cache.reach == .everybody {
            // Taken for an instant only, to see; `choose` takes it for good.
            return (try? file.descriptor.tryLock(.exclusive)) == true  // no way to know: not abandoned
        }
        return hasStoodStill(status)
    }

    /// Whether the file has not grown for longer than a transfer may be silent, whoever holds its lock.
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

    /// Nil where there is nothing more, or nothing that can be read.
    private func fromFile(_ file: DescriptorBox) -> UnsafeRawBufferPointer? {
        let wanted = Int(min(Int64(buffer.count), blob.size - position))
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
        // Unreadable is as good as not there.
        guard let count = try? file.descriptor.read(into: part, at: position), count > 0 else { return nil }
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
        // A cache that is full or gone does not keep anybody from pulling.
        do throws(SystemError) {
            try file.descriptor.writeAll(bytes, at: position - Int64(bytes.count))
        } catch {
            role = .bypassing
        }
    }
}
