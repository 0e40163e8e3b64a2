import Foundation
import LinuxKernel
import Testing
import TestSupport

/// The rule for files that decide what runs.
@Suite struct TrustTests {
    static func fault(_ path: String, vouched: UInt32? = nil) throws -> UntrustedPath? {
        try Trust(vouched: vouched).fault(on: path)
    }

    @Test func ownFilesInOwnDirectoriesAreTrusted() throws {
        let place = try TemporaryDirectory()
        let file = try place.write("x", to: "a/b/c")
        #expect(try Self.fault(file) == nil)
        #expect(try Self.fault(place.path) == nil)
        #expect(try Self.fault("/") == nil)
        #expect(try Self.fault("/etc/passwd") == nil)
        #expect(try Self.fault("/dev/null") == nil)
        #expect(throws: SystemError.self) { try Self.fault(place.path + "/missing") }
    }

    @Test(arguments: ["a", "a/b", "a/b/c"], [0o020, 0o002, 0o022] as [UInt32])
    func whatOthersMayWriteIsNot(_ part: String, _ bits: UInt32) throws {
        let place = try TemporaryDirectory()
        try place.write("x", to: "a/b/c")
        chmod(place.path + "/" + part, 0o755 | bits)
        let found = try Self.fault(place.path + "/a/b/c")
        #expect(found?.path == place.path + "/" + part)
        #expect(found?.reason == .mode(0o755 | bits))
    }

    /// In a sticky directory, users cannot rename files of others.
    @Test func aStickyDirectoryIsAWayAndNoEnd() throws {
        let place = try TemporaryDirectory()
        let file = try place.write("x", to: "sticky/file")
        chmod(place.path + "/sticky", 0o1777)
        #expect(try Self.fault(file) == nil)
        #expect(try Self.fault(place.path + "/sticky")?.reason == .mode(0o1777))
        #expect(try Self.fault(place.path + "/sticky/.")?.reason == .mode(0o1777))
        #expect(try Self.fault(place.path + "/sticky/file/..")?.reason == .mode(0o1777))
    }

    @Test(.enabled(if: geteuid() == 0, "gives files away: root only"), arguments: ["a", "a/b", "a/b/c"])
    func whatAnotherUserOwnsIsNot(_ part: String) throws {
        let place = try TemporaryDirectory()
        let file = try place.write("x", to: "a/b/c")
        chown(place.path + "/" + part, 4321, 0)
        #expect(
            try Self.fault(file) == UntrustedPath(path: place.path + "/" + part, reason: .owner(4321), expected: [0]))
        #expect(try Self.fault(file, vouched: 4321) == nil)
        #expect(try Self.fault(file, vouched: 4322)?.expected == [4322, 0])
    }

    @Test(.enabled(if: geteuid() == 0, "gives links away: root only")) func linksAreFollowedAndJudged() throws {
        let place = try TemporaryDirectory()
        try place.write("x", to: "good/file")
        try place.write("x", to: "bad/file")
        chown(place.path + "/bad", 4321, 0)
        try place.link("toGood", to: "good")
        try place.link("toBad", to: place.path + "/good/../bad")
        try place.link("circle", to: "circle")
        #expect(try Self.fault(place.path + "/toGood/file") == nil)
        #expect(try Self.fault(place.path + "/toBad/file")?.path == place.path + "/bad")
        #expect(throws: SystemError.self) { try Self.fault(place.path + "/circle/file") }
        // Another user's link would determine which of root's files is read.
        lchown(place.path + "/toGood", 4321, 0)
        #expect(try Self.fault(place.path + "/toGood/file")?.reason == .owner(4321))
    }

    // MARK: Descriptors

    @Test(.enabled(if: geteuid() == 0, "gives files away: root only")) func aDescriptorsFileIsJudged() throws {
        let place = try TemporaryDirectory()
        let file = try place.write("x", to: "file")
        let number = open(file, O_RDONLY)
        defer { close(number) }
        for path in ["/dev/fd/\(number)", "/proc/self/fd/\(number)"] {
            #expect(try Self.fault(path) == nil)
            chmod(file, 0o666)
            #expect(try Self.fault(path)?.reason == .mode(0o666))
            chmod(file, 0o644)
            chown(file, 4321, 0)
            #expect(try Self.fault(path)?.reason == .owner(4321))
            chown(file, 0, 0)
        }
        // A here-document: the file was unlinked.
        chmod(file, 0o777)
        unlink(file)
        #expect(try Self.fault("/dev/fd/\(number)") == nil)
    }

    @Test func aPipeOfTheCallersIsTrusted() throws {
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        #expect(try Self.fault("/dev/fd/\(ends[0])") == nil)
    }

    // MARK: Private groups

    @Test(arguments: [
        ("ada:x:1001:1001::/:/bin/sh", "ada:x:1001:", UInt32?(1001)),
        ("ada:x:1001:1001::/:/bin/sh", "ada:x:1001:ada", 1001),
        ("ada:x:1001:1001::/:/bin/sh", "ada:x:1001:bob", nil),
        ("ada:x:1001:1001::/:/bin/sh", "ada:x:1001:ada,bob", nil),
        ("ada:x:1001:100::/:/bin/sh", "users:x:100:", nil),
        ("ada:x:1001:1001::/:/bin/sh\nbob:x:1002:1001::/:/bin/sh", "ada:x:1001:", nil),
        ("bob:x:1002:1002::/:/bin/sh", "ada:x:1001:", nil),
    ]) func aGroupIsPrivateWithItsUsersNameAndNoOtherMember(_ passwd: String, _ group: String, _ expected: UInt32?)
        throws
    {
        let place = try TemporaryDirectory()
        let users = NameService(
            file: try place.write(passwd + "\n", to: "passwd"), database: "passwd", program: "/bin/false")
        let groups = NameService(
            file: try place.write(group + "\n", to: "group"), database: "group", program: "/bin/false")
        #expect(NameService.privateGroup(of: 1001, passwd: users, groups: groups) == expected)
    }

    @Test func aNameServiceThatDoesNotAnswerIsNotWaitedFor() throws {
        let place = try TemporaryDirectory()
        let program = try place.write("#!/bin/sh\nexec sleep 600\n", to: "getent", mode: 0o755)
        let service = NameService(
            file: place.path + "/none", database: "passwd", program: program, patience: 200_000_000)
        let began = ContinuousClock.now
        #expect(service.entry(id: 4321) == nil)
        #expect(service.names(of: [1, 2]).isEmpty)
        #expect(ContinuousClock.now - began < .seconds(60))
    }

    @Test func theInitialUserNamespaceIsKnown() throws {
        let link = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/user")
        #expect(Identity.isInInitialUserNamespace == (link == "user:[4026531837]"))
        #expect(Identity.isRoot == (geteuid() == 0 && Identity.isInInitialUserNamespace))
        if Identity.isInInitialUserNamespace { #expect(Identity.outerUserID == geteuid()) }
    }
}
