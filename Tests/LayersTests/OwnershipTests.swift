import Layers
import LinuxKernel
import TestSupport
import Testing

/// Root restores the archive's owners, whatever owner the file system gives to new files.
@Suite(.enabled(if: Identity.userID == 0, "root only: gives files away")) struct OwnershipTests {
    @Test(arguments: [false, true]) func everythingHasItsOwner(_ isInGroupDirectory: Bool) throws {
        var writer = TarWriter()
        let kinds: [(name: String, type: Character)] = [("f", "0"), ("d", "5"), ("l", "2"), ("p", "6")]
        let owners: [(user: Int64, group: Int64)] = [(0, 0), (0, 1234), (1234, 0), (4_000_000, 5_000_000)]
        for (number, owner) in owners.enumerated() {
            for kind in kinds {
                writer.add(
                    .init(
                        name: Array("\(kind.name)\(number)".utf8), mode: 0o755, user: owner.user, group: owner.group,
                        type: kind.type.asciiValue ?? 0, link: kind.type == "2" ? [0x66] : []))
            }
            // Below a directory that belongs to another user by then.
            writer.add(.init(name: Array("d\(number)/inner".utf8)))
        }
        writer.end()
        let place = try Workplace()
        let tree = try place.directory("tree")
        if isInGroupDirectory {
            try tree.descriptor.setOwner(user: 0, group: 77)
            try tree.descriptor.setPermissions(0o2755)
        }
        var unpacker = LayerUnpacker.several
        unpacker.ownership = .preserve
        _ = try unpacker.unpack(BytesSource(writer.bytes), diffID: digest(writer.bytes), into: tree)
        for (number, owner) in owners.enumerated() {
            for kind in kinds {
                let status = try tree.descriptor.status(of: "\(kind.name)\(number)")
                #expect((Int64(status.userID), Int64(status.groupID)) == owner, "\(kind.name)\(number)")
            }
            let inner = try tree.descriptor.status(of: "d\(number)/inner")
            #expect((inner.userID, inner.groupID) == (0, 0))
        }
    }
}
