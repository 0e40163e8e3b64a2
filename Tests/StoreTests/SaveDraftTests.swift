import Foundation
import LinuxKernel
@testable import Store
import TestSupport
import Testing

/// The files that `--container-save` leaves next to its target, and which of them the next save removes.
@Suite struct SaveDraftTests {
    private static func names(_ place: TemporaryDirectory) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: place.path).sorted()
    }

    /// A draft of a killed save, whose lock the kernel has released.
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
        // Without a lock, and less than a day old.
        #expect(try Self.names(place) == names.sorted())
    }

    @Test func aLockThatIsNoFileProvesNothing() throws {
        let place = try TemporaryDirectory()
        try place.write("x", to: "saved.berth-12345678/file")
        #expect(mkfifo(place.path + "/saved.berth-12345678.lock", 0o600) == 0)
        try SaveDraft(for: place.path + "/saved").remove()
        #expect(try Self.names(place) == ["saved.berth-12345678", "saved.berth-12345678.lock"])
    }

    /// A leftover draft, and whether the next save removes it.
    struct Leftover: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var files = ["", ".sqsh", ".lock"]
        /// The content of the lock file; `nil` means this boot.
        var boot: String? = nil
        var scope = LockScope.cluster
        /// In seconds.
        var age: Int64 = 10
        var isHeld = false
        /// The error of the lock call.
        var failure: Int32? = nil
        var isRemoved = true
    }

    private static let day: Int64 = 86_400

    static let leftovers: [Leftover] = [
        Leftover(testDescription: "its lock is free"),
        Leftover(testDescription: "its lock is held", age: 9 * day, isHeld: true, isRemoved: false),
        Leftover(testDescription: "of another boot, locks reach every node", boot: "other"),
        Leftover(testDescription: "of this boot, locks stay on the node", scope: .node),
        Leftover(testDescription: "of another boot, locks stay", boot: "other", scope: .node, isRemoved: false),
        Leftover(testDescription: "of another boot, locks stay, old", boot: "other", scope: .node, age: day + 60),
        Leftover(testDescription: "killed before it was noted, locks stay", boot: "", scope: .node, isRemoved: false),
        Leftover(testDescription: "no locks", failure: ENOLCK, isRemoved: false),
        Leftover(testDescription: "no locks, old", age: day + 60, failure: ENOLCK),
        Leftover(testDescription: "locking fails, old", age: day + 60, failure: EIO, isRemoved: false),
        Leftover(testDescription: "without a lock", files: ["", ".sqsh"], isRemoved: false),
        Leftover(testDescription: "without a lock, old", files: ["", ".sqsh"], age: day + 60),
        Leftover(testDescription: "a squashfs file alone, old", files: [".sqsh"], age: day + 60),
        Leftover(testDescription: "a lock in the making", files: [".lock.new"], isRemoved: false),
        Leftover(testDescription: "a lock in the making, old", files: [".lock.new"], age: day + 60),
        Leftover(testDescription: "a lock alone", files: [".lock"]),
        Leftover(testDescription: "both locks", files: [".lock", ".lock.new"]),
    ]

    @Test(arguments: leftovers) func whatIsRemovedIsDecidedByLockBootAndAge(_ leftover: Leftover) throws {
        let place = try TemporaryDirectory()
        let name = "saved.berth-12345678"
        for suffix in leftover.files {
            if suffix.isEmpty {
                try place.write("x", to: name + "/file")
            } else {
                try place.write(leftover.boot ?? Boot.identifier ?? "", to: name + suffix, mode: 0o600)
            }
        }
        try place.write("the user's own", to: "saved.berth-12345678.sqsh.old")
        let parent = try OwnedFileDescriptor(opening: place.path, .readOnly | .directory)
        SaveDraft.sweep("saved", in: parent, leftover.scope, now: Clock.now.seconds + leftover.age) {
            (file) throws(SystemError) in
            if let errno = leftover.failure { throw SystemError(call: "fcntl", errno: errno, subject: "lock") }
            if leftover.isHeld { return false }
            return try file.tryLock(.exclusive)
        }
        let left = try Self.names(place).filter { $0 != "saved.berth-12345678.sqsh.old" }
        #expect(left == (leftover.isRemoved ? [] : leftover.files.map { name + $0 }.sorted()))
        #expect(try Self.names(place).contains("saved.berth-12345678.sqsh.old"))
    }

    @Test func aDirectoryThatIsNotThereIsNamed() throws {
        #expect { try SaveDraft(for: "/nonexistent/saved").remove() } throws: {
            let error = $0 as? SystemError
            return error?.name == "ENOENT" && error?.subject == "/nonexistent"
        }
    }
}
