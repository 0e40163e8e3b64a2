import LaunchPlanning
import Testing

@Suite struct MountRequestTests {
    static func bind(_ source: String, _ target: String, readOnly: Bool = false, recursive: Bool = true) -> MountRequest
    {
        MountRequest(kind: .bind(source: source, recursive: recursive), target: target, readOnly: readOnly)
    }

    static let volumes: [(String, MountRequest)] = [
        ("/a", bind("/a", "/a")),
        ("/a:/b", bind("/a", "/b")),
        ("/a:/b:ro", bind("/a", "/b", readOnly: true)),
        ("/a:/b:rw", bind("/a", "/b")),
        ("/a:/b:ro,z", bind("/a", "/b", readOnly: true)),
        ("/a:/b:Z", bind("/a", "/b")),
        ("/a:/b:ro,cached", bind("/a", "/b", readOnly: true)),
        ("/a:/b:delegated", bind("/a", "/b")),
        ("/a:/b:rbind", bind("/a", "/b")),
        ("/a:/b:bind,ro", bind("/a", "/b", readOnly: true, recursive: false)),
        (".", bind("/home/u", "/home/u")),
        (".:/b", bind("/home/u", "/b")),
        ("./x/../y:/b", bind("/home/u/x/../y", "/b")),
        ("../x:/b", bind("/home/u/../x", "/b")),
        ("//a//b/:/c", bind("/a/b", "/c")),
        ("/with space:/in side", bind("/with space", "/in side")),
        ("/a,b:/c,d", bind("/a,b", "/c,d")),
        ("/:/host", bind("/", "/host")),
    ]

    @Test(arguments: volumes) func volumesReadAsDockersAndPyxis(_ text: String, _ request: MountRequest) throws {
        #expect(try MountRequest(volume: text, workingDirectory: "/home/u") == request)
    }

    static let mounts: [(String, MountRequest)] = [
        ("type=bind,source=/a,target=/b", bind("/a", "/b")),
        ("type=bind,src=/a,dst=/b", bind("/a", "/b")),
        ("source=/a,destination=/b", bind("/a", "/b")),
        ("target=/b,source=/a,readonly", bind("/a", "/b", readOnly: true)),
        ("source=/a,target=/b,ro", bind("/a", "/b", readOnly: true)),
        ("source=/a,target=/b,readonly=true", bind("/a", "/b", readOnly: true)),
        ("source=/a,target=/b,readonly=0", bind("/a", "/b")),
        ("source=/a,target=/b,rw", bind("/a", "/b")),
        ("source=/a,target=/b,rw=false", bind("/a", "/b", readOnly: true)),
        ("source=/a,target=/b,bind-nonrecursive", bind("/a", "/b", recursive: false)),
        ("source=/a,target=/b,bind-recursive=disabled", bind("/a", "/b", recursive: false)),
        ("source=/a,target=/b,bind-recursive=enabled", bind("/a", "/b")),
        ("source=./a,target=/b", bind("/home/u/a", "/b")),
        ("source=/a:b,target=/c:d", bind("/a:b", "/c:d")),
        ("source=/a\nb,target=/c d", bind("/a\nb", "/c d")),
        ("source=/a=b,target=/c=d", bind("/a=b", "/c=d")),
        ("type=tmpfs,target=/t", MountRequest(kind: .tmpfs(size: nil, mode: 0o1777), target: "/t")),
        (
            "type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=700",
            MountRequest(kind: .tmpfs(size: 64 << 20, mode: 0o700), target: "/t")
        ),
        (
            "type=tmpfs,target=/t,readonly",
            MountRequest(kind: .tmpfs(size: nil, mode: 0o1777), target: "/t", readOnly: true)
        ),
    ]

    @Test(arguments: mounts) func mountsReadAsDockers(_ text: String, _ request: MountRequest) throws {
        #expect(try MountRequest(mount: text, workingDirectory: "/home/u") == request)
    }

    static let sizes: [(String, UInt64?)] = [
        ("0", 0), ("1", 1), ("512b", 512), ("1k", 1024), ("1K", 1024), ("1kb", 1024), ("2m", 2 << 20), ("3G", 3 << 30),
        ("1t", 1 << 40), ("18446744073709551615", .max), ("18446744073709551616", nil), ("16777216t", nil), ("", nil),
        ("1GiB", 1 << 30), ("2mib", 2 << 20), ("ib", nil), ("1ib", nil),
        ("k", nil), ("b", nil), ("1.5g", nil), ("-1", nil), ("1 k", nil), ("1kk", nil), ("0x10", nil), ("1e3", nil),
    ]

    @Test(arguments: sizes) func sizesAreBytesWithDockersSuffixes(_ text: String, _ bytes: UInt64?) {
        #expect(byteCount(text) == bytes)
    }

    @Test(arguments: [
        ("/a", "/a"), ("a", "/cwd/a"), (".", "/cwd"), ("./a/./b", "/cwd/a/b"), ("/a//b/", "/a/b"), ("/", "/"),
        ("../a", "/cwd/../a"), ("/a/../b", "/a/../b"),
    ]) func pathsBecomeAbsoluteAndTheKernelWalksUpwards(_ path: String, _ absolute: String) {
        #expect(absolutePath(path, from: "/cwd") == absolute)
    }
}
