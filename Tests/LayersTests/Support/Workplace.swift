import struct Crypto.SHA256
import struct Crypto.SHA512
import ImageSpec
import Layers
import LinuxKernel
import TestSupport
import Testing

/// A private directory for a test, removed with this object.
final class Workplace: Sendable {
    let root: DescriptorBox
    private let parent: DescriptorBox
    private let name: String

    init() throws {
        parent = DescriptorBox(try OwnedFileDescriptor(opening: "/tmp", [.readOnly, .directory]))
        name = "berth-layers-\(UInt64.random(in: 0...UInt64.max))"
        try parent.descriptor.makeDirectory(name, mode: 0o755)
        root = DescriptorBox(try parent.descriptor.open(name, [.readOnly, .directory]))
    }

    deinit { try? parent.descriptor.removeTree(name) }  // best effort

    var path: String { "/tmp/" + name }

    func directory(_ name: String) throws -> DescriptorBox {
        try root.descriptor.makeDirectory(name, mode: 0o755)
        return DescriptorBox(try root.descriptor.open(name, [.readOnly, .directory]))
    }

    func unpack(
        _ tar: [UInt8], as name: String = "layer", blob: [UInt8]? = nil, _ unpacker: LayerUnpacker = .several
    ) throws -> LayerTree {
        let directory = try directory(name)
        let summary = try unpacker.unpack(BytesSource(blob ?? tar), diffID: digest(tar), into: directory)
        // The encoded summary must survive decoding.
        #expect(try LayerSummary(decoding: summary.encoded) == summary)
        return LayerTree(directory, summary)
    }

    /// Unpacks each list of items as a layer, lowest first, and flattens all.
    func flatten(_ layers: [[Item]], ownership: LayerUnpacker.Ownership = .caller) throws -> DescriptorBox {
        var trees: [LayerTree] = []
        var unpacker = LayerUnpacker.several
        unpacker.ownership = ownership
        for (index, items) in layers.enumerated() {
            trees.append(try unpack(archive(items), as: "layer\(index)", unpacker))
        }
        let flat = try directory("flat")
        try Flattener().compose(trees, into: flat)
        return flat
    }
}

extension LayerUnpacker {
    /// With several threads that create files, to compare with a single one.
    static var several: LayerUnpacker {
        var unpacker = LayerUnpacker()
        unpacker.writers = 4
        return unpacker
    }
}

extension LayerUnpacker.Ownership {
    /// Keeps the archive's owners if the test's user can set them.
    static var asRoot: Self { Identity.userID == 0 ? .preserve : .caller }
}

extension FileTree {
    /// The tree as this user unpacks it: owned by the user and with listable directories, unless the user is root.
    var onDisk: FileTree {
        if Identity.userID == 0 { return self }
        var tree = self
        for (path, entry) in entries {
            tree.entries[path]?.owner = [Identity.userID, Identity.groupID]
            if entry.kind == .directory { tree.entries[path]?.permissions |= 0o500 }
        }
        return tree
    }
}

extension Item {
    /// The description in messages of failed tests.
    var summary: String {
        "\(type) \(FileTree.Entry.text(path))" + (target.isEmpty ? "" : " -> " + FileTree.Entry.text(target))
    }
}

func digest(_ bytes: [UInt8], _ algorithm: Digest.Algorithm = .sha256) -> Digest {
    switch algorithm {
    case .sha256: Digest(.sha256, bytes: Array(SHA256.hash(data: bytes)))!  // 32 bytes
    case .sha512: Digest(.sha512, bytes: Array(SHA512.hash(data: bytes)))!  // 64 bytes
    }
}
