import LaunchPlanning
import LinuxKernel
import Testing

/// The values of Pyxis' `--container-mounts`.
@Suite struct PyxisMountTests {
    static func bind(_ source: String, _ target: String, _ change: (inout MountRequest) -> Void = { _ in })
        -> MountRequest
    {
        var request = MountRequest(kind: .bind(source: source, recursive: true), target: target)
        change(&request)
        return request
    }

    static func tmpfs(size: UInt64? = nil, mode: UInt32 = 0o1777, data: [String] = []) -> MountRequest {
        var request = MountRequest(kind: .tmpfs(size: size, mode: mode), target: "/t")
        request.data = data
        return request
    }

    static let lists: [(String, [MountRequest])] = [
        ("/a", [bind("/a", "/a")]),
        ("./a", [bind("/home/u/a", "/home/u/a")]),
        ("/a:/b", [bind("/a", "/b")]),
        ("/a:./b", [bind("/a", "/b")]),
        ("/a:../b", [bind("/a", "/../b")]),
        ("/a b:/c d", [bind("/a b", "/c d")]),
        ("/a:/b,/c:/d", [bind("/a", "/b"), bind("/c", "/d")]),
        ("/a:/b,/a:/b", [bind("/a", "/b")]),
        ("/a:/b:ro", [bind("/a", "/b") { $0.readOnly = true }]),
        ("/a:/b:bind", [MountRequest(kind: .bind(source: "/a", recursive: false), target: "/b")]),
        ("/a:/b:nofail+x-create=dir", [bind("/a", "/b") { $0.optional = true }]),
        (
            "/a:/b:unbindable+ro+nosuid+noexec",
            [
                bind("/a", "/b") {
                    $0.readOnly = true
                    $0.attributes = [.noSetUserID, .noExecution]
                    $0.propagation = [.isUnbindable]
                }
            ]
        ),
        ("/a:/b:rprivate", [bind("/a", "/b") { $0.propagation = [.isPrivate, .recursive] }]),
        ("tmpfs:/t", [tmpfs()]),
        ("tmpfs:/t:size=1g+mode=700+huge=within_size", [tmpfs(size: 1 << 30, mode: 0o700, data: ["huge=within_size"])]),
        ("umount:/root", [MountRequest(kind: .unmount, target: "/root")]),
    ]

    @Test(arguments: lists) func mountsReadAsPyxis(_ text: String, _ requests: [MountRequest]) throws {
        #expect(try MountRequest.list(pyxis: text, workingDirectory: "/home/u") == requests)
    }

    @Test(arguments: [
        "", ":", "/a:", ":/b", "a:/b", "/a:b", "/a,", "/a:/b:nonsense", "/a:/b:", "/a:/b:ro:x", "devpts:/b", "tmpfs",
        "umount",
        "tmpfs:/t:size=x", "umount:/t:size=1",
    ]) func whatIsNoMountIsRefused(_ text: String) {
        #expect(throws: OptionError.self) { try MountRequest.list(pyxis: text, workingDirectory: "/home/u") }
    }

    @Test func anUnknownFlagIsNamedWithThoseThatThereAre() {
        #expect(
            throws: OptionError.badValue(
                option: "--container-mounts", value: "/tmp:/x:foo",
                expected: "ro, rw, nosuid, nodev, noexec, bind, rbind, nofail or a propagation, joined by +; foo is none of them")
        ) { try MountRequest.list(pyxis: "/tmp:/x:foo", workingDirectory: "/") }
        #expect(
            throws: OptionError.badValue(
                option: "--container-mounts", value: "foo", expected: "an absolute path, or one that starts with ./")
        ) { try MountRequest.list(pyxis: "foo", workingDirectory: "/") }
    }

    @Test func anUnknownNamespaceIsNamed() {
        #expect(throws: OptionError.self) {
            try LaunchOptions(parsing: ["--unshare", "net,foo", "image"], workingDirectory: "/")
        }
    }

    @Test func namespacesAreRead() throws {
        let options = try LaunchOptions(
            parsing: ["--unshare", "net,ipc", "--unshare=uts", "image"], workingDirectory: "/")
        #expect(options.unshare == [.network, .ipc, .hostname])
    }
}
