import Foundation
import LinuxKernel
import Store
import TestSupport
import Testing

/// What `--container-save` leaves beside its target, and what the next one removes of it.
@Suite struct SaveDraftTests {
    private static func names(_ place: TemporaryDirectory) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: place.path).sorted()
    }

    /// A draft as a killed save leaves it: the kernel releases the lock, and nothing else happens.
    private static func kill(_ target: String, below place: TemporaryDirectory) throws {
        let draft = try SaveDraft(for: place.path + "/" + target)
        let name = String(draft.path.dropFirst(place.path.utf8.count + 1))
        try place.write("x", to: name + "/usr/bin/program")
        chmod(place.path + "/" + name + "/usr", 0o500)
        try place.write("x", to: name + ".sqsh")
    }

    @Test func theDraftOfAKilledSaveIsRemovedByTheNext() throws {
        let place = try TemporaryDirectory()
        for target in ["saved", "saved.sqsh", "other"] { try Self.kill(target, below: place) }
        #expect(try Self.names(place).count == 9)
        for target in ["saved", "saved.sqsh"] { try SaveDraft(for: place.path + "/" + target).remove() }
        let left = try Self.names(place)
        #expect(left.count == 3 && left.allSatisfy { $0.hasPrefix("other.berth-") }, "another target is another save's")
    }

    @Test func theDraftOfALiveSaveStays() throws {
        let place = try TemporaryDirectory()
        let live = try SaveDraft(for: place.path + "/saved")
        let name = String(live.path.dropFirst(place.path.utf8.count + 1))
        try place.write("x", to: name + "/file")
        try place.write("x", to: name + ".sqsh")
        try SaveDraft(for: place.path + "/saved").remove()
        #expect(try Self.names(place) == [name, name + ".lock", name + ".sqsh"])
        live.remove()
        #expect(try Self.names(place) == [])
    }

    @Test func namesOfTheUsersOwnStay() throws {
        let place = try TemporaryDirectory()
        let names = [
            "saved", "saved.berth-", "saved.berth-1234567", "saved.berth-123456789", "saved.berth-1234567G",
            "saved.berth-12345678", "saved.berth-12345678.sqsh", "saved.berth-12345678.lock.old", "saved.berth-old",
        ]
        for name in names { try place.write("x", to: name) }
        try SaveDraft(for: place.path + "/saved").remove()
        // Without a lock, and not a day old.
        #expect(try Self.names(place) == names.sorted())
    }

    @Test func aLockThatIsNoFileProvesNothing() throws {
        let place = try TemporaryDirectory()
        try place.write("x", to: "saved.berth-12345678/file")
        #expect(mkfifo(place.path + "/saved.berth-12345678.lock", 0o600) == 0)
        try SaveDraft(for: place.path + "/saved").remove()
        #expect(try Self.names(place) == ["saved.berth-12345678", "saved.berth-12345678.lock"])
    }

    @Test func aDirectoryThatIsNotThereIsNamed() throws {
        #expect { try SaveDraft(for: "/nonexistent/saved").remove() } throws: {
            let error = $0 as? SystemError
            return error?.name == "ENOENT" && error?.subject == "/nonexistent"
        }
    }
}
