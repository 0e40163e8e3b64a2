import Foundation
import ImageSpec
import Layers
import LinuxKernel
import TestSupport

/// The result of a program for an image.
enum OracleOutcome {
    case tree(FileTree)
    case refused(String)
}

/// The programs that Berth is compared with.
enum OraclePeer: String, CaseIterable, Sendable {
    case umociRootless = "umoci, rootless"
    case umoci = "umoci, as root"
    case podman = "podman's storage"

    /// Whether the archive's owners are kept, which needs root.
    var keepsOwners: Bool { self != .umociRootless }
}

/// A property of a path in which Berth and another program differ.
struct OracleDifference: CustomStringConvertible {
    let image: OracleImage
    let peer: OraclePeer
    let path: [UInt8]
    /// The name in `FileTree.Entry.differences`; `presence`, or `refusal` of the whole image.
    let property: String
    let own: String
    let other: String
    var ownEntry: FileTree.Entry?
    var otherEntry: FileTree.Entry?

    var name: String { path.displayPath }
    var description: String {
        "\(image.name), \(peer.rawValue): /\(FileTree.Entry.text(path)): \(property): ours \(own), theirs \(other)"
    }
}

enum Oracle {
    /// The root of the package. This file is one folder deeper than others.
    static let packageRoot = TestSupport.packageRoot(#filePath) + "/.."

    /// Identifies contents by digest, so that different files are never taken for equal.
    static func read(_ path: String) throws -> FileTree {
        try FileTree(reading: OwnedFileDescriptor(opening: path, [.readOnly, .directory])) {
            Array(digest($0).hex.utf8)
        }
    }

    /// As a launch without overlayfs shows it.
    static func own(_ image: OracleImage, _ peer: OraclePeer) throws -> OracleOutcome {
        let place = try Workplace()
        var unpacker = LayerUnpacker.several
        unpacker.ownership = peer.keepsOwners ? .preserve : .caller
        do {
            var trees: [LayerTree] = []
            for (index, layer) in image.layers.enumerated() {
                trees.append(try place.unpack(layer, as: "layer\(index)", unpacker))
            }
            let flat = try place.directory("flat")
            try Flattener().compose(trees, into: flat)
            return .tree(try FileTree(reading: flat.descriptor) { Array(digest($0).hex.utf8) })
        } catch let error as LayerError {
            return .refused("\(error.reason)")
        }
    }

    static func differences(_ image: OracleImage, _ peer: OraclePeer, _ theirs: OracleOutcome) throws
        -> [OracleDifference]
    {
        func refusal(_ own: String, _ other: String) -> [OracleDifference] {
            [.init(image: image, peer: peer, path: [], property: "refusal", own: own, other: other)]
        }
        switch (try own(image, peer), theirs) {
        case (.refused, .refused): return []
        case (.refused(let why), .tree): return refusal(why, "a tree")
        case (.tree, .refused(let why)): return refusal("a tree", why)
        case (.tree(let own), .tree(let other)): return compare(image, peer, own, other)
        }
    }

    static func compare(
        _ image: OracleImage, _ peer: OraclePeer, _ own: FileTree, _ other: FileTree
    ) -> [OracleDifference] {
        var found: [OracleDifference] = []
        for path in Set(own.entries.keys).union(other.entries.keys).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            func add(_ property: String, _ one: String, _ two: String) {
                found.append(
                    .init(
                        image: image, peer: peer, path: path, property: property, own: one, other: two,
                        ownEntry: own.entries[path], otherEntry: other.entries[path]))
            }
            switch (own.entries[path], other.entries[path]) {
            case (var one?, var two?):
                // Report a missing entry once, and not again for its other names.
                one.names.removeAll { other.entries[$0] == nil }
                two.names.removeAll { own.entries[$0] == nil }
                if one.names.count == 1 { one.names = [] }
                if two.names.count == 1 { two.names = [] }
                if !peer.keepsOwners { two.owner = one.owner }
                for difference in one.differences(from: two) {
                    add(difference.property, difference.own, difference.other)
                }
            case (let one?, nil): add("presence", "\(one.kind)", "nothing")
            case (nil, let two?): add("presence", "nothing", "\(two.kind)")
            case (nil, nil): break
            }
        }
        return found
    }
}
