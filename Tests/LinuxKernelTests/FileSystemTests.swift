import LinuxKernel
import Testing
import TestSupport

@Suite struct ResolvingTests {
    /// A directory that acts as the root, with a sibling `outside` that must not be reachable.
    static func place() throws -> (TemporaryDirectory, DescriptorBox) {
        let directory = try TemporaryDirectory()
        try directory.write("outside", to: "outside")
        try directory.write("inside", to: "root/file")
        try directory.write("inside", to: "root/outside")
        try directory.makeDirectory("root/sub/deep")
        for (name, target) in [
            ("absolute", "/file"), ("relative", "file"), ("up", "../../outside"), ("sub/parent", ".."),
            ("sub/up", "../../../../outside"), ("host", directory.path + "/outside"),
            ("circle", "circle"), ("magic", "/proc/self/cwd"), ("dangling", "nowhere"),
        ] { try directory.link("root/" + name, to: target) }
        return (
            directory,
            DescriptorBox(try OwnedFileDescriptor(opening: directory.path + "/root", [.readOnly, .directory]))
        )
    }

    @Test(arguments: [
        "file", "/file", "absolute", "relative", "sub/../file", "../file", "/../../file", "sub/parent/file",
        "./sub/./deep/../../file", "up", "sub/up", "sub/deep/../../../../outside",
    ]) func inRootEveryWalkEndsInside(_ path: String) throws {
        let (directory, root) = try Self.place()
        defer { withExtendedLifetime(directory) {} }
        #expect(try root.descriptor.resolve(path, .readOnly).readAll() == Array("inside".utf8))
    }

    @Test(
        arguments: [("host", 2), ("circle", 40), ("dangling", 2), ("magic", 2), ("file/x", 20), ("missing", 2)]
            as [(String, Int32)]) func whatLeadsNowhereSaysWhy(_ path: String, _ errno: Int32) throws
    {
        let (directory, root) = try Self.place()
        defer { withExtendedLifetime(directory) {} }
        #expect(throws: SystemError(call: "openat2", errno: errno, subject: path)) {
            _ = try root.descriptor.resolve(path, .readOnly)
        }
    }

    @Test(arguments: ["../outside", "/file", "absolute", "up", "sub/up", "sub/../../outside"])
    func beneathLeavingIsAnError(_ path: String) throws {
        let (directory, root) = try Self.place()
        defer { withExtendedLifetime(directory) {} }
        #expect(throws: SystemError(call: "openat2", errno: 18, subject: path)) {
            _ = try root.descriptor.resolve(path, .readOnly, .beneath)
        }
        #expect(try root.descriptor.resolve("sub/../file", .readOnly, .beneath).readAll() == Array("inside".utf8))
    }

    @Test func magicLinksAreNeverFollowed() throws {
        let process = try OwnedFileDescriptor(opening: "/", [.path, .directory])
        for path in ["proc/self/cwd", "proc/self/root", "proc/self/exe", "proc/self/fd/0"] {
            #expect(throws: SystemError(call: "openat2", errno: 40, subject: path)) {
                _ = try process.resolve(path, [.path])
            }
        }
    }

    @Test func namesAreBytes() throws {
        let directory = try TemporaryDirectory()
        let root = try OwnedFileDescriptor(opening: directory.path, [.readOnly, .directory])
        let name: [UInt8] = [0x61, 0xFF, 0x0A, 0x80]
        try root.makeDirectory(name, mode: 0o755)
        #expect(try root.entries() == [name])
        #expect(try root.status(of: name).kind == .directory)
        try root.makeSymlink("l", to: name)
        #expect(try root.linkTarget("l") == name)
        try root.removeTree(name)
        #expect(try root.entries() == [Array("l".utf8)])
    }
}

@Suite struct RemovingTests {
    @Test func aTreeGoesWhateverItsModesAndLinksAreNotFollowed() throws {
        let directory = try TemporaryDirectory()
        try directory.write("stays", to: "outside/file")
        try directory.write("x", to: "tree/a/b/c/file", mode: 0)
        try directory.link("tree/a/link", to: "../../outside")
        try directory.link("tree/a/absolute", to: directory.path + "/outside")
        try directory.link("tree/loop", to: ".")
        try directory.makeDirectory("tree/a/b/closed", mode: 0)
        try directory.makeDirectory("tree/a/b", mode: 0o400)
        try directory.makeDirectory("tree/a", mode: 0)
        let root = try OwnedFileDescriptor(opening: directory.path, [.readOnly, .directory])
        try root.open("outside", [.readOnly, .directory]).makeFIFO("fifo", mode: 0)
        try root.removeTree("tree")
        #expect(!directory.exists("tree"))
        #expect(directory.text("outside/file") == "stays")
    }

    @Test(.enabled(if: Command.isRoot, "needs root to become somebody else")) func itGoesForAnOrdinaryUserToo() throws {
        // The test process stays root; the store's drafts cover owners without privileges.
        let directory = try TemporaryDirectory()
        try directory.makeDirectory("tree/closed", mode: 0)
        _ = try Command(["chown", "-R", "65534:65534", directory.path + "/tree"]).run()
        try OwnedFileDescriptor(opening: directory.path, [.readOnly, .directory]).removeTree("tree")
        #expect(!directory.exists("tree"))
    }

    @Test func filesLinksAndNothingAreRemovedAlike() throws {
        let directory = try TemporaryDirectory()
        try directory.write("x", to: "file")
        try directory.link("link", to: "file")
        try directory.link("to-directory", to: ".")
        let root = try OwnedFileDescriptor(opening: directory.path, [.readOnly, .directory])
        for name in ["to-directory", "link", "missing"] { try root.removeTree(name) }
        #expect(try root.entries() == [Array("file".utf8)])
        try root.removeTree("file")
        #expect(try root.entries() == [])
    }

    @Test func aVeryDeepTreeGoes() throws {
        let directory = try TemporaryDirectory()
        let root = try OwnedFileDescriptor(opening: directory.path, [.readOnly, .directory])
        try root.makeDirectory("tree", mode: 0o755)
        var here = try root.open("tree", [.readOnly, .directory])
        for _ in 0..<600 {
            try here.makeDirectory("d", mode: 0o755)
            here = try here.open("d", [.readOnly, .directory])
        }
        try root.removeTree("tree")
        #expect(try root.entries() == [])
    }

    /// Removes a tree by path from a directory on another file system.
    @Test func aTreeElsewhereGoesByItsPath() throws {
        let directory = try TemporaryDirectory()
        try directory.write("x", to: "tree/a/file")
        let elsewhere = try OwnedFileDescriptor(opening: "/proc", [.path, .directory])
        try elsewhere.removeTree(directory.path + "/tree")
        #expect(!directory.exists("tree"))
        try elsewhere.removeTree(directory.path + "/missing/tree")
    }

    @Test func publishingNeverReplaces() throws {
        let directory = try TemporaryDirectory()
        try directory.write("old", to: "there")
        try directory.write("new", to: "draft")
        let root = try OwnedFileDescriptor(opening: directory.path, [.readOnly, .directory])
        #expect(throws: SystemError(call: "renameat2", errno: 17, subject: "there")) {
            try root.moveWithoutReplacing("draft", to: "there", in: root)
        }
        #expect(directory.text("there") == "old")
        try root.moveWithoutReplacing("draft", to: "fresh", in: root)
        #expect(directory.text("fresh") == "new")
        try root.move("fresh", to: "there", in: root)
        #expect(directory.text("there") == "new")
    }

    /// EPERM of the directory does not mean an old kernel, so no other call is tried.
    @Test(.enabled(if: Command.isRoot, "needs root to make a file unchangeable"))
    func publishingWhatMayNotBeMovedFails() throws {
        let directory = try TemporaryDirectory()
        try directory.makeDirectory("draft")
        let draft = directory.path + "/draft"
        // A file system without such marks has nothing to show.
        guard try Command(["chattr", "+i", draft]).run().status == 0 else { return }
        defer { _ = try? Command(["chattr", "-i", draft]).run() }  // the directory stays, then
        let root = try OwnedFileDescriptor(opening: directory.path, [.readOnly, .directory])
        #expect(throws: SystemError(call: "renameat2", errno: 1, subject: "there")) {
            try root.moveWithoutReplacing("draft", to: "there", in: root)
        }
    }
}

@Suite struct ReadingTests {
    @Test func whatIsTooLongIsRefused() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write(String(repeating: "x", count: 100_000), to: "long")
        #expect(try contents(of: path).count == 100_000)
        #expect(try contents(of: path, limit: 100_000).count == 100_000)
        #expect { try contents(of: path, limit: 99_999) } throws: { ($0 as? SystemError)?.errno == 27 }
        #expect { try contents(of: "/dev/zero", limit: 1 << 20) } throws: { ($0 as? SystemError)?.errno == 27 }
    }

    @Test func everyByteIsWrittenAndReadAtItsPlace() throws {
        let directory = try TemporaryDirectory()
        let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let file = try OwnedFileDescriptor(
            opening: directory.path + "/f", [.readWrite, .create, .exclusive], mode: 0o640)
        try file.writeAll(bytes)
        try file.seek(to: 0)
        #expect(try file.readAll() == bytes)
        let status = try file.status()
        #expect(status.size == 300_000 && status.kind == .regular && status.permissions == 0o640 && status.links == 1)
        try file.setSize(5)
        #expect(try file.status().size == 5)
    }

    @Test func aFullDeviceIsAnError() throws {
        let file = try OwnedFileDescriptor(opening: "/dev/full", .writeOnly)
        #expect { try file.writeAll([1]) } throws: { ($0 as? SystemError)?.errno == 28 }
    }

    @Test func descriptorsAreClosedWhenLetGo() throws {
        let before = try OwnedFileDescriptor(opening: "/proc/self/fd", [.readOnly, .directory]).entries().count
        for _ in 0..<2000 {
            let file = try OwnedFileDescriptor(opening: "/dev/null", .readOnly)
            _ = try DescriptorBox(try file.duplicate()).descriptor.status()
        }
        // Other tests open and close descriptors at the same time.
        #expect(
            try OwnedFileDescriptor(opening: "/proc/self/fd", [.readOnly, .directory]).entries().count < before + 500)
    }
}

extension Command {
    static var isRoot: Bool { Identity.userID == 0 }
}
