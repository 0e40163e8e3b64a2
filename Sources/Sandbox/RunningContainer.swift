package import LinuxKernel

/// A container that runs on this node, found by the name of its mounts and pinned by descriptor: its processes may end
/// meanwhile, and their numbers be used again.
///
/// Nothing keeps a list of running containers. The kernel has one: the mounts of every process, in mountinfo(5).
package struct RunningContainer: Sendable {
    package let label: String
    /// Those that are not this process's own, the user namespace first.
    package let namespaces: [(kind: NamespaceKinds, descriptor: DescriptorBox)]

    package var kinds: NamespaceKinds { namespaces.reduce(into: []) { $0.formUnion($1.kind) } }

    /// The first of this user's containers that `matches` knows by its label.
    package static func find(_ matches: (String) -> Bool) throws(SystemError) -> RunningContainer? {
        let processes = try OwnedFileDescriptor(opening: "/proc", .readOnly | .directory)
        let own = try processes.linkTarget("self/ns/mnt")
        var seen: [[UInt8]] = [own]
        for name in try processes.entries() {
            guard let first = name.first, (UInt8(ascii: "1")...UInt8(ascii: "9")).contains(first),
                // Of a process that ends meanwhile everything below is gone, and that is all right.
                let process = try? processes.open(name, .readOnly | .directory),
                let status = try? process.status(), status.userID == Identity.userID,
                let space = try? process.linkTarget("ns/mnt"), !seen.contains(space)
            else { continue }
            seen.append(space)
            guard let mounts = try? process.open("mountinfo", .readOnly).readAll(),
                let label = label(in: mounts), matches(label),
                let container = try? RunningContainer(label: label, process: process)
            else { continue }
            return container
        }
        return nil
    }

    private init(label: String, process: borrowing OwnedFileDescriptor) throws(SystemError) {
        self.label = label
        let here = try OwnedFileDescriptor(opening: "/proc/self", .readOnly | .directory)
        var found: [(NamespaceKinds, DescriptorBox)] = []
        for (kind, name) in NamespaceKinds.names
        where try process.linkTarget("ns/\(name)") != here.linkTarget("ns/\(name)") {
            // A magic link: followed, it is the namespace itself.
            found.append((kind, DescriptorBox(try process.open("ns/\(name)", .readOnly))))
        }
        namespaces = found
    }

    /// The source of the first mount whose name is one of ours; blanks in it are `\040`.
    static func label(in mounts: [UInt8]) -> String? {
        for line in mounts.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: " "))
            guard let dash = fields.firstIndex(where: { $0.elementsEqual("-".utf8) }), fields.count > dash + 2,
                fields[dash + 2].starts(with: "berth:".utf8)
            else { continue }
            return String(decoding: Mounts.unescaped(fields[dash + 2]), as: UTF8.self)
        }
        return nil
    }
}
