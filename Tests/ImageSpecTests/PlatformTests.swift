import ImageSpec
import Testing

@Suite struct PlatformTests {
    @Test(arguments: [
        ("linux/amd64", "linux/amd64"), ("amd64", "linux/amd64"), ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"), ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/arm64/v8", "linux/arm64"), ("aarch64", "linux/arm64"), ("Linux/ARM64/8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"), ("armhf", "linux/arm/v7"), ("armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"), ("linux/ppc64le", "linux/ppc64le"), ("windows/amd64", "windows/amd64"),
    ])
    func parses(text: String, canonical: String) throws {
        #expect(try Platform(parsing: text).description == canonical)
    }

    @Test(arguments: ["", "/", "linux/", "/amd64", "linux//v8", "a/b/c/d", "linux/am d64", "linux/é"])
    func refuses(text: String) {
        #expect(throws: PlatformError(text: text)) { try Platform(parsing: text) }
    }

    @Test(
        arguments: [
            ("linux/amd64", "linux/amd64", 0), ("linux/amd64/v3", "linux/amd64", 200),
            ("linux/amd64", "linux/amd64/v2", nil), ("linux/arm64", "linux/arm64/v8", 0),
            ("linux/arm64/v9", "linux/arm64", 100), ("linux/arm64/v8.2", "linux/arm64/v8.1", 1),
            ("linux/arm64", "linux/arm64/v8.2", nil), ("linux/arm/v7", "linux/arm/v6", 100),
            ("linux/arm/v6", "linux/arm/v7", nil), ("linux/arm64", "linux/arm/v7", nil),
            ("linux/amd64", "windows/amd64", nil), ("linux/amd64", "linux/386", nil),
        ] as [(String, String, Int?)])
    func runsOlderVariants(host: String, image: String, distance: Int?) throws {
        #expect(try Platform(parsing: host).distance(to: Platform(parsing: image)) == distance)
    }

    @Test func theHostRunsItself() {
        #expect(Platform.host.canRun(.host))
        #expect(Platform.host.os == "linux")
    }
}
