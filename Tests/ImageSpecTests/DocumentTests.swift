import Foundation
import ImageSpec
import Testing

/// Manifests, indexes and configurations as JSON that must be accepted or rejected.
@Suite struct DocumentTests {
    static func digest(_ digit: Character) -> String { "sha256:" + String(repeating: digit, count: 64) }

    static func entry(_ digit: Character, _ more: String, type: MediaType = .ociManifest) -> String {
        #"{"mediaType":"\#(type)","digest":"\#(digest(digit))","size":1\#(more.isEmpty ? "" : ",\(more)")}"#
    }

    static func platform(_ os: String, _ architecture: String, _ variant: String? = nil) -> String {
        let variant = variant.map { #","variant":"\#($0)""# } ?? ""
        return #""platform":{"os":"\#(os)","architecture":"\#(architecture)"\#(variant)}"#
    }

    static func decode<Value: Decodable>(_ type: Value.Type, _ text: String) throws -> Value {
        try JSONDecoder().decode(type, from: Data(text.utf8))
    }

    static func index(_ entries: String...) throws -> ImageIndex {
        try decode(
            ImageIndex.self,
            #"{"schemaVersion":2,"mediaType":"\#(MediaType.ociIndex)","manifests":[\#(entries.joined(separator: ","))]}"#
        )
    }

    static func chosen(_ index: ImageIndex, _ platform: String) throws -> [Character?] {
        try index.candidates(for: Platform(parsing: platform)).map(\.digest.hex.first)
    }

    @Test func firstMatchWinsAndTheRestIsPassedOver() throws {
        let index = try Self.index(
            Self.entry("1", Self.platform("unknown", "unknown")),
            Self.entry("2", Self.platform("linux", "arm64", "v8")),
            Self.entry("3", #""platform":null,"annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#),
            Self.entry("4", Self.platform("linux", "amd64") + #","x":[]"#),
            Self.entry("5", Self.platform("linux", "amd64")),
            Self.entry("6", Self.platform("linux", "amd64"), type: MediaType(rawValue: "application/x+json")),
            Self.entry("7", ""))
        #expect(try Self.chosen(index, "linux/amd64") == ["4", "5", "7"])
        #expect(try Self.chosen(index, "linux/arm64") == ["2", "7"])
        #expect(try Self.chosen(index, "linux/s390x") == ["7"])
        #expect(index.platforms.map(\.description) == ["linux/arm64", "linux/amd64"])
    }

    @Test func theClosestVariantWins() throws {
        let index = try Self.index(
            Self.entry("1", Self.platform("linux", "arm", "v5")),
            Self.entry("2", Self.platform("linux", "arm", "v6")),
            Self.entry("3", Self.platform("linux", "arm", "v7")))
        #expect(try Self.chosen(index, "linux/arm/v7") == ["3", "2", "1"])
        #expect(try Self.chosen(index, "linux/arm/v6") == ["2", "1"])
    }

    @Test func nestedIndexesAreLookedIntoUpToADepth() throws {
        let inner = try Self.index(Self.entry("a", Self.platform("linux", "amd64")))
        let outer = try Self.index(
            Self.entry("1", "", type: .ociIndex), Self.entry("2", "", type: .dockerManifestList))
        let empty = try Self.index()
        let found = outer.select(
            for: .init(os: "linux", architecture: "amd64"),
            load: { entry in entry.digest.hex.first == "1" ? empty : inner }, fits: { _ in false })
        #expect(found?.digest.hex.first == "a")

        var loads = 0
        let endless = try Self.index(Self.entry("1", "", type: .ociIndex))
        #expect(
            endless.select(
                for: .host,
                load: { _ in
                    loads += 1
                    return endless
                }, fits: { _ in false }) == nil)
        #expect(loads == ImageIndex.maximumDepth - 1)
    }

    @Test func anEntryWithoutAPlatformIsTakenIfItsConfigurationFits() throws {
        let index = try Self.index(
            Self.entry("1", ""), Self.entry("2", #""platform":{}"#),
            Self.entry("3", #""platform":{"os":"linux","architecture":""}"#))
        func chosen(_ fitting: Character) -> Character? {
            index.select(for: .host, load: { _ in index }, fits: { $0.digest.hex.first == fitting })?.digest.hex.first
        }
        #expect(chosen("1") == "1")
        #expect(chosen("2") == "2")
        #expect(chosen("3") == "3")
        #expect(chosen("4") == nil)
    }

    /// Each look-up is a request to a registry.
    @Test func aSearchForAPlatformIsBounded() throws {
        var lookups = 0
        var wide = try Self.index(Self.entry("1", "", type: .ociIndex))
        wide.manifests = Array(repeating: wide.manifests[0], count: 1000)
        let found = wide.select(
            for: .host,
            load: { _ in
                lookups += 1
                return wide
            }, fits: { _ in false })
        #expect(found == nil)
        #expect(lookups <= ImageIndex.maximumLookups)
    }

    @Test(arguments: [
        #""os":"linux","#, #""os":"linux","architecture":"","#, #""architecture":null,"os":"","#, "",
    ])
    func aConfigurationWithoutAPlatformIsForTheHost(_ fields: String) throws {
        let config = try Self.decode(ImageConfig.self, "{\(fields)\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}")
        #expect(config.platform == .host)
    }

    @Test(arguments: [#""Env":["A=b\u0000c"]"#, #""Cmd":["a\u0000"]"#, #""User":"0\u0000""#])
    func aNULInWhatIsExecutedIsRefused(_ field: String) {
        #expect(throws: DecodingError.self) {
            try Self.decode(ImageConfig.self, "{\"config\":{\(field)},\"rootfs\":{\"type\":\"layers\"}}")
        }
    }

    @Test func unknownDigestAlgorithmsArePassedOverInAnIndexOnly() throws {
        let blake = #"{"mediaType":"\#(MediaType.ociManifest)","digest":"blake3:ab","size":1}"#
        #expect(try Self.index(blake, Self.entry("1", "")).manifests.count == 1)
        #expect(throws: DecodingError.self) { try Self.index(#"{"digest":"sha256:ab","size":1}"#) }
        #expect(throws: DecodingError.self) { try Self.index(#"{"digest":"\#(Self.digest("1"))","size":-1}"#) }
        #expect(throws: DecodingError.self) {
            try Self.decode(Manifest.self, #"{"config":\#(Self.entry("1", "")),"layers":[\#(blake)]}"#)
        }
    }

    @Test func aDocumentIsOneThingOnly() {
        let both = #"{"config":\#(Self.entry("1", "")),"layers":[],"manifests":[]}"#
        #expect(throws: DecodingError.self) { try Self.decode(Manifest.self, both) }
        #expect(throws: DecodingError.self) { try Self.decode(ImageIndex.self, both) }
    }

    @Test func nullIsAbsent() throws {
        let config = try Self.decode(
            ImageConfig.self,
            #"""
            {"architecture":"arm64","os":"linux","variant":null,"created":null,"history":null,"future":{"x":1},
             "config":{"Env":null,"Cmd":null,"Entrypoint":null,"Labels":null,"Volumes":null,"User":"","Domainname":""},
             "rootfs":{"type":"layers","diff_ids":null}}
            """#)
        #expect(try config == ImageConfig(platform: Platform(parsing: "linux/arm64"), rootfs: .init(diffIDs: [])))
    }

    @Test func aConfigurationSurvivesARoundTrip() throws {
        let config = try Self.decode(
            ImageConfig.self,
            #"""
            {"architecture":"amd64","os":"linux","config":{"User":"1000:100","Env":["PATH=/bin","A="],
             "Entrypoint":"/entry","Cmd":["sh","-c","x y"],"WorkingDir":"/w","Volumes":{"/b":{},"/a":null},
             "ExposedPorts":{"80/tcp":{}},"Labels":{"a":"b","n":null},"StopSignal":"SIGINT"},
             "rootfs":{"type":"layers","diff_ids":["\#(Self.digest("d"))"]},
             "history":[{"created_by":"RUN x","empty_layer":true}]}
            """#)
        #expect(config.config.entrypoint == ["/entry"])
        #expect(config.config.volumes == ["/a", "/b"])
        #expect(config.config.labels == ["a": "b"])
        #expect(config.history.first?.emptyLayer == true)
        let again = try JSONDecoder().decode(ImageConfig.self, from: JSONEncoder().encode(config))
        #expect(again == config)
    }

    @Test func aRootfsThatIsNotLayersIsRefused() {
        #expect(throws: DecodingError.self) {
            try Self.decode(ImageConfig.self, #"{"os":"linux","rootfs":{"type":"base","diff_ids":[]}}"#)
        }
    }

    @Test func mediaTypesLoseParametersAndCase() {
        #expect(MediaType(rawValue: " Application/VND.oci.image.index.v1+json ; charset=utf-8") == .ociIndex)
        #expect(MediaType(rawValue: "application/vnd.docker.image.rootfs.diff.tar.gzip").layerCompression == .gzip)
        #expect(MediaType.ociConfig.layerCompression == nil)
    }
}
