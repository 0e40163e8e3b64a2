internal import LinuxKernel

/// Slurm's compressed host lists: `gpu[001-003,7],login1`. A name may contain several brackets.
/// https://slurm.schedmd.com/scontrol.html (`show hostnames`)
package enum Hostlist {
    /// The names in the order of the list; `nil` if it is malformed or too long.
    package static func expand(_ list: String) -> [String]? {
        var names: [String] = []
        guard let items = split(list) else { return nil }
        for item in items {
            guard let expanded = expand(item: item), names.count + expanded.count <= limit else { return nil }
            names += expanded
        }
        return names.isEmpty ? nil : names
    }

    /// More nodes than any cluster has.
    private static let limit = 1 << 17

    /// Splits at commas outside brackets.
    private static func split(_ list: String) -> [Substring.UTF8View]? {
        var items: [Substring.UTF8View] = []
        var depth = 0
        let bytes = list.utf8
        var start = bytes.startIndex
        for index in bytes.indices {
            switch bytes[index] {
            case UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "]"): depth -= 1
            case UInt8(ascii: ",") where depth == 0:
                items.append(Substring(bytes[start..<index]).utf8)
                start = bytes.index(after: index)
            default: break
            }
            guard (0...1).contains(depth) else { return nil }
        }
        guard depth == 0 else { return nil }
        items.append(Substring(bytes[start...]).utf8)
        return items
    }

    /// Expands one name. The last bracket varies fastest.
    private static func expand(item: Substring.UTF8View) -> [String]? {
        guard !item.isEmpty else { return nil }
        guard let open = item.firstIndex(of: UInt8(ascii: "[")),
            let close = item[open...].firstIndex(of: UInt8(ascii: "]"))
        else { return [String(Substring(item))] }
        guard let numbers = ranges(item[item.index(after: open)..<close]) else { return nil }
        let head = String(Substring(item[..<open]))
        let rest = item[item.index(after: close)...]
        let tails = rest.isEmpty ? [""] : expand(item: rest)
        guard let tails, numbers.count * tails.count <= limit else { return nil }
        return numbers.flatMap { number in tails.map { head + number + $0 } }
    }

    /// Expands `001-003,7` to `001 002 003 7` and keeps the width of the first number.
    private static func ranges(_ text: Substring.UTF8View) -> [String]? {
        var numbers: [String] = []
        for part in Substring(text).split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false)
            guard (1...2).contains(ends.count), let first = UInt32(ends[0]), let last = UInt32(ends[ends.count - 1]),
                first <= last, last - first < UInt32(limit), ends.allSatisfy({ $0.utf8.first != UInt8(ascii: "+") })
            else { return nil }
            let width = ends[0].utf8.count
            for number in first...last {
                let digits = String(number)
                numbers.append(String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits)
            }
        }
        return numbers
    }
}
