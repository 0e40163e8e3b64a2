internal import LinuxKernel

extension LayerModel {
    /// A random layer with all features, on top of this model's layers: entries with and without their parents'
    /// entries, through links of this layer and of lower ones, repeated entries, hard links forwards, backwards and
    /// into lower layers, whiteouts and opaque marks anywhere in the order.
    ///
    /// Links lead to `s`, `s/t` or nowhere, where all layers have only directories, because the result is undefined if
    /// one path is reached in two ways.
    package func randomLayer(_ number: Int, _ generator: inout some RandomNumberGenerator) -> [Item] {
        var maker = LayerMaker(number: number, lower: self)
        if number == 0 { for name in ["s", "s/t"] { maker.add(.dir(name), &generator) } }
        if Int.random(in: 0..<6, using: &generator) == 0 { maker.add(.dir("./", 0o751), &generator) }
        for _ in 0..<Int.random(in: 3...14, using: &generator) { maker.addRandom(&generator) }
        return maker.finish(&generator)
    }
}

private struct LayerMaker {
    let number: Int
    private let lowerLinks: [[UInt8]]
    private let lowerFiles: [[UInt8]]
    private let lowerDirectories: [[UInt8]]
    private var items: [Item] = []
    private var marks: [Item] = []
    private var directories: [[UInt8]] = [[]]
    private var files: [[UInt8]] = []
    private var links: [[UInt8]] = []
    private var used: Set<[UInt8]> = []

    init(number: Int, lower: LayerModel) {
        self.number = number
        let entries = lower.tree.entries.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        lowerLinks = entries.filter { $0.value.kind == .symlink }.map(\.key)
        lowerFiles = entries.filter { $0.value.kind != .directory }.map(\.key)
        lowerDirectories = entries.filter { $0.value.kind == .directory }.map(\.key)
    }

    /// Letters, and one name that is not UTF-8.
    private static let names: [[UInt8]] = [[0x61], [0x62], [0x63], [0x64], [0xFF, 0x80]]
    private static let modes: [Int64] = [0o755, 0o755, 0o700, 0o555, 0o1777, 0o2711, 0o4644]

    private static func name(_ generator: inout some RandomNumberGenerator) -> [UInt8] {
        names.randomElement(using: &generator) ?? []
    }

    mutating func add(_ item: Item, _ generator: inout some RandomNumberGenerator) {
        var item = item.at(
            Int64.random(in: -1000...1_700_000_000, using: &generator),
            [0, 0, 250_000_000, 999_999_999].randomElement(using: &generator) ?? 0)
        if item.type == "0" || item.type == "5" {
            item.mode = Self.modes.randomElement(using: &generator) ?? item.mode
            for name in ["user.one", "user.two"] where Int.random(in: 0..<5, using: &generator) == 0 {
                item = item.having(name, [UInt8(truncatingIfNeeded: number), 0xFF])
            }
        }
        if Int.random(in: 0..<5, using: &generator) == 0 { item = item.owned(by: 7, Int64(number)) }
        used.insert(item.path)
        items.append(item)
    }

    mutating func addRandom(_ generator: inout some RandomNumberGenerator) {
        var parent = directories.randomElement(using: &generator) ?? []
        var name = Self.name(&generator)
        let way = Int.random(in: 0..<20, using: &generator)
        switch way {
        case 0, 1: parent = LayerPath.join(parent, Self.name(&generator))
        case 2, 3, 4: parent = lowerDirectories.randomElement(using: &generator) ?? []
        case 5, 6:
            // An entry reached through a link must not have another path.
            guard let link = (lowerLinks + links).randomElement(using: &generator) else { break }
            (parent, name) = (link, Array("v\(number).\(items.count)".utf8))
        default: break
        }
        if ![5, 6].contains(way), lowerLinks.contains(where: { (parent + [0x2F]).starts(with: $0 + [0x2F]) }) {
            return
        }
        let path = LayerPath.join(parent, name)
        if used.contains(path), Int.random(in: 0..<8, using: &generator) != 0 { return }
        addEntry(path, in: parent, &generator)
    }

    private mutating func addEntry(
        _ path: [UInt8], in parent: [UInt8], _ generator: inout some RandomNumberGenerator
    ) {
        func item(_ type: Character, content: String = "", to target: [UInt8] = []) -> Item {
            var item = Item(name: "", type: type, content: content, rawName: path)
            item.rawLink = target
            return item
        }
        switch Int.random(in: 0..<18, using: &generator) {
        case 0..<5:
            directories.append(path)
            add(item("5"), &generator)
        case 5..<9:
            files.append(path)
            add(item("0", content: "\(number).\(items.count)"), &generator)
        case 9:
            let targets = ["/s", "/s/t", "/../s", "/nowhere/x"] + (parent.isEmpty ? ["s", "../s"] : [])
            links.append(path)
            add(item("2", to: Array((targets.randomElement(using: &generator) ?? "").utf8)), &generator)
        case 10: add(item("6"), &generator)
        case 11:
            guard let target = files.randomElement(using: &generator) else { return }
            // Sometimes before its target.
            add(item("1", to: target), &generator)
            if Int.random(in: 0..<3, using: &generator) == 0 {
                items.insert(items.removeLast(), at: Int.random(in: 0..<items.count, using: &generator))
            } else {
                files.append(path)
            }
        case 12:
            guard let target = lowerFiles.randomElement(using: &generator) else { return }
            files.append(path)
            add(item("1", to: target), &generator)
        default: addMark(path, in: parent, &generator)
        }
    }

    private mutating func addMark(
        _ path: [UInt8], in parent: [UInt8], _ generator: inout some RandomNumberGenerator
    ) {
        var (parent, name) = LayerPath.split(path)
        if let lower = (lowerFiles + lowerDirectories).randomElement(using: &generator),
            Int.random(in: 0..<2, using: &generator) == 0
        {
            (parent, name) = LayerPath.split(lower)
        }
        if Int.random(in: 0..<4, using: &generator) == 0, !parent.isEmpty || number > 2 {
            name = Array(".wh..opq".utf8)
        } else if ["", "s", "t", "nowhere", "x"].contains(where: { name.elementsEqual($0.utf8) }) {
            return
        }
        marks.append(
            Item(name: "", type: "0", rawName: LayerPath.join(parent, Array(".wh.".utf8) + name)))
    }

    mutating func finish(_ generator: inout some RandomNumberGenerator) -> [Item] {
        for mark in marks { items.insert(mark, at: Int.random(in: 0...items.count, using: &generator)) }
        return items
    }
}
