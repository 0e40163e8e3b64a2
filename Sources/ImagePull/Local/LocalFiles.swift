internal import Distribution
internal import Hashing
internal import ImageSpec
internal import Layers
internal import LinuxKernel

/// Named files of an image on this machine: of a directory, or of an archive that is read where it lies.
protocol LocalFiles: Sendable {
    /// As the user gave it.
    var path: String { get }
    /// The file's bytes and how many there are; nil where there is no such file.
    func open(_ name: String) throws(PullError) -> (source: any ChunkSource, size: Int64)?
}

extension LocalFiles {
    /// What is read of a blob at once.
    static var chunkBytes: Int { 256 << 10 }

    /// A small file, whole.
    func contents(of name: String, limit: Int64 = Int64(DocumentLimits.maximumBytes)) throws(PullError) -> [UInt8]? {
        guard let (source, size) = try open(name) else { return nil }
        guard size <= limit else { throw .local(.notAnImage("\(name) is larger than \(limit) bytes"), path: path) }
        let path = path
        return try naming({ (error: LayerError) in .unreadable(error, path: path) }) { () throws(LayerError) in
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

    /// A small blob of a layout, verified against its descriptor.
    func blob(
        _ descriptor: Descriptor, limit: Int64 = Int64(DocumentLimits.maximumBytes)
    ) throws(PullError) -> [UInt8] {
        guard let bytes = try contents(of: descriptor.digest.blobPath, limit: limit) else {
            throw .local(.notAnImage("the blob \(descriptor.digest) is missing"), path: path)
        }
        // The size first: a digest over the wrong length means nothing (descriptor.md, "Verification").
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
    /// A file of an image that can not be read as what it should be.
    static func unreadable(_ error: LayerError, path: String) -> PullError {
        if case .system(let cause) = error.reason { return .local(.system(cause), path: path) }
        return .local(.archive(error), path: path)
    }
}

/// A directory, in which links may lead only to places within it.
struct DirectoryFiles: LocalFiles {
    let path: String
    private let root: DescriptorBox

    init(_ path: String) throws(PullError) {
        self.path = path
        root = try naming({ (error: SystemError) in .local(.system(error), path: path) }) { () throws(SystemError) in
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
        let file = try naming({ (error: SystemError) in .local(.system(error), path: path) }) {
            () throws(SystemError) in
            // A pipe without a writer would be waited for without end.
            DescriptorBox(try OwnedFileDescriptor(opening: path, [.readOnly, .nonBlocking, .noControllingTerminal]))
        }
        self.file = file
        let kind = try naming({ (error: SystemError) in .local(.system(error), path: path) }) {
            () throws(SystemError) in
            try file.descriptor.status().kind
        }
        // Read at offsets, several places at once.
        guard kind == .regular || kind == .blockDevice else { throw .local(.notAFile(kind), path: path) }
        var magic = [UInt8](repeating: 0, count: 6)
        let count: Result<Int, SystemError> = magic.withUnsafeMutableBytes { bytes in
            do throws(SystemError) { return .success(try file.descriptor.read(into: bytes, at: 0)) } catch {
                return .failure(error)
            }
        }
        _ = try naming({ (error: SystemError) in .local(.system(error), path: path) }) { () throws(SystemError) in
            try count.get()
        }
        // By offset nothing can be found in a compressed archive, and unpacking it beside would write all of it twice.
        let packings: [(String, [UInt8])] = [
            ("gzip", [0x1F, 0x8B]), ("zstd", [0x28, 0xB5, 0x2F, 0xFD]), ("xz", [0xFD, 0x37, 0x7A, 0x58, 0x5A]),
            ("bzip2", [0x42, 0x5A, 0x68]),
        ]
        for (name, prefix) in packings where magic.starts(with: prefix) {
            throw .local(.compressedArchive(name), path: path)
        }
        index = try naming({ (error: LayerError) in .unreadable(error, path: path) }) { () throws(LayerError) in
            try ArchiveIndex(file)
        }
    }

    func open(_ name: String) throws(PullError) -> (source: any ChunkSource, size: Int64)? {
        let path = path
        let range = try naming({ (error: LayerError) in .unreadable(error, path: path) }) { () throws(LayerError) in
            try index.range(of: name)
        }
        guard let range else { return nil }
        return (FileChunks(file, range: range, bytes: Self.chunkBytes), range.upperBound - range.lowerBound)
    }
}
