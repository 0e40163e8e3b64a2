import Distribution
import Foundation
import Hashing
import ImageSpec
import LinuxKernel
@testable import Store
import TestSupport

/// Runs the built `berth-image` as a user does.
enum Program {
    /// The newest build; testing a stale one would go unnoticed.
    static let path: String? = {
        let root = packageRoot(#filePath.replacingOccurrences(of: "/Faults/", with: "/"))
        let built = ["build/libexec/berth/berth-image", ".build/release/berth-image", ".build/debug/berth-image"]
        let found = ProcessInfo.processInfo.environment["BERTH_IMAGE_BIN"] ?? newest(built.map { root + "/" + $0 })
        if found == nil {
            FileHandle.standardError.write(Data("\n*** SKIPPED: no built berth-image: run Scripts/build\n\n".utf8))
        }
        return found
    }()

    static func newest(_ paths: [String]) -> String? {
        func age(_ path: String) -> Date {
            (try? FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date) ?? .distantPast  // unreadable
        }
        return paths.filter(FileManager.default.isExecutableFile(atPath:)).max { age($0) < age($1) }
    }

    static var isBuilt: Bool { path != nil }
    static let isRoot = geteuid() == 0

    static func command(
        _ arguments: [String], home: String, through wrapper: [String] = [], environment: [String: String] = [:]
    ) throws -> Command {
        guard let path else { throw TestSupportError("no berth-image") }
        let file = home + "/berth.conf"
        let own = [
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": home,
            "BERTH_CONFIG": FileManager.default.fileExists(atPath: file) ? file : "/dev/null",
        ]
        return Command(
            wrapper + [path] + arguments, environment: own.merging(environment) { $1 }, secondsAllowed: 120)
    }
}

/// An image on disk as an OCI layout, and a store next to it.
struct Scene {
    let place: TemporaryDirectory
    let layout: String
    let store: String

    init(_ image: LocalImage, tag: String = "one") throws {
        place = try TemporaryDirectory()
        store = place.path + "/store"
        layout = place.path + "/layout"
        try add(image, tag)
    }

    /// Adds a layout for another image.
    func add(_ image: LocalImage, _ tag: String) throws {
        for (file, bytes) in LocalImage.layout([(tag, image)]) { try place.write(bytes, to: "layout/\(tag)/" + file) }
    }

    func source(_ tag: String = "one") -> String { "oci:\(layout)/\(tag)" }

    func pull(_ tag: String = "one", through wrapper: [String] = [], store: String? = nil) throws -> Command {
        try Program.command(
            ["pull", "-q", "--store", store ?? self.store, source(tag)], home: place.path, through: wrapper)
    }

    func prune(_ options: [String] = []) throws -> Command {
        try Program.command(["prune", "--store", store] + options, home: place.path)
    }

    /// All visible images with the contents of their layers.
    func images(in store: String? = nil) throws -> [Digest: [UInt64]] {
        guard let opened = try ImageStore.open(existing: store ?? self.store) else { return [:] }
        var found: [Digest: [UInt64]] = [:]
        let images = try opened.images()
        for image in images {
            guard let lease = try opened.lease(image.record.digest) else { continue }
            var prints: [UInt64] = []
            for tree in lease.trees {
                var print = Print()
                try print.add(OwnedFileDescriptor(opening: tree, [.readOnly, .directory]))
                prints.append(print.value)
            }
            found[image.record.digest] = prints
        }
        return found
    }

    /// The paths that no image needs; empty after a collection without other processes.
    func garbage(in store: String? = nil) throws -> [String] {
        let store = store ?? self.store
        func names(_ path: String) -> [String] {
            ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()  // absent: nothing
        }
        var found = names(store).filter {
            ![
                "containers", "drafts", "images", "layers", "locks", "mount", "refs", "rootfs",
                "squashfs", "unsettled", "version",
            ].contains($0)
        }
        found += names(store + "/drafts").map { "drafts/" + $0 }
        found += names(store + "/locks").filter { $0 != "pulling" }.map { "locks/" + $0 }
        let enumerator = FileManager.default.enumerator(atPath: store + "/refs")
        found += (enumerator?.compactMap { $0 as? String } ?? []).filter { $0.contains(".draft-") }
        var needed: Set<String> = []
        for image in try ImageStore.open(existing: store)?.images() ?? [] {
            for tree in image.record.trees { needed.insert(tree) }
        }
        for kind in ["layers", "rootfs"] {
            for name in names(store + "/" + kind) where !needed.contains("\(kind)/\(name)/tree") {
                // A flattened image no longer needs its layers.
                found.append("\(kind)/\(name)")
            }
        }
        return found
    }

    /// Type, mode, size, time, link and content of everything below a directory as one number.
    private struct Print {
        var value: UInt64 = 0xcbf2_9ce4_8422_2325

        mutating func add(_ bytes: some Sequence<UInt8>) {
            for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
        }

        mutating func add(_ directory: borrowing OwnedFileDescriptor) throws {
            for name in try directory.entries().sorted(by: { $0.lexicographicallyPrecedes($1) }) {
                let status = try directory.status(of: name)
                add(name)
                add("\(status.kind) \(status.permissions) \(status.modified)".utf8)
                switch status.kind {
                case .directory: try add(directory.open(name, [.readOnly, .directory, .noFollow]))
                case .regular:
                    let bytes = try directory.open(name, [.readOnly, .noFollow]).readAll(limit: 1 << 30)
                    // With the library's C code, because a loop in a debug build is too slow.
                    add(Digest(hashing: bytes, with: .sha256).hex.utf8)
                case .symlink: add(try directory.linkTarget(name))
                default: break
                }
            }
        }
    }
}

extension LocalImage {
    /// Reproducible layers of many small files and one large file each.
    static func sample(layers: Int = 3, files: Int = 80, largest: Int = 1 << 20, isFlattened: Bool = false)
        -> LocalImage
    {
        LocalImage(
            layers: (0..<layers).map { layer in
                var writer = TarWriter()
                func directory(_ name: String) {
                    writer.add(.init(name: Array((name + "/").utf8), mode: 0o755, type: UInt8(ascii: "5")))
                }
                directory("d\(layer)")
                for file in 0..<files {
                    let bytes = (0..<(file * 97 % 5000)).map { UInt8(truncatingIfNeeded: $0 &* (file + 3) &+ layer) }
                    writer.add(.init(name: Array("d\(layer)/f\(file)".utf8), size: Int64(bytes.count)), bytes)
                }
                var state = UInt64(layer) &+ 77
                let noise = (0..<largest).map { _ in
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    return UInt8(truncatingIfNeeded: state >> 33)
                }
                writer.add(.init(name: Array("d\(layer)/large".utf8), size: Int64(noise.count)), noise)
                if isFlattened, layer > 0 {
                    // A link into a lower layer, which overlayfs cannot stack.
                    writer.add(
                        .init(name: Array("link\(layer)".utf8), type: UInt8(ascii: "1"), link: Array("d0/f1".utf8)))
                }
                writer.end()
                return writer.bytes
            })
    }
}

/// A reproducible sequence for a seed that failures report.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &+ 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
