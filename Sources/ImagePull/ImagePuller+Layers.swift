internal import ImageSpec
internal import Layers
internal import LinuxKernel
internal import Store
internal import Synchronization

/// Statistics about the layers of one pull.
struct Unpacked: Sendable {
    var downloaded: Int64 = 0
    var written: Int64 = 0
}

extension ImagePuller {
    /// The maximum number of concurrent layers, independent of the processors, because most pulls wait for a registry
    /// that is far away or limits each connection. It bounds the load on the registry and the memory:
    /// docs/explanation/decisions/pull-pipeline.md
    static let width = 8

    /// Divides the processors among the layers for threads that create files. On a network file system, uses several
    /// threads per layer in any case, because they mostly wait.
    private func sharingProcessors(among layers: Int) throws(PullError) -> ImagePuller {
        var puller = self
        let atOnce = max(1, min(layers, Self.width))
        do throws(SystemError) { puller.unpacker.digests = try HashPool(layers: atOnce) } catch {
            throw .store(.system(error))
        }
        let share = Processors.online / atOnce
        // A few MiB of buffers for all layers together.
        puller.unpacker.slotBytes = atOnce > 4 ? 128 << 10 : 512 << 10
        puller.unpacker.ringSlots = max(4, 12 / atOnce)
        puller.unpacker.writeBack =
            memoryLimit.map { WriteBackPolicy(memory: $0, layersAtOnce: atOnce) }
            ?? (store.waitsForTheDisk ? .early : .whenever)
        // One thread decompresses.
        puller.unpacker.writers = store.isRemote ? 8 : max(1, min(4, share - 1))
        return puller
    }

    func unpackLayers(
        _ image: ResolvedImage, _ states: [PullEvent.LayerState]
    ) async throws(PullError) -> Unpacked {
        let diffIDs = image.config.rootfs.diffIDs
        // An image may contain a layer twice.
        var seen: Set<Digest> = []
        let missing = states.indices.filter { !states[$0].isPresent && seen.insert(diffIDs[$0]).inserted }
        let puller = try sharingProcessors(among: missing.count)
        defer { puller.unpacker.digests?.dismiss() }
        let outcome: Result<Unpacked, PullError> = await withTaskGroup(of: Step.self) { group in
            var waiting = LayerQueue(missing, width: Self.width) { states[$0].size }
            var unpacked: [FinishedDraft] = []
            var isPublishing = false
            var total = Unpacked()
            while let next = waiting.next() { group.addTask { await puller.unpack(next, image) } }
            while let finished = await group.next() {
                switch finished {
                case .unpacked(let index, let one, let draft):
                    total.downloaded += one.downloaded
                    total.written += one.written
                    if let draft { unpacked.append(draft) }
                    waiting.finish(index)
                    while let next = waiting.next() { group.addTask { await puller.unpack(next, image) } }
                case .published: isPublishing = false
                case .failed(let error):
                    group.cancelAll()
                    // Wait for the others, so that no thread writes to a draft while it is removed.
                    for await other in group {
                        if case .unpacked(_, _, let draft?) = other { unpacked.append(draft) }
                    }
                    for one in unpacked { store.discard(one.draft) }
                    return .failure(error)
                }
                // Flush finished layers while others are unpacked, as many as are ready at a time.
                if !isPublishing, !unpacked.isEmpty {
                    let ready = unpacked
                    unpacked = []
                    isPublishing = true
                    group.addTask { await publish(ready) }
                }
            }
            return .success(total)
        }
        return try outcome.get()
    }

    /// The result of a task of a pull.
    private enum Step: Sendable {
        /// The draft is `nil` if another pull was faster.
        case unpacked(Int, Unpacked, FinishedDraft?)
        case published
        case failed(PullError)
    }

    private func publish(_ drafts: [FinishedDraft]) async -> Step {
        do throws(PullError) {
            try await blocking { () throws(PullError) in
                try mapError(to: PullError.store) { () throws(StoreError) in try store.publish(drafts) }
            }
            return .published
        } catch {
            return .failed(error)
        }
    }

    private func unpack(_ index: Int, _ image: ResolvedImage) async -> Step {
        let source = SourceBox()
        return await withTaskCancellationHandler {
            do throws(PullError) {
                return try await blocking { () throws(PullError) in try unpackBlocking(index, image, source) }
            } catch {
                return .failed(error)
            }
        } onCancel: {
            source.cancel()
        }
    }

    private func unpackBlocking(
        _ index: Int, _ image: ResolvedImage, _ box: SourceBox
    ) throws(PullError) -> Step {
        let layer = image.manifest.layers[index]
        var used: (any ChunkSource)?
        do throws(PullError) {
            return try unpack(index, image, box) { () throws(PullError) in
                let source = try origin.open(layer, unpacker.digests)
                used = source
                return source
            }
        } catch {
            // The cache may be damaged, so only the registry's own data count.
            guard let cached = used as? CachedBlobSource, cached.usedCache, error.isAboutContent,
                let other = try origin.reopen(layer, unpacker.digests)
            else { throw error }
            return try unpack(index, image, box) { other }
        }
    }

    private func unpack(
        _ index: Int, _ image: ResolvedImage, _ box: SourceBox, from open: () throws(PullError) -> any ChunkSource
    ) throws(PullError) -> Step {
        let layer = image.manifest.layers[index]
        let diffID = image.config.rootfs.diffIDs[index]
        let draft = try mapError(to: PullError.store) { () throws(StoreError) in try store.draftLayer(diffID) }
        guard let draft else {
            // Another pull of an image with this layer was faster.
            report(.finished(layer: index))
            return .unpacked(index, Unpacked(), nil)
        }
        do throws(PullError) {
            let source = try open()
            guard box.put(source) else { throw .cancelled }
            let counting = CountingSource(source, box) { report(.downloaded(layer: index, bytes: $0)) }
            // A network task verifies data from a registry, so this thread only decompresses.
            let isVerified = (source as? BlobChannel)?.isVerified == true
            let verified: any ChunkSource =
                isVerified ? counting : VerifyingSource(counting, digest: layer.digest, size: layer.size)
            let summary: LayerSummary
            do throws(LayerError) {
                summary = try unpacker.unpack(
                    verified, diffID: diffID, into: draft.tree,
                    isCancelled: { box.isCancelled.load(ordering: .relaxed) }
                ) {
                    report(.unpacked(layer: index, bytes: $0))
                }
            } catch {
                throw Self.layerError(error, index + 1, of: image.manifest.layers.count, layer.digest)
            }
            (source as? CachedBlobSource)?.confirm()
            report(.finished(layer: index))
            return .unpacked(
                index, Unpacked(downloaded: layer.size, written: summary.fileBytes),
                FinishedDraft(draft: draft, summary: summary.encoded, bytes: summary.fileBytes))
        } catch {
            store.discard(draft)
            throw error
        }
    }

    /// Reports a network failure as such rather than as a fault of the layer.
    static func layerError(_ error: LayerError, _ number: Int, of count: Int, _ digest: Digest) -> PullError {
        if case .source(let failure) = error.reason {
            if let known = failure.pullError { return known }
        }
        if error.reason == .cancelled { return .cancelled }
        return .layer(number: number, count: count, digest, error)
    }
}

/// Holds the source that a layer's thread reads, so that a cancelled task can wake the thread.
private final class SourceBox: Sendable {
    private let channel = Mutex<(any CancellableSource)?>(nil)
    let isCancelled = Atomic(false)

    /// Returns `false` after cancellation.
    func put(_ source: any ChunkSource) -> Bool {
        let new = source as? any CancellableSource
        return channel.withLock { channel in
            channel = new
            return !isCancelled.load(ordering: .sequentiallyConsistent)
        }
    }

    func cancel() {
        let channel = channel.withLock { channel in
            isCancelled.store(true, ordering: .sequentiallyConsistent)
            return channel
        }
        channel?.cancel()
    }
}

/// Reports the number of bytes read, and fails after cancellation.
private final class CountingSource: ChunkSource {
    private let source: any ChunkSource
    private let box: SourceBox
    private let report: (Int64) -> Void
    private var count: Int64 = 0

    init(_ source: any ChunkSource, _ box: SourceBox, report: @escaping (Int64) -> Void) {
        self.source = source
        self.box = box
        self.report = report
    }

    func next() throws(LayerError) -> UnsafeRawBufferPointer {
        if box.isCancelled.load(ordering: .relaxed) { throw LayerError(.cancelled) }
        let chunk = try source.next()
        count += Int64(chunk.count)
        report(count)
        return chunk
    }
}
