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

    /// In a sticky directory nobody renames what another user owns.
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
        #expect(try Self.fault(file) == UntrustedPath(path: place.path + "/" + part, reason: .owner(4321), expected: [0]))
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
        // Another user's link decides which of root's files is read.
        lchown(place.path + "/toGood", 4321, 0)
        #expect(try Self.fault(place.path + "/toGood/file")?.reason == .owner(4321))
    }

    @Test func theInitialUserNamespaceIsKnown() throws {
        let link = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/user")
        #expect(Identity.isInInitialUserNamespace == (link == "user:[4026531837]"))
        #expect(Identity.isRoot == (geteuid() == 0 && Identity.isInInitialUserNamespace))
        if Identity.isInInitialUserNamespace { #expect(Identity.outerUserID == geteuid()) }
    }
}
