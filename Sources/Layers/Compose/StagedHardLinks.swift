internal import CLinux
internal import LinuxKernel

/// A layer's hard links to files of lower layers, staged under temporary names while the layer hides and replaces
/// entries.
struct StagedHardLinks {
    private let links: [LayerSummary.HardLink]
    private var names: [[UInt8]: [UInt8]] = [:]
    /// The staging directory in the root of the flat tree; empty if there are no links.
    private(set) var staging: [UInt8] = []

    init(_ layer: LayerTree, _ composition: Composition) throws(LayerError) {
        links = layer.summary.openHardLinks
        if links.isEmpty { return }
        let flat = composition.flat
        guard case .place(let root) = try flat.find([], .report) else { return }
        let source = RootedTree(layer.directory)
        guard case .place(let layerRoot) = try source.find([], .report) else { return }
        // Use a name that neither tree has.
        var number = 0
        while true {
            staging = Array(".berth-links-\(number)".utf8)
            number += 1
            let isTaken = try flat.kind(of: staging, in: root) != nil
            let isTakenByLayer = try source.kind(of: staging, in: layerRoot) != nil
            if !isTaken && !isTakenByLayer { break }
        }
        try mapError { [staging] () throws(SystemError) in
            try root.directory.descriptor.makeDirectory(staging, mode: 0o700)
        }
        guard case .place(let holder) = try flat.find(staging[...], .report) else { return }
        for (index, link) in links.enumerated() {
            let base = EntryPath.base(link.target)
            guard case .place(let parent) = try flat.find(EntryPath.parent(link.target), .report),
                let kind = try flat.kind(of: base, in: parent), kind != .directory
            else { continue }
            let name = Array(String(index).utf8)
            try composition.link(name, in: holder, to: base, in: parent)
            names[link.path] = name
        }
    }

    /// Moves the links to their places after the layer's own entries are added.
    func place(at places: [[UInt8]: [UInt8]], _ composition: Composition) throws(LayerError) {
        if links.isEmpty { return }
        let flat = composition.flat
        for link in links {
            guard let flatPath = places[Array(EntryPath.parent(link.path))],
                case .place(let parent) = try flat.find(flatPath[...], .report)
            else { throw .archive(.hardLinkTargetMissing, entry: link.path) }
            let name = EntryPath.base(link.path)
            let source: (place: RootedTree.Place, name: [UInt8])
            if let held = names[link.path], case .place(let holder) = try flat.find(staging[...], .report) {
                source = (holder, held)
            } else if case .place(let found) = try flat.find(EntryPath.parent(link.target), .report),
                let kind = try flat.kind(of: EntryPath.base(link.target), in: found), kind != .directory
            {
                // Reachable only through the layer itself, by a lower link.
                source = (found, EntryPath.base(link.target))
            } else {
                throw .archive(.hardLinkTargetMissing, entry: link.path)
            }
            if source.place.path == parent.path && source.name == name { continue }
            try composition.remove(name, in: parent)
            try composition.link(name, in: parent, to: source.name, in: source.place)
        }
        guard case .place(let root) = try flat.find([], .report) else { return }
        try composition.remove(staging, in: root)
    }
}
