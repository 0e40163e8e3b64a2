internal import Distribution
internal import Hashing
internal import ImageSpec
internal import Layers
internal import LinuxKernel

/// The files of a local image: in a directory, or in an archive that is not extracted.
protocol LocalFiles: Sendable {
    /// The path as the user wrote it.
    var path: String { get }
    /// The content of a file and its size; `nil` if the file does not exist.
    func open(_ name: String) throws(PullError) -> (source: any ChunkSource, size: Int64)?
}

extension LocalFiles {
    /// The size of one read.
    static var chunkBytes: Int { 256 << 10 }

    /// Reads a small file.
    func contents(of name: String, limit: Int64 = Int64(DocumentLimits.maximumBytes)) throws(PullError) -> [UInt8]? {
        guard let (source, size) = try open(name) else { return nil }
        guard size <= limit else { throw .local(.notAnImage("\(name) is larger than \(limit) bytes"), path: path) }
        let path = path
        return try mapError(to: { (error: LayerError) in .unreadable(error, path: path) }) { () throws(LayerError) in
            var bytes: [UInt8] = []
            bytes.reserveCapacity(Int(size))
            while bytes.count < size {
                let chunk = try source.next()
                if chunk.isEmpty { break }
                bytes += chunk.prefix(Int(size) - bytes.count)
            }
            return bytes
        }
    }

    /// Reads a small blob of a layout and verifies it against its descriptor.
    func blob(
        _ descriptor: Descriptor, limit: Int64 = Int64(DocumentLimits.maximumBytes)
    ) throws(PullError) -> [UInt8] {
        guard let bytes = try contents(of: descriptor.digest.blobPath, limit: limit) else {
            throw .local(.notAnImage("the blob \(descriptor.digest) is missing"), path: path)
        }
        // Check the size first: the digest of the wrong length means nothing (descriptor.md, "Verification").
        guard Int64(bytes.count) == descriptor.size else {
            throw .local(
                .notAnImage("the blob \(descriptor.digest) has \(bytes.count) bytes instead of \(descriptor.size)"),
                path: path)
        }
        let found = Digest(hashing: bytes, with: descriptor.digest.algorithm)
        guard found == descriptor.digest else {
            throw .local(.digestMismatch(expected: descriptor.digest, found: found), path: path)
        }
        return bytes
    }

    func missing(_ name: String) -> PullError { .local(.notAnImage("it holds no \(name)"), path: path) }
}

extension Digest {
    /// https://github.com/opencontainers/image-spec/blob/main/image-layout.md#blobs
    var blobPath: String { "blobs/\(algorithm.rawValue)/\(hex)" }
}

extension PullError {
    /// A file of an image with invalid content.
    static func unreadable(_ error: LayerError, path: String) -> PullError {
        if case .system(let cause) = error.reason { return .local(.system(cause), path: path) }
        return .local(.archive(error), path: path)
    }
}

/// Files of a directory. Links must not lead out of it.
struct DirectoryFiles: LocalFiles {
    let path: String
    private let root: DescriptorBox

    init(_ path: String) throws(PullError) {
        self.path = path
        root = try mapError(to: { (error: SystemError) in .local(.system(error), path: path) }) {
            () throws(SystemError) in
            DescriptorBox(try OwnedFileDescriptor(opening: path, [.readOnly, .directory]))
        }
    }

    func open(_ name: String) throws(PullError) -> (source: any ChunkSource, size: Int64)? {
        do throws(SystemError) {
            let file = try root.descriptor.resolve(name, [.readOnly, .nonBlocking, .noControllingTerminal])
            let status = try file.status()
            guard status.kind == .regular else { return nil }
            return (FileChunks(DescriptorBox(file), bytes: Self.chunkBytes), status.size)
        } catch {
            if error.errno == Errno.ENOENT || error.errno == Errno.ENOTDIR { return nil }
            throw .local(.system(error), path: path)
        }
    }
}

/// An uncompressed archive.
struct ArchiveFiles: LocalFiles {
    let path: String
    private let file: DescriptorBox
    private let index: ArchiveIndex

    init(_ path: String) throws(PullError) {
        self.path = path
        let file = try mapError(to: { (error: SystemError) in .local(.system(error), path: path) }) {
            () throws(SystemError) in
            // Do not wait for the writer of a pipe.
            DescriptorBox(try OwnedFileDescriptor(opening: path, [.readOnly, .nonBlocking, .noControllingTerminal]))
        }
        self.file = file
        let kind = try mapError(to: { (error: SystemError) in .local(.system(error), path: path) }) {
            () throws(SystemError) in
            try file.descriptor.status().kind
        }
        // The archive is read at several offsets in parallel.
        guard kind == .regular || kind == .blockDevice else { throw .local(.notAFile(kind), path: path) }
        var magic = [UInt8](repeating: 0, count: 6)
        let count: Result<Int, SystemError> = magic.withUnsafeMutableBytes { bytes in
            do throws(SystemError) { return .success(try file.descriptor.read(into: bytes, at: 0)) } catch {
                return .failure(error)
            }
        }
        _ = try mapError(to: { (error: SystemError) in .local(.system(error), path: path) }) { () throws(SystemError) in
            try count.get()
        }
        // A compressed archive has no usable offsets, and decompressing it would write all data twice.
        let packings: [(String, [UInt8])] = [
            ("gzip", [0x1F, 0x8B]), ("zstd", [0x28, 0xB5, 0x2F, 0xFD]), ("xz", [0xFD, 0x37, 0x7A, 0x58, 0x5A]),
            ("bzip2", [0x42, 0x5A, 0x68]),
        ]
        for (name, prefix) in packings where magic.starts(with: prefix) {
            throw .local(.compressedArchive(name), path: path)
        }
        index = try mapError(to: { (error: LayerError) in .unreadable(error, path: path) }) { () throws(LayerError) in
            try ArchiveIndex(file)
        }
    }

    func open(_ name: String) throws(PullError) -> (source: any ChunkSource, size: Int64)? {
        let path = path
        let range = try mapError(to: { (error: LayerError) in .unreadable(error, path: path) }) {
            () throws(LayerError) in
            try index.range(of: name)
        }
        guard let range else { return nil }
        return (FileChunks(file, range: range, bytes: Self.chunkBytes), range.upperBound - range.lowerBound)
    }
}
