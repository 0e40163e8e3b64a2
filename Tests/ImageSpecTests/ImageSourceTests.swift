import ImageSpec
import Testing

@Suite struct ImageSourceTests {
    @Test(
        arguments: [
            ("dir:/srv/rootfs", .directory(path: "/srv/rootfs")),
            ("dir:a:b", .directory(path: "a:b")),
            ("oci:layout", .ociLayout(path: "layout", tag: nil)),
            ("oci:/a/layout:v1", .ociLayout(path: "/a/layout", tag: "v1")),
            ("oci:///a/layout:v1", .ociLayout(path: "/a/layout", tag: "v1")),
            ("oci-archive:./x.tar", .ociArchive(path: "./x.tar", tag: nil)),
            ("docker-archive:/x.tar:ubuntu:22.04", .dockerArchive(path: "/x.tar", tag: "ubuntu:22.04")),
        ] as [(String, ImageSource)])
    func parses(text: String, source: ImageSource) throws {
        #expect(try ImageSource(parsing: text) == source)
        #expect(try ImageSource(parsing: source.description) == source)
    }

    @Test(arguments: ["docker://r.io/x:1", "r.io/x:1", "r.io#x:1", "docker://r.io#x:1"])
    func meansARegistry(text: String) throws {
        #expect(try ImageSource(parsing: text) == .docker(Reference(parsing: "r.io/x:1")))
    }

    @Test func aTagIsNoScheme() throws {
        #expect(try ImageSource(parsing: "docker:24").description == "docker://docker.io/library/docker:24")
    }

    @Test(
        arguments: [
            ("", .empty),
            ("/srv/rootfs", .pathWithoutScheme("/srv/rootfs")),
            ("./x", .pathWithoutScheme("./x")),
            ("../x", .pathWithoutScheme("../x")),
            ("..", .pathWithoutScheme("..")),
            ("/a/x.sqsh", .imageFile(path: "/a/x.sqsh", kind: .squashfs)),
            ("x.sqsh", .imageFile(path: "x.sqsh", kind: .squashfs)),
            ("x.sif", .imageFile(path: "x.sif", kind: .sif)),
            ("dockerd://x", .unsupportedScheme("dockerd", rest: "x")),
            ("podman://x:1", .unsupportedScheme("podman", rest: "x:1")),
            ("library://a/b", .unsupportedScheme("library", rest: "a/b")),
            ("https://r.io/x", .unsupportedScheme("https", rest: "r.io/x")),
            ("DOCKER://x", .unsupportedScheme("DOCKER", rest: "x")),
            ("docker-daemon:x:1", .unsupportedScheme("docker-daemon", rest: "x:1")),
            ("oci://r.io/x", .unsupportedScheme("oci", rest: "r.io/x")),
            ("dir:", .nothingAfterScheme("dir")),
            ("oci::v1", .nothingAfterScheme("oci")),
            ("oci:a:", .emptyTag(path: "a")),
            ("docker://", .nothingAfterScheme("docker")),
            (
                "docker://X",
                .reference(ReferenceError(text: "X", part: .repository, reason: .uppercase, position: 0))
            ),
        ] as [(String, ImageSourceError)])
    func refuses(text: String, error: ImageSourceError) {
        #expect(throws: error) { try ImageSource(parsing: text) }
    }
}
