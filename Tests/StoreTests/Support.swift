import ImageSpec
import LinuxKernel
@testable import Store
import TestSupport

/// A store in a separate directory, and images that consist only of their records.
struct Workshop: Sendable {
    let directory: TemporaryDirectory
    let path: String

    init() throws {
        directory = try TemporaryDirectory()
        path = directory.path + "/parent/store"
    }

    func open() throws(StoreError) -> ImageStore { try ImageStore.open(creating: path) }

    /// A digest of one repeated byte.
    static func digest(_ byte: UInt8) throws -> Digest {
        guard let digest = Digest(.sha256, bytes: [UInt8](repeating: byte, count: 32)) else {
            throw TestSupportError("no digest")
        }
        return digest
    }

    static func key(_ source: String, platform: String? = nil) throws -> ImageKey {
        try ImageKey(
            try ImageSource(parsing: source), platform: try platform.map { try Platform(parsing: $0) } ?? .host)
    }

    static func record(_ byte: UInt8, layers: [UInt8] = [], name: String = "image") throws -> LaunchRecord {
        LaunchRecord(
            digest: try digest(byte), platform: .host,
            trees: try layers.map { "layers/\(try digest($0).directoryName)/tree" }
                // An existing directory.
                + (layers.isEmpty ? ["mount"] : []),
            overlay: true, name: name)
    }

    /// A layer that holds one file.
    static func addLayer(_ byte: UInt8, to store: ImageStore, text: String = "layer") throws {
        guard let draft = try store.draftLayer(try digest(byte)) else { return }
        try draft.tree.descriptor.open("file", [.writeOnly, .create], mode: 0o644).writeAll(Array(text.utf8))
        try store.publish(draft, summary: Array("summary".utf8))
    }

    func names(_ directory: String) throws -> [String] {
        try OwnedFileDescriptor(opening: path + "/" + directory, [.readOnly, .directory]).entries().map(\.displayPath)
            .sorted()
    }
}

extension ImageStore {
    /// Returns `false` if the name does not exist.
    func removeName(_ key: ImageKey) throws(StoreError) -> Bool {
        guard let digest = try digest(of: key) else { return false }
        try removeNames([key], of: digest)
        return true
    }

    /// Waits for the lock of a container's name. Blocks.
    func lockContainer(_ name: String) throws(StoreError) -> WorkLock {
        WorkLock(descriptor: try workLock("containers/" + name))
    }
}
