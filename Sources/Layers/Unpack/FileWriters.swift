internal import CLinux
internal import LinuxKernel

/// A regular file to be made, and what it gets besides its bytes.
struct NewFile: Sendable {
    let name: [UInt8]
    let directory: DescriptorBox
    let permissions: UInt32
    /// Where the umask takes some of them away.
    let setsPermissions: Bool
    let owner: (user: UInt32, group: UInt32)?
    let modified: Timestamp

    /// - Throws: `EEXIST` where the name is taken.
    func create() throws(SystemError) -> OwnedFileDescriptor {
        try directory.descriptor.open(name, .writeOnly | .create | .exclusive | .noFollow, mode: permissions)
    }

    /// What comes after the bytes.
    func finish(_ file: borrowing OwnedFileDescriptor) throws(SystemError) {
        if let owner { try file.setOwner(user: owner.user, group: owner.group) }
        if setsPermissions { try file.setPermissions(permissions) }
        try file.setTimes(modified: modified)
    }
}

/// Makes small files several at once: on a network file system each call waits for a server, and elsewhere there may be
/// processors to spare.
///
/// Files wait where their bytes are, in the chunk that the reader has, and are then made in whatever order. So whoever does
/// what depends on one of them, or gives the chunk back, settles first. A thread that makes a file sees nothing of the layer but
/// the directory it goes to.
final class FileWriters {
    private let crew: WorkerCrew?
    private var waiting: [Waiting] = []
    private var paths: Set<[UInt8]> = []
    /// Of the files that wait: each keeps its own open.
    private var directories = 0
    private static let mostDirectories = 24

    private struct Waiting: @unchecked Sendable {
        let file: NewFile
        /// Borrowed until it is settled.
        let bytes: UnsafeRawBufferPointer
        let entry: [UInt8]
        let offset: UInt64
    }

    /// - Parameter count: How many write at once; with one nothing ever waits.
    init(_ count: Int) { crew = count > 1 ? WorkerCrew(size: count) : nil }

    var areSeveral: Bool { crew != nil }

    /// - Parameter path: Where the file will be; nothing may be there but what is no directory, and no link.
    func add(
        _ file: NewFile, _ path: [UInt8], _ bytes: UnsafeRawBufferPointer, _ entry: TarEntry
    ) throws(LayerError) {
        if waiting.last?.file.directory !== file.directory {
            if directories == Self.mostDirectories { try settle() }
            directories += 1
        }
        paths.insert(path)
        waiting.append(Waiting(file: file, bytes: bytes, entry: entry.name, offset: entry.offset))
    }

    /// Makes what waits if this file is among it.
    func settle(_ name: [UInt8], in parent: RootedTree.Place) throws(LayerError) {
        if !waiting.isEmpty, paths.contains(EntryPath.join(parent.path, name)) { try settle() }
    }

    /// Makes what waits.
    ///
    /// - Throws: What the first file failed of that did.
    func settle() throws(LayerError) {
        if waiting.isEmpty { return }
        let files = waiting
        waiting.removeAll(keepingCapacity: true)
        paths.removeAll(keepingCapacity: true)
        directories = 0
        let failures = Failures(files.count)
        crew?.carryOut(files.count) { number in
            do throws(SystemError) { try Self.make(files[number]) } catch { failures.note(error, number) }
        }
        if let (number, error) = failures.first {
            throw LayerError(.system(error)).at(files[number].entry, files[number].offset)
        }
    }

    /// Ends the threads; what still waits is not made.
    func dismiss() { crew?.dismiss() }

    private static func make(_ waiting: Waiting) throws(SystemError) {
        let file: OwnedFileDescriptor
        do throws(SystemError) { file = try waiting.file.create() } catch {
            guard error.errno == EEXIST else { throw error }
            // An earlier entry's file: replaced, never written through.
            try waiting.file.directory.descriptor.removeFile(waiting.file.name)
            file = try waiting.file.create()
        }
        try file.writeAll(waiting.bytes)
        try waiting.file.finish(file)
    }

    /// Each piece of work has a place of its own to fail in.
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

/// A reader's chunks, each given back only when no file waits for its bytes.
final class SettledChunks: ChunkSource {
    private let base: any ChunkSource
    private let writers: FileWriters

    init(_ base: any ChunkSource, _ writers: FileWriters) {
        self.base = base
        self.writers = writers
    }

    func next() throws(LayerError) -> UnsafeRawBufferPointer {
        try writers.settle()
        return try base.next()
    }
}
