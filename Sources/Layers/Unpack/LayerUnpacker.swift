package import ImageSpec
package import LinuxKernel

/// Unpacks one layer blob into an empty directory. The tree is content-addressed, shared by all images with this layer,
/// and in overlayfs's format.
///
/// https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets
///
/// Uses three threads: the caller's reads and decompresses the blob, one computes the diffID, and one parses and
/// writes, with helpers if useful. They share a ring of a few large buffers, so memory does not grow with the layer,
/// and no byte is copied between them.
package struct LayerUnpacker: Sendable {
    package enum Ownership: Equatable, Sendable {
        /// The unpacking user owns everything; owners in the archive are ignored.
        case caller
        /// Owners are those of the archive, for root.
        case preserve
    }

    package var ownership = Ownership.caller
    /// Gives other users the owner's permissions to read and execute. Otherwise only the owner could use the image.
    package var isReadableByAll = false
    package var limits = UnpackLimits()
    /// The number of threads that create small files.
    package var writers = 1
    package var ringSlots = 12
    package var slotBytes = 512 << 10
    /// Computes the diffID; `nil` starts threads for this layer only.
    package var digests: HashPool?
    package var writeBack = WriteBackPolicy.whenever

    package init() {}

    /// Applies the layer. The directory must be empty, and no other process may change it until this returns. After an
    /// error, the caller must remove the incomplete contents.
    ///
    /// `source` provides the blob, which its producer or a `VerifyingSource` verifies. `progress` gets the number of
    /// uncompressed bytes written so far. `isCancelled` is called before each entry.
    package func unpack(
        _ source: any ChunkSource, diffID: Digest, into directory: DescriptorBox,
        isCancelled: @escaping @Sendable () -> Bool = { false }, progress: (@Sendable (Int64) -> Void)? = nil
    ) throws(LayerError) -> LayerSummary {
        guard let digests else {
            var unpacker = self
            let pool = try mapError { () throws(SystemError) in try HashPool() }
            defer { pool.dismiss() }
            unpacker.digests = pool
            return try unpacker.unpack(
                source, diffID: diffID, into: directory, isCancelled: isCancelled, progress: progress)
        }
        let ring = BoundedRing(slots: ringSlots, bytes: slotBytes, readers: 2)
        let chunks = CountingChunks(ring.chunks(for: 0), limit: limits.totalBytes, progress)
        let writer: WorkerThread
        nonisolated(unsafe) var outcome: Result<LayerApplier, LayerError>?  // used by the writer until it is joined
        nonisolated(unsafe) let chunksOfWriter = chunks  // likewise
        do throws(SystemError) {
            // Decompression determines when a layer is done, so other threads get a lower priority.
            writer = try WorkerThread(niceness: WorkerThread.lowPriority) {
                do throws(LayerError) {
                    outcome = .success(try consume(chunksOfWriter, into: directory, isCancelled))
                } catch {
                    outcome = .failure(error)
                    ring.cancel()
                }
            }
        } catch {
            throw LayerError(.system(error))
        }
        let digest = digests.stream(diffID.algorithm)
        defer { digest.abandon() }
        produce(from: source, into: ring, digest)
        writer.join()
        do throws(LayerError) {
            guard let applier = try outcome?.get() else { preconditionFailure("a thread that was joined has ended") }
            // Verify before creating marks, so that an invalid layer is not finished.
            let actual = digest.finish()
            if actual != diffID { throw LayerError(.diffID(expected: diffID, actual: actual)) }
            var summary = LayerSummary(diffID: diffID)
            summary.archiveBytes = chunks.count
            try applier.finish(&summary)
            return summary
        } catch {
            // For invalid content, a mismatch of the blob's size or digest is the better explanation.
            if error.isAboutContent { try source.drain() }
            throw error
        }
    }

    private func produce(from source: any ChunkSource, into ring: BoundedRing, _ digest: DigestStream) {
        let decompressor = Decompressor(source, limits: limits)
        do throws(LayerError) {
            while let slot = ring.emptySlot() {
                let count = try decompressor.fill(slot)
                if count > 0 {
                    ring.publish(count)
                    digest.append(UnsafeRawBufferPointer(rebasing: slot[..<count])) { ring.release(1) }
                }
                // A partly filled slot is the last one, but the source must still be read to its end.
                if count < slot.count { break }
            }
            ring.finish(nil)
        } catch {
            ring.finish(error)
        }
    }

    /// Does everything that need not wait for the end of the layer and its verification.
    private func consume(
        _ chunks: CountingChunks, into directory: DescriptorBox, _ isCancelled: @escaping @Sendable () -> Bool
    ) throws(LayerError) -> LayerApplier {
        let writers = FileWriters(writers)
        defer { writers.dismiss() }
        let reader = TarReader(FlushingChunks(chunks, writers), limits: limits)
        let applier = try LayerApplier(directory, reader, writers, self)
        while try reader.advance() {
            if isCancelled() { throw LayerError(.cancelled) }
            do throws(LayerError) { try applier.apply() } catch {
                throw error.at(reader.entry.name, reader.entry.offset)
            }
        }
        try writers.flush()
        try chunks.drain()
        return applier
    }
}
