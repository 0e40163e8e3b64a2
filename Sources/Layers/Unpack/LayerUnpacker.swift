package import ImageSpec
package import LinuxKernel

/// Unpacks one layer blob into an empty directory as a tree of its own: content-addressed, shared by every image
/// that has the layer, and in the form that overlayfs stacks.
///
/// https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets
///
/// Three threads: the caller's reads and inflates the blob, one finds the diffID, one parses and writes, with others to help
/// it where that is of use. They share a ring of a few large buffers, so that memory does not grow with the layer and no byte
/// is copied between them.
package struct LayerUnpacker: Sendable {
    package enum Ownership: Equatable, Sendable {
        /// Everything belongs to whoever unpacks; the archive's numbers mean nothing to him.
        case caller
        /// As the archive says, for root.
        case preserve
    }

    package var ownership = Ownership.caller
    /// Whether other users are to read the tree: what its owner may read or execute, all may. Nobody but the owner could
    /// use an image otherwise, and what is shared with everybody on a node is no secret.
    package var isForEverybody = false
    package var limits = UnpackLimits()
    /// How many threads make files that are small.
    package var writers = 1
    package var ringSlots = 12
    package var slotBytes = 512 << 10
    /// Computes the diffID; `nil` starts threads for this layer alone.
    package var digests: HashPool?
    package var writeBack = WriteBackPolicy.whenever

    package init() {}

    /// Applies the layer; the directory must be empty and nobody else's until this returns. After an error it holds
    /// whatever there was time for, and is the caller's to remove.
    ///
    /// `source` gives the blob as it was downloaded, verified by whoever brings it or through a `VerifyingSource`. `progress` hears how many
    /// bytes of the uncompressed archive were written. `isCancelled` is asked before each entry.
    package func unpack(
        _ source: any ChunkSource, diffID: Digest, into directory: DescriptorBox,
        isCancelled: @escaping @Sendable () -> Bool = { false }, progress: (@Sendable (Int64) -> Void)? = nil
    ) throws(LayerError) -> LayerSummary {
        guard let digests else {
            var unpacker = self
            let pool = try system { () throws(SystemError) in try HashPool() }
            defer { pool.dismiss() }
            unpacker.digests = pool
            return try unpacker.unpack(
                source, diffID: diffID, into: directory, isCancelled: isCancelled, progress: progress)
        }
        let ring = BoundedRing(slots: ringSlots, bytes: slotBytes, readers: 2)
        let chunks = CountingChunks(ring.chunks(for: 0), limit: limits.totalBytes, progress)
        let writer: WorkerThread
        nonisolated(unsafe) var outcome: Result<LayerApplier, LayerError>?  // the writer's until it was joined
        nonisolated(unsafe) let chunksOfWriter = chunks  // likewise
        do throws(SystemError) {
            // The inflating decides when a layer is done; on few processors the others give way to it.
            writer = try WorkerThread(niceness: WorkerThread.givesWay) {
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
            // Verified before the marks are made: nothing is finished that will not be kept.
            let actual = digest.finish()
            if actual != diffID { throw LayerError(.diffID(expected: diffID, actual: actual)) }
            var summary = LayerSummary(diffID: diffID)
            summary.archiveBytes = chunks.count
            try applier.finish(&summary)
            return summary
        } catch {
            // Where the bytes made no sense, the blob's own size or digest is likelier to tell why.
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
                // A slot that is not full is the last one; the source's own end is still to be asked for.
                if count < slot.count { break }
            }
            ring.finish(nil)
        } catch {
            ring.finish(error)
        }
    }

    /// Everything but what waits for the whole layer to be seen and believed.
    private func consume(
        _ chunks: CountingChunks, into directory: DescriptorBox, _ isCancelled: @escaping @Sendable () -> Bool
    ) throws(LayerError) -> LayerApplier {
        let writers = FileWriters(writers)
        defer { writers.dismiss() }
        let reader = TarReader(SettledChunks(chunks, writers), limits: limits)
        let applier = try LayerApplier(directory, reader, writers, self)
        while try reader.advance() {
            if isCancelled() { throw LayerError(.cancelled) }
            do throws(LayerError) { try applier.apply() } catch {
                throw error.at(reader.entry.name, reader.entry.offset)
            }
        }
        try writers.settle()
        try chunks.drain()
        return applier
    }
}
