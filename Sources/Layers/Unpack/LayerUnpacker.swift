package import ImageSpec
package import LinuxKernel

/// Unpacks one layer blob into an empty directory as a tree of its own: content-addressed, shared by every image
/// that has the layer, and in the form that overlayfs stacks.
///
/// https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets
///
/// Three threads: one reads and inflates the blob, one finds the diffID, one parses and writes, with others to help
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
    package var ringSlots = 4
    package var slotBytes = 512 << 10
    package var writeBack = WriteBackPolicy.whenever

    package init() {}

    /// Applies the layer; the directory must be empty and nobody else's until this returns. After an error it holds
    /// whatever there was time for, and is the caller's to remove.
    ///
    /// `source` gives the blob as it was downloaded, verified by whoever brings it or through a `VerifyingSource`. `progress` hears how many
    /// bytes of the uncompressed archive were written. `isCancelled` is asked before each entry.
    package func unpack(
        _ source: any ByteSource, diffID: Digest, into directory: DescriptorBox,
        isCancelled: @escaping @Sendable () -> Bool = { false }, progress: (@Sendable (Int64) -> Void)? = nil
    ) throws(LayerError) -> LayerSummary {
        let ring = BoundedRing(slots: ringSlots, bytes: slotBytes, consumers: 2)
        let (limits, inputBytes) = (limits, max(65_536, slotBytes / 2))
        // Only the thread uses the source until it was joined.
        nonisolated(unsafe) let source = source
        let hash = ChunkDigest(ring.chunks(for: 1), diffID.algorithm)
        let producer: WorkerThread
        let hasher: WorkerThread
        do throws(SystemError) {
            producer = try WorkerThread { Self.produce(from: source, into: ring, limits, inputBytes) }
        } catch {
            throw LayerError(.system(error))
        }
        do throws(SystemError) { hasher = try WorkerThread { hash.run() } } catch {
            ring.cancel()
            producer.join()
            throw LayerError(.system(error))
        }
        let chunks = CountingChunks(ring.chunks(for: 0), limit: limits.totalBytes, progress)
        let outcome: Result<LayerApplier, LayerError>
        do throws(LayerError) {
            outcome = .success(try consume(chunks, into: directory, isCancelled))
        } catch {
            outcome = .failure(error)
        }
        ring.cancel()
        producer.join()
        hasher.join()
        do throws(LayerError) {
            let applier = try outcome.get()
            // Verified before the marks are made: nothing is finished that will not be kept.
            guard let actual = hash.digest else { preconditionFailure("who parsed to the end saw no error") }
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

    private static func produce(
        from source: any ByteSource, into ring: BoundedRing, _ limits: UnpackLimits, _ inputBytes: Int
    ) {
        let decompressor = Decompressor(source, limits: limits, inputBytes: inputBytes)
        do throws(LayerError) {
            while let slot = ring.emptySlot() {
                let count = try decompressor.fill(slot)
                if count > 0 { ring.publish(count) }
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
