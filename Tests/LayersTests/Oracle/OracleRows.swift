import LinuxKernel
import TestSupport

/// A row of the table in docs/reference/unpacking.md: an intended difference between Berth and others.
struct OracleRow: Sendable {
    /// The first cell of the row.
    let what: String
    /// The programs that differ; the difference must occur for each.
    let peers: [OraclePeer]
    let explains: @Sendable (OracleDifference) -> Bool

    private static let everybody = OraclePeer.allCases

    static let all: [OracleRow] = [
        OracleRow(what: "setuid and setgid bits, sticky bits of files", peers: everybody) { one in
            guard one.property == "mode", let own = one.ownEntry, let other = one.otherEntry else { return false }
            let kept: UInt32 = own.kind == .directory ? 0o1777 : 0o777
            return other.permissions & ~kept != 0 && own.permissions | 0o500 == other.permissions & kept | 0o500
        },
        OracleRow(what: "directories that their owner may not list", peers: [.umociRootless]) { one in
            one.property == "mode" && one.ownEntry?.kind == .directory
                && one.ownEntry?.permissions == one.otherEntry.map { $0.permissions | 0o500 }
        },
        OracleRow(what: "the root directory, where no layer has an entry for it", peers: everybody) { one in
            // umoci recognizes the root by `./` but not by `.`.
            one.path.isEmpty && ["time", "mode"].contains(one.property)
                && (!one.image.describes([]) || one.peer != .podman && one.image.hasBareDot)
        },
        OracleRow(what: "time of a directory without an entry", peers: everybody) { one in
            one.property == "time" && one.ownEntry?.kind == .directory && !one.path.isEmpty
                && (!one.image.describes(one.path) || one.image.hides(one.path)) && one.isJustMade
        },
        OracleRow(what: "a lower directory to which a layer without an entry for it adds a file", peers: [.podman]) {
            $0.property == "time" && $0.ownEntry?.kind == .directory && $0.image.describes($0.path) && $0.isJustMade
        },
        OracleRow(what: "times before 1970", peers: [.podman]) { one in
            one.property == "time" && (one.ownEntry?.modified.seconds ?? 0) < 0
                && one.otherEntry?.modified == Timestamp(seconds: 0)
        },
        OracleRow(what: "the mode in a hard link's own header", peers: [.podman]) { one in
            one.property == "mode" && one.ownEntry?.kind == .regular
                && one.image.links(to: one.ownEntry?.names ?? []).contains(one.otherEntry?.permissions ?? 0)
        },
        OracleRow(what: "a whiteout or opaque mark behind what it spares", peers: [.podman]) { one in
            one.image.hasLateMark
                && (one.property == "presence" && one.otherEntry == nil || one.other.contains("no such file"))
        },
        OracleRow(what: "an opaque mark below a lower link", peers: [.podman]) { one in
            one.property == "presence" && one.ownEntry == nil
                && one.image.marks.contains { $0.hasSuffix("/.wh..wh..opq") && one.image.hasLink($0) }
        },
        OracleRow(what: "two entries for one path in a layer", peers: [.podman]) { one in
            one.property == "refusal" && one.image.hasTwice
                && ["duplicates of file paths", "chtimes", "not a directory"].contains { one.other.contains($0) }
        },
        OracleRow(what: "a file where a later entry needs a directory", peers: everybody) {
            $0.property == "refusal" && $0.image.hasFileAsParent && $0.other.contains("not a directory")
        },
        OracleRow(what: "a hard link before its target, to itself, or to what its layer hides", peers: everybody) {
            $0.property == "refusal" && $0.image.hasLinkToNothing && $0.other.contains("no such file")
        },
        OracleRow(what: "an entry below a link to nothing", peers: [.podman]) { one in
            one.property == "refusal" && one.image.hasLinks
                && (one.other.contains("no such file") || one.other.contains("file exists"))
        },
        OracleRow(what: "an entry below a lower link, and a file where that leads", peers: everybody) { one in
            (one.property == "type" && one.own == "directory" && one.other == "symlink"
                || one.property == "presence" && one.otherEntry == nil)
                && one.image.hasLink(one.name + "/")
                && one.image.items.dropFirst().joined().contains { item in
                    item.type == "0"
                        && one.image.items[0].contains { $0.type == "2" && $0.link == item.name }
                }
        },
        OracleRow(what: "`..` behind a missing directory in a link", peers: [.umociRootless, .umoci]) { one in
            one.property == "presence" && one.otherEntry == nil && one.ownEntry?.kind == .directory
                && one.image.items.joined().contains {
                    $0.type == "2" && $0.target.starts(with: one.path + [0x2F, 0x2E, 0x2E])
                }
        },
        OracleRow(what: "a whiteout in a directory that is nowhere", peers: everybody) { one in
            one.property == "presence" && one.otherEntry == nil && one.ownEntry?.kind == .directory
                && one.image.marks.contains { mark in
                    (LayerPath.split(LayerPath.normal(Array(mark.utf8))).parent + [0x2F]).starts(
                        with: one.path + [0x2F])
                        || one.image.items.joined().contains {
                            $0.type == "2" && LayerPath.normal($0.target) == one.path
                                && mark.hasPrefix($0.name + "/")
                        }
                }
        },
        OracleRow(what: "a whiteout of no name, or of `.`", peers: [.podman]) { one in
            one.property == "refusal" && one.own.contains("whiteout")
                && one.image.marks.contains { $0.hasSuffix(".wh.") || $0.hasSuffix(".wh..") }
        },
        OracleRow(what: "device nodes", peers: everybody) { one in
            one.property == "presence" && one.ownEntry == nil
                && one.otherEntry?.kind == (one.peer == .umociRootless ? .regular : .characterDevice)
                && one.image.items.joined().contains { $0.type == "3" && LayerPath.normal($0.path) == one.path }
        },
        OracleRow(what: "capabilities, and attributes other than `user.`", peers: everybody) { one in
            one.lacks("security.") || one.lacks("system.") || one.lacks("trusted.") && !one.lacks("trusted.overlay.")
        },
        OracleRow(what: "`user.overlay.` and `trusted.overlay.` attributes", peers: everybody) {
            $0.lacks("user.overlay.") || $0.lacks("trusted.overlay.")
        },
        OracleRow(what: "the owners that could not be given", peers: [.umociRootless]) {
            $0.lacks("user.rootlesscontainers")
        },
        OracleRow(what: "attributes of a lower directory that an upper entry lacks", peers: [.podman]) { one in
            one.lacks("user.") && one.ownEntry?.kind == .directory
                && one.image.items.dropFirst().joined().contains {
                    $0.type == "5" && $0.attributes.isEmpty && LayerPath.normal($0.path) == one.path
                }
        },
        OracleRow(what: "AUFS's `.wh..wh.plnk`", peers: everybody) { one in
            (one.image.items.joined().contains { $0.name.hasPrefix(".wh..wh.") })
                && (one.property == "names" || one.name.hasPrefix(".wh..wh.") || one.property == "refusal")
        },
    ]
}

extension OracleDifference {
    /// Whether the other entry's time is that of the test rather than of the archive.
    fileprivate var isJustMade: Bool { (otherEntry?.modified.seconds ?? 0) > 1_780_000_000 }

    /// Whether only the other entry has an attribute of this kind.
    fileprivate func lacks(_ prefix: String) -> Bool { own == "none" && property.hasPrefix("attribute " + prefix) }
}

extension OracleImage {
    fileprivate func describes(_ path: [UInt8]) -> Bool {
        items.joined().contains { $0.type == "5" && LayerPath.normal($0.path) == path }
    }

    fileprivate var hasBareDot: Bool { items.joined().contains { $0.name == "." } }

    /// Whether a layer hides the path in lower layers.
    fileprivate func hides(_ path: [UInt8]) -> Bool {
        marks.contains { mark in
            let (parent, name) = LayerPath.split(LayerPath.normal(Array(mark.utf8)))
            let hidden =
                name.elementsEqual(".wh..wh..opq".utf8) ? parent : LayerPath.join(parent, Array(name.dropFirst(4)))
            return (path + [0x2F]).starts(with: hidden + [0x2F])
        }
    }

    fileprivate func links(to names: [[UInt8]]) -> [UInt32] {
        items.joined().filter { $0.type == "1" && names.contains(LayerPath.normal($0.path)) }.map { UInt32($0.mode) }
    }

    fileprivate var hasLinks: Bool { items.joined().contains { $0.type == "2" } }

    fileprivate static func isMark(_ item: Item) -> Bool {
        LayerPath.split(LayerPath.normal(item.path)).name.starts(with: ".wh.".utf8)
    }

    fileprivate var marks: [String] { items.joined().filter { Self.isMark($0) }.map(\.name) }

    /// Whether a layer has a link in the path.
    fileprivate func hasLink(_ path: String) -> Bool {
        items.joined().contains { $0.type == "2" && path.hasPrefix($0.name + "/") }
    }

    /// Whether a whiteout follows an entry that it would hide in a lower layer.
    fileprivate var hasLateMark: Bool {
        items.contains { layer in
            layer.indices.contains { index in
                guard Self.isMark(layer[index]) else { return false }
                let (parent, mark) = LayerPath.split(LayerPath.normal(layer[index].path))
                let hidden =
                    mark.elementsEqual(".wh..wh..opq".utf8) ? parent : LayerPath.join(parent, Array(mark.dropFirst(4)))
                return layer[..<index].contains {
                    let path = LayerPath.normal($0.path)
                    return !Self.isMark($0) && (path == hidden || path.starts(with: hidden + [0x2F]))
                }
            }
        }
    }

    /// Whether a layer has a path twice, or an entry below something that is not a directory.
    fileprivate var hasTwice: Bool {
        items.contains { layer in
            let paths = layer.map { LayerPath.normal($0.path) }
            return Set(paths).count < paths.count
        }
    }

    fileprivate var hasFileAsParent: Bool {
        let files = items.joined().filter { "016".contains($0.type) }.map {
            LayerPath.normal($0.path) + [0x2F]
        }
        return items.joined().contains { item in files.contains { LayerPath.normal(item.path).starts(with: $0) } }
    }

    fileprivate var hasLinkToNothing: Bool {
        items.contains { layer in
            layer.indices.contains { index in
                guard layer[index].type == "1" else { return false }
                let target = LayerPath.normal(layer[index].target)
                let (parent, name) = LayerPath.split(target)
                return !layer[..<index].contains { LayerPath.normal($0.path) == target }
                    || target == LayerPath.normal(layer[index].path)
                    || layer.contains { LayerPath.normal($0.path) == LayerPath.join(parent, Array(".wh.".utf8) + name) }
            }
        }
    }
}
