import Distribution
import Foundation
import ImageSpec
import Layers
import LinuxKernel
import Store
import TestSupport
import Testing

/// The same images unpacked by umoci and by podman's storage, compared entry by entry: type, mode, size, link target,
/// time, content, extended attributes. docs/unpacking.md has the table of what differs, and why.
@Suite(.serialized) struct OracleTests {
    /// What is told of one entry.
    struct Fact: Equatable, CustomStringConvertible {
        var kind: String
        var mode: UInt32
        var content: String
        var seconds: Int64
        var links: UInt64
        /// With their values; those that a file system makes itself are not an image's.
        var attributes: [String] = []
        var description: String {
            "\(kind) \(String(mode, radix: 8)) \(content.prefix(40)) \(seconds) x\(links) \(attributes)"
        }
    }

    static func facts(_ directory: borrowing OwnedFileDescriptor, _ prefix: String = "") throws -> [String: Fact] {
        var found: [String: Fact] = [:]
        for name in try directory.entries() {
            let status = try directory.status(of: name)
            let path = prefix + name.displayPath
            var fact = Fact(
                kind: "\(status.kind)", mode: status.permissions, content: "", seconds: status.modified.seconds,
                links: 0)
            switch status.kind {
            case .regular:
                let file = try directory.open(name, [.readOnly, .noFollow])
                fact.content = try file.readAll().displayPath
                fact.links = status.links
                fact.attributes = try attributes(file)
            case .symlink: fact.content = try directory.linkTarget(name).displayPath
            case .directory:
                let inner = try directory.open(name, [.readOnly, .directory, .noFollow])
                found.merge(try facts(inner, path + "/")) { $1 }
                fact.attributes = try attributes(inner)
            default: break
            }
            found[path] = fact
        }
        return found
    }

    static func attributes(_ file: borrowing OwnedFileDescriptor) throws -> [String] {
        try file.extendedAttributeNames().map(\.displayPath).sorted().map {
            "\($0)=\((try file.extendedAttribute($0)?.displayPath ?? "-"))"
        }
    }

    /// Attributes of every kind, on a file, a directory and a file that a later layer changes.
    static func attributed() -> [UInt8] {
        var writer = TarWriter()
        let names: [(String, [UInt8])] = [
            ("user.kept", [0x31, 0xFF, 0]), ("user.empty", []), ("user.name with blanks", Array("v".utf8)),
            ("user.overlay.opaque", Array("y".utf8)), ("user.overlay.redirect", Array("/etc".utf8)),
            ("trusted.overlay.opaque", Array("y".utf8)),
            // Version 2 of capabilities(7): cap_net_raw.
            ("security.capability", [1, 0, 0, 2, 0, 0x20] + [UInt8](repeating: 0, count: 14)),
        ]
        writer.add(.init(name: Array("x/".utf8), mode: 0o755, type: UInt8(ascii: "5")))
        for (name, type) in [("x/file", "0"), ("x/dir/", "5"), ("x/replaced", "0")] as [(String, Character)] {
            writer.pax(names.map { ("SCHILY.xattr." + $0, $1) })
            writer.add(.init(name: Array(name.utf8), mode: 0o755, type: type.asciiValue ?? 0))
        }
        writer.end()
        return writer.bytes
    }

    /// An image of random layers with a lower and an upper one of our own choice around them.
    static func image(_ seed: UInt64, hasRandomLayers: Bool = true) -> LocalImage {
        var random = Seeded(state: seed)
        let base: [Item] = [
            .dir("z", 0o711), .file("z/one", "1", 0o640), .link("z/one", "z/two"), .symlink("../a", "z/up"),
            .symlink("/absolute", "z/root"), .fifo("z/pipe"), .file("z/gone", "x"), .dir("z/full"),
            .file("z/full/f", "y"),
            .dir("y", 0o1777), .file("y/su", "s", 0o4755), .file("\u{E9}\u{1F600} name", "utf-8"),
            .file("long/" + String(repeating: "n", count: 180), "long"),
        ]
        let top: [Item] = [
            .dir("z", 0o700), .file("z/.wh.gone"), .dir("z/full", 0o750), .file("z/full/.wh..wh..opq"),
            .file("z/full/new", "n"),
            .file("z/up", "no longer a link"), .file("implicit/deep/file", "i"), .file("y/one", "2"),
            .dir("x"), .file("x/replaced", "without"),
        ]
        let middle =
            !hasRandomLayers
            ? [] : (0..<Int.random(in: 1...3, using: &random)).map { LayerModel.randomLayer($0, &random) }
        return LocalImage(layers: [attributed()] + ([base] + middle + [top]).map { archive($0) })
    }

    /// Ours, flattened, as everything that a launch shows.
    static func own(_ image: LocalImage, _ place: TemporaryDirectory) throws -> [String: Fact] {
        func directory(_ name: String) throws -> DescriptorBox {
            try place.makeDirectory("own/" + name)
            return DescriptorBox(
                try OwnedFileDescriptor(opening: place.path + "/own/" + name, [.readOnly, .directory]))
        }
        var trees: [LayerTree] = []
        for (index, layer) in image.layers.enumerated() {
            let tree = try directory("layer\(index)")
            let digest = Digest(hashing: layer, with: .sha256)
            trees.append(
                LayerTree(tree, try LayerUnpacker().unpack(BytesSource(layer), diffID: digest, into: tree)))
        }
        // Copied, so that the layers' own names do not count as links.
        let flat = try directory("flat")
        try Flattener().compose(trees, into: flat)
        for index in image.layers.indices {
            try FileManager.default.removeItem(atPath: place.path + "/own/layer\(index)")
        }
        return try facts(flat.descriptor)
    }

    /// What is known to differ; anything else is an error of somebody's.
    static func differences(_ ours: [String: Fact], _ theirs: [String: Fact]) -> [String] {
        var told: [String] = []
        for path in Set(ours.keys).union(theirs.keys).sorted() {
            var (own, other) = (ours[path], theirs[path])
            // Without an entry of its own, its time is anybody's choice.
            if ["implicit", "implicit/deep", "long"].contains(path) {
                own?.seconds = 0
                other?.seconds = 0
            }
            // Capabilities are setuid by another name, and overlayfs's own attributes would make it show something else.
            other?.attributes.removeAll { one in
                ["security.capability=", "user.overlay.", "trusted.overlay."].contains { one.hasPrefix($0) }
            }
            // setuid is stripped here: the tree is shared.
            if path == "y/su" { other?.mode &= 0o777 }
            if own != other {
                told.append("\(path): ours \(own.map { "\($0)" } ?? "-"), theirs \(other.map { "\($0)" } ?? "-")")
            }
        }
        return told
    }

    static func has(_ program: String) -> Bool {
        let found = FileManager.default.isExecutableFile(atPath: "/usr/bin/" + program)
        if !found { FileHandle.standardError.write(Data("SKIPPED: no \(program)\n".utf8)) }
        return found
    }

    @Test(.enabled(if: has("umoci"), "needs umoci"), arguments: 0..<6) func umociUnpacksTheSame(_ seed: Int) throws {
        let image = Self.image(UInt64(seed))
        let scene = try Scene(image)
        let bundle = scene.place.path + "/bundle"
        let ended = try Command(
            ["umoci", "unpack", "--rootless", "--image", "\(scene.layout)/one:one", bundle],
            environment: ["PATH": "/usr/bin:/bin", "HOME": scene.place.path]
        ).run()
        try #require(ended.status == 0, "\(ended)")
        let theirs = try Self.facts(OwnedFileDescriptor(opening: bundle + "/rootfs", [.readOnly, .directory]))
        let found = Self.differences(try Self.own(image, scene.place), theirs)
        #expect(found == [], "\(found.joined(separator: "\n"))")
    }

    @Test(
        .enabled(if: has("podman") && Program.isRoot, "needs podman, and root for its plainest storage"))
    func podmansStorageHoldsTheSame() throws {
        // Without layers in which a whiteout comes after what it spares: podman removes the new entry, too, and fails.
        let image = Self.image(1, hasRandomLayers: false)
        let scene = try Scene(image)
        let storage = [
            "podman", "--root", scene.place.path + "/root", "--runroot", scene.place.path + "/run", "--storage-driver",
            "vfs",
        ]
        func podman(_ words: String...) throws -> Ended {
            try Command(
                storage + words, environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": scene.place.path]
            ).run()
        }
        // podman takes the path for a name, in which there may be no capitals.
        let lower = "/var/tmp/berth-oracle-\(getpid())"
        try FileManager.default.copyItem(atPath: scene.layout + "/one", toPath: lower)
        defer { try? FileManager.default.removeItem(atPath: lower) }  // only tidying
        let pulled = try podman("pull", "-q", "oci:\(lower):one")
        guard pulled.status == 0, let name = pulled.lines.last else {
            // Containers in containers often can not.
            FileHandle.standardError.write(Data("SKIPPED: podman does not pull here: \(pulled)\n".utf8))
            return
        }
        let mounted = try podman("image", "mount", name)
        let path = try #require(mounted.lines.last, "\(mounted)")
        let theirs = try Self.facts(OwnedFileDescriptor(opening: path, [.readOnly, .directory]))
        _ = try podman("image", "umount", "--force", name)
        var (ours, others) = (try Self.own(image, scene.place), theirs)
        // podman gives a file the mode of its hard link's header, and a directory without an entry the time of now.
        for path in ["z/one", "z/two"] { others[path]?.mode = ours[path]?.mode ?? 0 }
        ours["y"]?.seconds = 0
        others["y"]?.seconds = 0
        let found = Self.differences(ours, others)
        #expect(found == [], "\(found.joined(separator: "\n"))")
    }
}
