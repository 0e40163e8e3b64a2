import ImageSpec
import Testing

@Suite struct ReferenceTests {
    static let digest = "sha256:" + String(repeating: "c3", count: 32)

    struct Case: Sendable, CustomTestStringConvertible {
        let text, registry, repository: String
        let tag: String?
        var pinned = false
        var user: String?
        var testDescription: String { text }
    }

    static let valid: [Case] = [
        Case(text: "ubuntu", registry: "docker.io", repository: "library/ubuntu", tag: "latest"),
        Case(text: "ubuntu:22.04", registry: "docker.io", repository: "library/ubuntu", tag: "22.04"),
        Case(text: "nvidia/cuda", registry: "docker.io", repository: "nvidia/cuda", tag: "latest"),
        Case(text: "a/b/c", registry: "docker.io", repository: "a/b/c", tag: "latest"),
        Case(text: "docker.io/ubuntu", registry: "docker.io", repository: "library/ubuntu", tag: "latest"),
        Case(
            text: "index.docker.io/library/ubuntu", registry: "docker.io", repository: "library/ubuntu", tag: "latest"),
        Case(text: "registry-1.docker.io/a/b:c", registry: "docker.io", repository: "a/b", tag: "c"),
        Case(
            text: "nvcr.io/nvidia/pytorch:25.01-py3", registry: "nvcr.io", repository: "nvidia/pytorch",
            tag: "25.01-py3"),
        Case(text: "GHCR.IO/a/b", registry: "ghcr.io", repository: "a/b", tag: "latest"),
        Case(text: "Host/a", registry: "host", repository: "a", tag: "latest"),
        Case(text: "localhost/x", registry: "localhost", repository: "x", tag: "latest"),
        Case(text: "localhost:5000", registry: "docker.io", repository: "library/localhost", tag: "5000"),
        Case(text: "localhost:5000/x:y", registry: "localhost:5000", repository: "x", tag: "y"),
        Case(text: "127.0.0.1:5000/x", registry: "127.0.0.1:5000", repository: "x", tag: "latest"),
        Case(text: "[::1]:5000/x", registry: "[::1]:5000", repository: "x", tag: "latest"),
        Case(text: "[2001:DB8::1]/x:1", registry: "[2001:db8::1]", repository: "x", tag: "1"),
        Case(text: "host:05000/x", registry: "host:5000", repository: "x", tag: "latest"),
        Case(text: "xn--n3h.example/x", registry: "xn--n3h.example", repository: "x", tag: "latest"),
        Case(text: "a__b/c-----d/e.f_g", registry: "docker.io", repository: "a__b/c-----d/e.f_g", tag: "latest"),
        Case(text: "x:_", registry: "docker.io", repository: "library/x", tag: "_"),
        Case(text: "x:A.b-C_9", registry: "docker.io", repository: "library/x", tag: "A.b-C_9"),
        Case(text: "x@\(digest)", registry: "docker.io", repository: "library/x", tag: nil, pinned: true),
        Case(text: "r.io/x:1@\(digest)", registry: "r.io", repository: "x", tag: "1", pinned: true),
        Case(text: "r.io:443/x@\(digest)", registry: "r.io:443", repository: "x", tag: nil, pinned: true),
        Case(
            text: "nvcr.io#nvidia/pytorch:25.01-py3", registry: "nvcr.io", repository: "nvidia/pytorch",
            tag: "25.01-py3"),
        Case(text: "cluster#x", registry: "cluster", repository: "x", tag: "latest"),
        Case(text: "docker.io#x", registry: "docker.io", repository: "library/x", tag: "latest"),
        Case(text: "registry:5000#a/b@\(digest)", registry: "registry:5000", repository: "a/b", tag: nil, pinned: true),
        Case(
            text: "$oauthtoken@nvcr.io#a/b", registry: "nvcr.io", repository: "a/b", tag: "latest", user: "$oauthtoken"),
        Case(text: "me@r.io#a:1@\(digest)", registry: "r.io", repository: "a", tag: "1", pinned: true, user: "me"),
    ]

    @Test(arguments: valid) func parses(_ expected: Case) throws {
        let reference = try Reference(parsing: expected.text)
        #expect(reference.registry == expected.registry)
        #expect(reference.repository == expected.repository)
        #expect(reference.tag == expected.tag)
        #expect((reference.digest != nil) == expected.pinned)
        #expect(reference.user == expected.user)

        let again = try Reference(parsing: reference.description)
        #expect(again.description == reference.description)
        if expected.user == nil { #expect(again == reference) }
    }

    static let invalid: [(String, ReferenceError.Part, ReferenceError.Reason, Int)] = [
        ("", .repository, .empty, 0),
        (":tag", .repository, .empty, 0),
        ("x:", .tag, .empty, 2),
        ("x@", .digest, .empty, 2),
        ("r.io/", .repository, .empty, 5),
        ("x:a b", .tag, .unexpected, 3),
        ("x:.a", .tag, .unexpected, 2),
        ("x:-a", .tag, .unexpected, 2),
        ("x:\(String(repeating: "t", count: 129))", .tag, .tooLong(maximum: 128), 130),
        ("Ubuntu", .repository, .uppercase, 0),
        ("r.io/a/Ubuntu", .repository, .uppercase, 7),
        ("a//b", .repository, .unexpected, 2),
        ("a/b/", .repository, .unexpected, 3),
        ("a..b", .repository, .unexpected, 2),
        ("a___b", .repository, .unexpected, 3),
        ("a-_b", .repository, .unexpected, 2),
        ("a-", .repository, .unexpected, 1),
        ("-a", .repository, .unexpected, 0),
        ("a/.b", .repository, .unexpected, 2),
        ("r.io/../etc", .repository, .unexpected, 5),
        ("caf\u{e9}", .repository, .unexpected, 3),
        ("x\0", .repository, .unexpected, 1),
        ("a b", .repository, .unexpected, 1),
        ("r.io/" + String(repeating: "a", count: 256), .repository, .tooLong(maximum: 255), 260),
        (String(repeating: "a", count: 248), .repository, .tooLong(maximum: 247), 247),
        (String(repeating: "ab", count: 32), .repository, .imageID, 0),
        ("-r.io/x", .registry, .unexpected, 0),
        ("r-.io/x", .registry, .unexpected, 1),
        ("r..io/x", .registry, .unexpected, 1),
        (".io/x", .registry, .unexpected, 0),
        ("r_r.io/x", .registry, .unexpected, 1),
        ("me:secret@r.io/x", .digest, .notADigest(DigestError(text: "r.io/x", reason: .noAlgorithm)), 10),
        ("[::1/x", .registry, .unexpected, 0),
        ("[::g]/x", .registry, .unexpected, 3),
        ("[::1]5000/x", .registry, .unexpected, 5),
        ("r.io:/x", .port, .empty, 5),
        ("r.io:5o/x", .port, .unexpected, 6),
        ("r.io:0/x", .port, .portOutOfRange, 5),
        ("r.io:65536/x", .port, .portOutOfRange, 5),
        ("#x", .registry, .empty, 0),
        ("@r.io#x", .user, .empty, 0),
        ("a:b@r.io#x", .user, .unexpected, 1),
        ("r.io#", .repository, .empty, 5),
        ("a/b#x", .registry, .unexpected, 1),
        (
            "x@sha256:1234", .digest,
            .notADigest(DigestError(text: "sha256:1234", reason: .wrongLength(expected: 64, found: 4))), 2
        ),
        ("x@md5:1234", .digest, .notADigest(DigestError(text: "md5:1234", reason: .unsupportedAlgorithm("md5"))), 2),
    ]

    @Test(arguments: invalid.indices) func refuses(index: Int) {
        let (text, part, reason, position) = Self.invalid[index]
        #expect(throws: ReferenceError(text: text, part: part, reason: reason, position: position)) {
            try Reference(parsing: text)
        }
    }

    @Test func aDigestDecidesOverATag() throws {
        let reference = try Reference(parsing: "r.io/x:1@\(Self.digest)")
        #expect(reference.selector == Self.digest)
        #expect(try Reference(parsing: "x").selector == "latest")
        #expect(try Reference(parsing: "x").endpoint == "registry-1.docker.io")
        #expect(
            try Reference(parsing: "r.io/x").pinned(to: Digest(parsing: Self.digest)).description
                == "r.io/x:latest@\(Self.digest)")
    }

    @Test(arguments: [
        ("debian:12", "m.io:5000", "", "m.io:5000/library/debian:12"),
        ("debian", "mirror", "hub", "mirror#hub/library/debian:latest"),
        ("r.io/a/b:1@\(digest)", "m.io", "x/y/", "m.io/x/y/a/b:1@\(digest)"),
        ("me@r.io#a", "127.0.0.1:5", "", "127.0.0.1:5/a:latest"),
    ]) func aMirrorHasTheSameImage(_ text: String, _ host: String, _ path: String, _ mirrored: String) throws {
        let found = try Reference(parsing: text).mirrored(at: host, path: path)
        #expect(found.description == mirrored)
        #expect(found.user == nil)
    }

    @Test(arguments: [("m io", ""), ("m.io", "Up"), ("m.io:0", ""), ("a@m.io", "../x")])
    func aPlaceThatIsNoneIsRefused(_ host: String, _ path: String) {
        #expect(throws: ReferenceError.self) { try Reference(parsing: "debian").mirrored(at: host, path: path) }
    }
}
