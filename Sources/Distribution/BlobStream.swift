internal import AsyncHTTPClient
package import ImageSpec
internal import NIOCore
internal import NIOHTTP1

/// A blob's bytes, in order, each exactly once, however often the connection broke in between.
///
/// Ends after exactly the descriptor's size, with the right digest, or throws.
package struct BlobStream: AsyncSequence, Sendable {
    package typealias Element = BlobChunk
    package typealias Failure = RegistryError

    let client: RegistryClient
    let reference: Reference
    let descriptor: Descriptor
    /// Finds the digest; nil where it is not for this stream to verify.
    let digest: (any BlobDigest)?
    /// Bytes at the beginning that the caller has already. A part alone has no digest.
    var start: Int64 = 0

    /// Whether it throws at its end where the digest is another.
    package var verifiesDigest: Bool { digest != nil }

    /// Once only: the digest is of one reading.
    package func makeAsyncIterator() -> Iterator { Iterator(stream: self) }

    package struct Iterator: AsyncIteratorProtocol {
        package typealias Failure = RegistryError

        let stream: BlobStream
        private var body: HTTPClientResponse.Body.AsyncIterator?
        private var response: HTTPResponse?
        /// Bytes handed out, or there before.
        private var delivered: Int64 = 0
        /// Bytes of this response that were handed out before: it started over.
        private var toSkip: Int64 = 0
        private var attempts: Attempts
        private var deliveredAtFailure: Int64 = 0
        /// What the response says it is packed with.
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
                // Everything is here, although the last response ended otherwise than it should: the digest decides.
                if body == nil, delivered == size { return try await finish() }
                // Asking was tried often enough by the time it fails; only a transfer that breaks starts over here.
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
        // Some stores label what is packed as it is, so only bytes that are wrong count.
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
        // Always from the registry again, never from where it redirected to: such URLs expire.
        let response = try await stream.client.send(call, accepting: [416])
        self.response = response
        switch response.status {
        case 206:
            guard let start = Self.rangeStart(response.headers.first(name: "Content-Range")), start <= delivered else {
                throw failure(.unexpectedStatus(206, message: "a range that was not asked for"))
            }
            toSkip = delivered - start
        case 416:
            // The server has less than was delivered, so what it has now is another blob; the size told the end apart.
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

    /// Nil at the blob's end; empty where all of a part was handed out before.
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
                // Where the length is right or unknown and the bytes are too few, they are packed.
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
        // Checked before a byte too many leaves this place, so that no reader has to mind.
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

    /// Waits before the next attempt, or gives up. Attempts are counted from one again after a stretch that went well: a
    /// night's pull over a bad line may break a hundred times.
    private mutating func recover(from error: RegistryError) async throws(RegistryError) {
        let isBreak =
            switch error.reason {
            case .truncated, .slowTransfer: true
            default: error.isTransient
            }
        guard isBreak, !isFinished else { throw error }
        // Nothing more is asked for.
        if delivered == size { return }
        if delivered - deliveredAtFailure >= 1 << 20 { attempts = Attempts(stream.client.configuration.retry) }
        deliveredAtFailure = delivered
        // A slow server is tried half as often, for each time takes long.
        let isSlow = if case .slowTransfer = error.reason { true } else { false }
        if isSlow { _ = attempts.next(after: nil, heard: false) }
        guard let pause = attempts.next(after: nil, heard: delivered > 0 && !isSlow) else {
            // How it broke the last time matters less than that it got so far and no further.
            throw delivered > 0 && !isSlow ? failure(.truncated(received: delivered, expected: size)) : error
        }
        try await stream.client.transport.pause(pause, subject: stream.descriptor.digest.description)
    }
}

/// The rate of a transfer while its bytes are waited for: a reader that is slow itself is not the server's fault.
struct RateWindow {
    private var bytes: Int64 = 0
    private var waited = Duration.zero

    /// `false` where the window has passed with fewer bytes than it must have.
    mutating func add(_ count: Int, waited: Duration, _ configuration: RegistryConfiguration) -> Bool {
        bytes += Int64(count)
        self.waited += waited
        guard self.waited >= configuration.rateWindow else { return true }
        defer { self = RateWindow() }
        return bytes >= Int64(Double(configuration.leastRate) * (self.waited / .seconds(1)))
    }
}

extension RegistryClient {
    /// A blob's bytes, verified at their end.
    ///
    /// - Parameter digest: Finds the digest beside the transfer; by default it is found between its pieces.
    package func blob(
        _ descriptor: Descriptor, in reference: Reference, digest: (any BlobDigest)? = nil
    ) -> BlobStream {
        BlobStream(
            client: self, reference: reference, descriptor: descriptor,
            digest: digest ?? InlineDigest(descriptor.digest.algorithm))
    }

    /// A blob's bytes from an offset on, for who has those before it. The digest is the caller's to verify.
    package func blob(_ descriptor: Descriptor, in reference: Reference, from offset: Int64) -> BlobStream {
        BlobStream(client: self, reference: reference, descriptor: descriptor, digest: nil, start: offset)
    }

    /// A small blob, whole.
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
