internal import AsyncHTTPClient
package import ImageSpec
internal import NIOCore
internal import NIOHTTP1

/// The bytes of a blob in order, each exactly once, even if the connection breaks in between.
///
/// Ends after exactly the descriptor's size with the right digest, or throws.
package struct BlobStream: AsyncSequence, Sendable {
    package typealias Element = BlobChunk
    package typealias Failure = RegistryError

    let client: RegistryClient
    let reference: Reference
    let descriptor: Descriptor
    /// Computes the digest; `nil` if the caller verifies it.
    let digest: (any BlobDigest)?
    /// The number of bytes that the caller already has. The digest of a part is not verified.
    var start: Int64 = 0

    /// Whether it throws at the end if the digest differs.
    package var verifiesDigest: Bool { digest != nil }

    /// Call it only once, because the digest covers a single iteration.
    package func makeAsyncIterator() -> Iterator { Iterator(stream: self) }

    package struct Iterator: AsyncIteratorProtocol {
        package typealias Failure = RegistryError

        let stream: BlobStream
        private var body: HTTPClientResponse.Body.AsyncIterator?
        private var response: HTTPResponse?
        /// The number of bytes delivered, including those that the caller had before.
        private var delivered: Int64 = 0
        /// The bytes of this response that were already delivered, because the server restarted from the beginning.
        private var toSkip: Int64 = 0
        private var attempts: Attempts
        private var deliveredAtFailure: Int64 = 0
        /// The Content-Encoding of the response.
        private var encoding: String?
        private var rate = RateWindow()
        private var isFinished = false

        init(stream: BlobStream) {
            self.stream = stream
            attempts = Attempts(stream.client.configuration.retry)
            delivered = stream.start
            deliveredAtFailure = stream.start
        }

        package mutating func next() async throws(RegistryError) -> BlobChunk? {
            if isFinished { return nil }
            while true {
                // All bytes have arrived, even if the response ended abnormally. The digest decides.
                if body == nil, delivered == size { return try await finish() }
                // `open` retries requests itself, so retry here only after a broken transfer.
                if body == nil { try await open() }
                do throws(RegistryError) {
                    guard let chunk = try await chunk() else { return try await finish() }
                    if !chunk.bytes.isEmpty { return chunk }
                } catch {
                    body = nil
                    try await recover(from: error)
                }
            }
        }
    }
}

extension BlobStream.Iterator {
    private var size: Int64 { stream.descriptor.size }

    private func failure(_ reason: RegistryError.Reason) -> RegistryError {
        var reason = reason
        // Some servers send this header for unmodified data, so report it only if the bytes are wrong.
        switch (reason, encoding) {
        case (.sizeMismatch, let name?), (.digestMismatch, let name?): reason = .contentEncoding(name)
        default: break
        }
        return RegistryError(
            host: response?.host ?? stream.reference.registry, subject: stream.descriptor.digest.description,
            reason: reason)
    }

    private mutating func open() async throws(RegistryError) {
        var call = stream.client.blobCall(stream.descriptor, stream.reference)
        if delivered > 0 { call.headers.add(name: "Range", value: "bytes=\(delivered)-") }
        // Always start at the registry, because URLs of redirects expire.
        let response = try await stream.client.send(call, accepting: [416])
        self.response = response
        switch response.status {
        case 206:
            guard let start = Self.rangeStart(response.headers.first(name: "Content-Range")), start <= delivered else {
                throw failure(.unexpectedStatus(206, message: "a range that was not asked for"))
            }
            toSkip = delivered - start
        case 416:
            // The server has fewer bytes than were delivered, so its blob has changed.
            throw failure(.truncated(received: delivered, expected: size))
        default:
            toSkip = delivered
            encoding = response.contentEncoding
            if let length = response.contentLength, length != size {
                throw failure(.sizeMismatch(expected: size, found: length))
            }
        }
        rate = RateWindow()
        body = response.body.makeAsyncIterator()
    }

    /// `bytes FIRST-LAST/LENGTH`
    private static func rangeStart(_ header: String?) -> Int64? {
        guard let header, header.lowercased().hasPrefix("bytes ") else { return nil }
        return Int64(header.dropFirst(6).prefix { $0 != "-" })
    }

    /// Returns `nil` at the end of the blob, and an empty chunk if all of a part was delivered before.
    private mutating func chunk() async throws(RegistryError) -> BlobChunk? {
        let part: ByteBuffer?
        let asked = ContinuousClock.now
        do {
            part = try await body?.next()
        } catch {
            throw failure(HTTPTransport.reason(for: error))
        }
        guard var part else {
            guard delivered == size else {
                // With a Content-Encoding, too few bytes mean that the data is compressed.
                if encoding != nil { throw failure(.sizeMismatch(expected: size, found: delivered)) }
                throw failure(.truncated(received: delivered, expected: size))
            }
            return nil
        }
        let configuration = stream.client.configuration
        guard rate.add(part.readableBytes, waited: .now - asked, configuration) else {
            throw failure(.slowTransfer(least: configuration.leastRate))
        }
        if toSkip > 0 {
            let skipped = min(Int64(part.readableBytes), toSkip)
            toSkip -= skipped
            part.moveReaderIndex(forwardBy: Int(skipped))
        }
        // Check before passing the bytes on, so that readers never see too many.
        guard delivered + Int64(part.readableBytes) <= size else {
            throw failure(.sizeMismatch(expected: size, found: delivered + Int64(part.readableBytes)))
        }
        delivered += Int64(part.readableBytes)
        let chunk = BlobChunk(part)
        stream.digest?.update(chunk)
        return chunk
    }

    private mutating func finish() async throws(RegistryError) -> BlobChunk? {
        isFinished = true
        body = nil
        if let digest = stream.digest {
            let found = await digest.finish()
            guard found == stream.descriptor.digest else {
                throw failure(.digestMismatch(expected: stream.descriptor.digest, found: found))
            }
        }
        return nil
    }

    /// Pauses before the next attempt, or throws. Progress resets the number of attempts, because a long pull over a
    /// bad connection may break a hundred times.
    private mutating func recover(from error: RegistryError) async throws(RegistryError) {
        let isBreak =
            switch error.reason {
            case .truncated, .slowTransfer: true
            default: error.isTransient
            }
        guard isBreak, !isFinished else { throw error }
        // All bytes have arrived.
        if delivered == size { return }
        if delivered - deliveredAtFailure >= 1 << 20 { attempts = Attempts(stream.client.configuration.retry) }
        deliveredAtFailure = delivered
        // Try a slow server half as often, because each attempt takes long.
        let isSlow = if case .slowTransfer = error.reason { true } else { false }
        if isSlow { _ = attempts.next(after: nil, heard: false) }
        guard let pause = attempts.next(after: nil, heard: delivered > 0 && !isSlow) else {
            // Report how far the transfer got rather than the last error.
            throw delivered > 0 && !isSlow ? failure(.truncated(received: delivered, expected: size)) : error
        }
        try await stream.client.transport.pause(pause, subject: stream.descriptor.digest.description)
    }
}

/// Measures the rate of a transfer only while waiting for bytes, so that a slow reader is not blamed on the server.
struct RateWindow {
    private var bytes: Int64 = 0
    private var waited = Duration.zero

    /// Returns `false` if the window has passed with too few bytes.
    mutating func add(_ count: Int, waited: Duration, _ configuration: RegistryConfiguration) -> Bool {
        bytes += Int64(count)
        self.waited += waited
        guard self.waited >= configuration.rateWindow else { return true }
        defer { self = RateWindow() }
        return bytes >= Int64(Double(configuration.leastRate) * (self.waited / .seconds(1)))
    }
}

extension RegistryClient {
    /// The bytes of a blob, verified at the end.
    ///
    /// - Parameter digest: Computes the digest in parallel; by default it is computed between reads.
    package func blob(
        _ descriptor: Descriptor, in reference: Reference, digest: (any BlobDigest)? = nil
    ) -> BlobStream {
        BlobStream(
            client: self, reference: reference, descriptor: descriptor,
            digest: digest ?? InlineDigest(descriptor.digest.algorithm))
    }

    /// The bytes of a blob from an offset. The caller must verify the digest.
    package func blob(_ descriptor: Descriptor, in reference: Reference, from offset: Int64) -> BlobStream {
        BlobStream(client: self, reference: reference, descriptor: descriptor, digest: nil, start: offset)
    }

    /// Downloads a small blob.
    package func bytes(
        of descriptor: Descriptor, in reference: Reference, limit: Int64
    ) async throws(RegistryError) -> [UInt8] {
        guard descriptor.size <= limit else {
            throw RegistryError(
                host: reference.registry, subject: descriptor.digest.description, reason: .tooLarge(limit: limit))
        }
        return try await withinLimit(
            configuration.answerLimit, host: reference.registry, subject: descriptor.digest.description
        ) { [self] _ throws(RegistryError) in
            var bytes: [UInt8] = []
            var iterator = blob(descriptor, in: reference).makeAsyncIterator()
            while let chunk = try await iterator.next() { bytes += chunk.bytes }
            return bytes
        }
    }

    func blobCall(_ descriptor: Descriptor, _ reference: Reference) -> Call {
        Call(
            reference: reference, path: "blobs/\(descriptor.digest)", subject: descriptor.digest.description,
            absence: .blobUnknown)
    }
}
