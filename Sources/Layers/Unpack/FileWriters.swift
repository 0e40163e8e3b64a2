internal import CLinux
internal import LinuxKernel

/// A regular file to create, with its attributes.
struct NewFile: Sendable {
    let name: [UInt8]
    let directory: DescriptorBox
    let permissions: UInt32
    /// Set if the umask removes some of the permissions.
    let setsPermissions: Bool
    let owner: (user: UInt32, group: UInt32)?
    let modified: Timestamp

    /// - Throws: `EEXIST` if the name is taken.
    func create() throws(SystemError) -> OwnedFileDescriptor {
        try directory.descriptor.open(name, .writeOnly | .create | .exclusive | .noFollow, mode: permissions)
    }

    /// Sets the attributes after the content is written.
    func finish(_ file: borrowing OwnedFileDescriptor) throws(SystemError) {
        if let owner { try file.setOwner(user: owner.user, group: owner.group) }
        if setsPermissions { try file.setPermissions(permissions) }
        try file.setTimes(modified: modified)
    }
}

/// Creates small files in parallel, because each call waits for a server on a network file system, and processors may
/// be idle elsewhere.
///
/// Queued files keep their bytes in the reader's chunk and are created in any order. Call `flush` before an operation
/// that depends on one of them and before the chunk is returned. A thread that creates a file accesses only its
/// directory.
final class FileWriters {
    private let pool: ThreadPool?
    private var waiting: [Waiting] = []
    private var paths: Set<[UInt8]> = []
    /// The directories of the queued files, each of which keeps a descriptor open.
    private var directories = 0
    private static let mostDirectories = 24

    private struct Waiting: @unchecked Sendable {
        let file: NewFile
        /// Borrowed until `flush`.
        let bytes: UnsafeRawBufferPointer
        let entry: [UInt8]
        let offset: UInt64
    }

    /// - Parameter count: The number of parallel writers. With one, no file is queued.
    init(_ count: Int) { pool = count > 1 ? ThreadPool(size: count) : nil }

    var areSeveral: Bool { pool != nil }

    /// - Parameter path: The path of the file. No directory or link may exist there.
    func add(
        _ file: NewFile, _ path: [UInt8], _ bytes: UnsafeRawBufferPointer, _ entry: TarEntry
    ) throws(LayerError) {
        if waiting.last?.file.directory !== file.directory {
            if directories == Self.mostDirectories { try flush() }
            directories += 1
        }
        paths.insert(path)
        waiting.append(Waiting(file: file, bytes: bytes, entry: entry.name, offset: entry.offset))
    }

    /// Flushes if this file is queued.
    func flush(_ name: [UInt8], in parent: RootedTree.Place) throws(LayerError) {
        if !waiting.isEmpty, paths.contains(EntryPath.join(parent.path, name)) { try flush() }
    }

    /// Creates the queued files.
    ///
    /// - Throws: The error of the first file that failed.
    func flush() throws(LayerError) {
        if waiting.isEmpty { return }
        let files = waiting
        waiting.removeAll(keepingCapacity: true)
        paths.removeAll(keepingCapacity: true)
        directories = 0
        let failures = Failures(files.count)
        pool?.run(files.count) { number in
            do throws(SystemError) { try Self.make(files[number]) } catch { failures.note(error, number) }
        }
        if let (number, error) = failures.first {
            throw LayerError(.system(error)).at(files[number].entry, files[number].offset)
        }
    }

    /// Stops the threads. Queued files are not created.
    func dismiss() { pool?.dismiss() }

    private static func make(_ waiting: Waiting) throws(SystemError) {
        let file: OwnedFileDescriptor
        do throws(SystemError) { file = try waiting.file.create() } catch {
            guard error.errno == EEXIST else { throw error }
            // Replace the file of an earlier entry; never write through it.
            try waiting.file.directory.descriptor.removeFile(waiting.file.name)
            file = try waiting.file.create()
        }
        try file.writeAll(waiting.bytes)
        try waiting.file.finish(file)
    }

    /// One slot per file, so that threads need no lock to store errors.
    private final class Failures: @unchecked Sendable {
        private let errors: UnsafeMutableBufferPointer<SystemError?>

        init(_ count: Int) {
            errors = .allocate(capacity: count)
            errors.initialize(repeating: nil)
        }

        deinit {
            errors.deinitialize()
            errors.deallocate()
        }

        func note(_ error: SystemError, _ number: Int) { errors[number] = error }

        var first: (number: Int, error: SystemError)? {
            for number in errors.indices { if let error = errors[number] { return (number, error) } }
            return nil
        }
    }
}

/// Flushes queued files before it returns a chunk to the reader.
final class FlushingChunks: ChunkSource {
    private let base: any ChunkSource
    private let writers: FileWriters

    init(_ base: any ChunkSource, _ writers: FileWriters) {
        self.base = base
        self.writers = writers
    }

    func next() throws(LayerError) -> UnsafeRawBufferPointer {
        try writers.flush()
        return try base.next()
    }
}
