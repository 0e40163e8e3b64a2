import Foundation
import ImageSpec
import Layers
import LinuxKernel
import SiteConfig
import TestSupport

import struct Crypto.SHA256

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// SwiftPM renames an executable's entry point to this name, so libFuzzer's own `main` is used.
@_cdecl("berth_fuzz_main")
public func start(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) -> CInt {
    var (count, arguments) = (count, arguments)
    return runDriver(&count, &arguments, fuzz)
}

/// Called by libFuzzer with its inputs. `BERTH_FUZZ_TARGET` selects the target. A crash, a trap or a difference from
/// the model is a failure; a thrown error is not.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    switch target {
    case "tar": readArchive(bytes)
    case "layers": applyLayers(bytes)
    case "documents": readDocuments(bytes)
    case "devices": readDevices(bytes)
    case "records": readRecord(bytes)
    case "archives": readDockerArchive(bytes)
    case "challenges": readChallenges(bytes)
    default: fatalError("BERTH_FUZZ_TARGET is tar, layers, documents, devices, records, archives or challenges")
    }
    return 0
}

private let target = ProcessInfo.processInfo.environment["BERTH_FUZZ_TARGET"] ?? ""

// MARK: tar

/// An archive must yield the same entries when it is read as a whole and in small pieces, and decompression must end.
private func readArchive(_ bytes: [UInt8]) {
    var limits = UnpackLimits()
    limits.totalBytes = 1 << 24
    limits.entries = 10_000
    limits.extendedHeaderBytes = 1 << 16
    limits.sparseExtents = 1000
    func entries(_ chunk: Int) -> [String] {
        let reader = TarReader(BytesSource(bytes, stride: min(chunk, 8192)), limits: limits)
        var told: [String] = []
        do throws(LayerError) {
            while try reader.advance() {
                let entry = reader.entry
                told.append("\(entry.name) \(entry.kind) \(entry.size) \(entry.linkName) \(entry.modified)")
                var data = 0
                while let (_, part) = try reader.nextData() { data += part.count }
                told.append("\(data)")
            }
            told.append("end")
        } catch {
            told.append("\(error.reason)")
        }
        return told
    }
    precondition(entries(.max) == entries(7), "the pieces in which an archive comes change what it says")
    let decompressor = Decompressor(BytesSource(bytes), limits: limits)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 64)
    defer { buffer.deallocate() }
    var total = 0
    do throws(LayerError) {
        while total < 1 << 24 {
            let made = try decompressor.read(into: buffer)
            if made == 0 { break }
            total += made
        }
    } catch {}
}

// MARK: layers

/// The input's bytes as random numbers, then an endless sequence, because users of a generator may reject numbers.
private struct Numbers: RandomNumberGenerator {
    var bytes: ArraySlice<UInt8>
    private var state: UInt64 = 1

    init(bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    mutating func next() -> UInt64 {
        if bytes.isEmpty {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }
        var value: UInt64 = 0
        for _ in 0..<8 { value = value << 8 | UInt64(bytes.popFirst() ?? 0) }
        return value
    }
}

let placePath = ProcessInfo.processInfo.environment["BERTH_FUZZ_PLACE"] ?? "."
private let place: DescriptorBox = {
    let path = placePath
    do {
        return DescriptorBox(try OwnedFileDescriptor(opening: path, [.readOnly, .directory]))
    } catch { fatalError("\(path): \(error)") }
}()

private let hasAttributes: Bool = {
    do {
        try place.descriptor.setExtendedAttribute("user.berth-fuzz", [1])
        return true
    } catch { return false }
}()

/// A directory next to the trees that no archive may reach. Created at the start and checked after each input.
private let sentinel: () = {
    do {
        try place.descriptor.removeTree("sentinel")
        try place.descriptor.makeDirectory("sentinel", mode: 0o755)
        let inside = try place.descriptor.open("sentinel", [.readOnly, .directory])
        try inside.open("secret", [.writeOnly, .create], mode: 0o644).writeAll(Array("safe".utf8))
        try inside.setTimes(modified: Timestamp(seconds: 1))
    } catch { fatalError("\(error)") }
}()

private func checkSentinel() throws {
    let inside = try place.descriptor.open("sentinel", [.readOnly, .directory])
    let (modified, nodes) = (try inside.status().modified, try listing(inside))
    precondition(modified == Timestamp(seconds: 1), "something was made or removed beside the tree")
    precondition(nodes == ["secret": "file 644 safe"], "a file beside the tree is another: \(nodes)")
    let known: Set<String> = [
        "sentinel", "flat", "other", "library", "archive.tar", "layer0", "layer1", "layer2", "layer3",
    ]
    let names = Set(try place.descriptor.entries().map(\.displayPath))
    precondition(names.isSubset(of: known), "beside the tree: \(names.subtracting(known))")
}

private func directory(_ name: String) throws -> DescriptorBox {
    try place.descriptor.removeTree(name)
    try place.descriptor.makeDirectory(name, mode: 0o755)
    return DescriptorBox(try place.descriptor.open(name, [.readOnly, .directory]))
}

private func unpack(_ tar: [UInt8], _ name: String, writers: Int = 3) throws -> LayerTree {
    let tree = try directory(name)
    guard let diffID = Digest(.sha256, bytes: Array(SHA256.hash(data: tar))) else { fatalError("32 bytes") }
    var unpacker = LayerUnpacker()
    unpacker.limits.totalBytes = 1 << 22
    unpacker.writers = writers
    return LayerTree(tree, try unpacker.unpack(BytesSource(tar), diffID: diffID, into: tree))
}

/// Describes everything below a directory, sorted. Omits the contents of large files, which sparse archives create from
/// a few bytes.
private func facts(_ directory: borrowing OwnedFileDescriptor, _ prefix: String = "") throws -> [String] {
    var told: [String] = []
    for name in try directory.entries().sorted(by: { $0.lexicographicallyPrecedes($1) }) {
        let status = try directory.status(of: name)
        let path = prefix + name.displayPath
        var line = "\(path) \(status.kind) \(status.permissions) \(status.links)"
        // The time of a whiteout is its creation time.
        if status.kind != .characterDevice { line += " \(status.modified)" }
        switch status.kind {
        case .directory:
            // EACCES: accessible only to root.
            guard let inside = try? directory.open(name, [.readOnly, .directory, .noFollow]) else { break }  // see above
            told += try facts(inside, path + "/")
        case .regular:
            line += " \(status.size)"
            if status.size < 1 << 20, let file = try? directory.open(name, [.readOnly, .noFollow]) {  // see above
                line += " \(try file.readAll().displayPath)"
            }
        case .symlink: line += " " + (try directory.linkTarget(name)).displayPath
        default: break
        }
        told.append(line)
    }
    return told
}

/// Applying the input as an archive must give the same result with one thread and with three, and the result must be
/// flattenable.
private func applyArchive(_ tar: [UInt8]) throws {
    func attempt(_ name: String, _ writers: Int) throws -> Result<LayerTree, LayerError> {
        do { return .success(try unpack(tar, name, writers: writers)) } catch let error as LayerError {
            return .failure(error)
        }
    }
    switch (try attempt("layer0", 3), try attempt("other", 1)) {
    case (.success(let tree), .success(let alone)):
        precondition(tree.summary == alone.summary, "\(tree.summary) \(alone.summary)")
        let (several, one) = (try facts(tree.directory.descriptor), try facts(alone.directory.descriptor))
        precondition(several == one, "three threads: \(several)\none: \(one)")
        let summary = try LayerSummary(decoding: tree.summary.encoded)
        precondition(summary == tree.summary)
        try Flattener().compose([tree], into: directory("flat"))
    // Which of two faults is found first may differ.
    case (.failure(let error), .failure): throw error
    case (.success, .failure(let error)): fatalError("one thread alone: \(error)")
    case (.failure(let error), .success): fatalError("three threads alone: \(error)")
    }
}

/// Stacks of layers that are derived from the input must agree with the model.
private func applyLayers(_ bytes: [UInt8]) {
    _ = sentinel
    defer {
        do { try checkSentinel() } catch { fatalError("\(error)") }
    }
    do {
        if let first = bytes.first, first & 1 == 0 { return try applyArchive(Array(bytes.dropFirst())) }
        var numbers = Numbers(bytes: bytes.dropFirst())
        var model = LayerModel()
        var trees: [LayerTree] = []
        var names: [[[UInt8]]] = []
        var isRefused = false
        for index in 0..<Int.random(in: 1...4, using: &numbers) where !isRefused {
            let items = model.randomLayer(index, &numbers)
            names.append(items.map(\.path))
            do { try model.apply(items) } catch { isRefused = true }
            trees.append(try unpack(archive(items), "layer\(index)"))
        }
        let flat = try directory("flat")
        try Flattener().compose(trees, into: flat)
        precondition(!isRefused, "not refused: \(names)")
        var (found, expected) = (try FileTree(reading: flat.descriptor), model.tree)
        // All files belong to the fuzzing user, whose file system may lack user attributes.
        for path in found.entries.keys { found.entries[path]?.owner = [0, 0] }
        for path in expected.entries.keys {
            expected.entries[path]?.owner = [0, 0]
            if !hasAttributes { expected.entries[path]?.attributes = [:] }
            if expected.entries[path]?.kind == .directory { expected.entries[path]?.permissions |= 0o500 }
        }
        let differences = found.differences(from: expected)
        precondition(differences.isEmpty, "\(differences) \(names)")
    } catch let error as LayerError {
        if case .system(let cause) = error.reason, ![36, 2, 20, 17, 40, 22].contains(cause.errno) {  // invalid names
            fatalError("\(error)")
        }
    } catch { fatalError("\(error)") }
}

// MARK: documents

/// A decoded document must survive encoding and decoding.
private func readDocuments(_ bytes: [UInt8]) {
    let data = Data(bytes)
    let decoder = JSONDecoder()
    func again<Value: Codable & Equatable>(_ type: Value.Type) {
        guard let value = try? decoder.decode(type, from: data) else { return }  // rejected: fine
        guard let text = try? JSONEncoder().encode(value) else { return }  // nothing to compare
        let back = try? decoder.decode(type, from: text)  // compared below
        precondition(back == value, "\(type) does not come back")
    }
    again(Manifest.self)
    again(ImageIndex.self)
    again(ImageConfig.self)
    let text = String(decoding: bytes, as: UTF8.self)
    if let digest = try? Digest(parsing: text) { precondition(digest.description == text) }  // rejected: fine
    if let reference = try? Reference(parsing: text) {  // likewise
        let back = try? Reference(parsing: reference.description)  // compared below
        // Except for the user, who is not part of the name.
        precondition(back?.description == reference.description, reference.description)
    }
    var configuration = SiteConfiguration()
    try? configuration.add(text: text, file: "f")  // likewise
    _ = try? LayerSummary(decoding: bytes)  // likewise
}
