import Distribution
import Foundation
import ImageExport
import ImagePull
import ImageSpec
import Store
import TestSupport
import Testing

/// Pushes images to an independent registry implementation and pulls them again.
@Suite(.enabled(if: DockerRegistry.isInstalled)) struct RegistryExportTests {
    /// A store, an initial tree, and changes to it.
    struct Fixture {
        let place: TemporaryDirectory
        let store: ImageStore
        let registry: DockerRegistry

        init(_ registry: DockerRegistry) throws {
            self.registry = registry
            place = try TemporaryDirectory()
            store = try ImageStore.open(creating: place.path + "/store")
            try place.write("one", to: "root/etc/one")
            try place.write([UInt8](repeating: 7, count: 3_000_000), to: "root/opt/large")
            try place.link("root/opt/link", to: "../etc/one")
            try place.write("two", to: "upper/etc/two")
        }

        func reference(_ name: String) throws -> Reference { try Reference(parsing: "\(registry.authority)/\(name)") }

        func export(
            _ image: ImageExporter.Image, upper: String? = nil, _ compression: ExportCompression = .gzip,
            to name: String, _ client: RegistryClient
        ) async throws -> ImageExporter.Exported {
            try await ImageExporter(
                image: image, changes: upper.map { .upper(place.path + "/" + $0) }, compression: compression,
                preservingOwners: false
            ).export(to: .registry(try reference(name)), client: client, staging: place.path)
        }

        /// Pulls an image and opens it for another export.
        func pull(_ name: String, _ client: RegistryClient) async throws -> ImageExporter.Image {
            let reference = try reference(name)
            let pulled = try await ImagePuller(
                store: store, origin: RegistryOrigin(reference, client: client)
            ) { _ in }
            .pull(.docker(reference), platform: .host, refresh: true)
            let held = try #require(try ImageExporter.Held(pulled.manifestDigest, in: store))
            return ImageExporter.Image(held, origin: reference, root: nil)
        }

        func root() -> ImageExporter.Image { .init(directory: place.path + "/root", platform: .host) }

        /// The files of an image's trees; the topmost one of each name.
        func files(_ name: String) throws -> [String: String] {
            guard let lease = try store.lease(ImageKey(.docker(try reference(name)), platform: .host)) else {
                throw TestSupportError("no \(name)")
            }
            var found: [String: String] = [:]
            for tree in lease.trees {
                let listed = try Command(["find", tree, "-type", "f", "-printf", "%P %s %m\n"]).run()
                for line in listed.lines {
                    let words = line.split(separator: " ", maxSplits: 1).map(String.init)
                    found[words[0]] = words[1]
                }
            }
            return found
        }
    }

    static func with(
        user: (String, String, String)? = nil, _ body: (Fixture) async throws -> Void
    ) async throws {
        let registry = try await DockerRegistry(user: user)
        defer { registry.stop() }
        try await body(Fixture(registry))
    }

    @Test func itGoesAndComesBack() async throws {
        try await Self.with { fixture in
            try await withClient { client in
                for compression in ExportCompression.allCases {
                    let name = "team/\(compression):1"
                    let exported = try await fixture.export(fixture.root(), compression, to: name, client)
                    #expect(exported.layers == 1 && exported.reusedLayers == 0)
                    _ = try await fixture.pull(name, client)
                    #expect(try fixture.files(name) == ["etc/one": "3 644", "opt/large": "3000000 644"])
                }
            }
            if FileManager.default.isExecutableFile(atPath: "/usr/bin/skopeo") {
                let ended = try Command([
                    "skopeo", "inspect", "--tls-verify=false", "docker://\(fixture.registry.authority)/team/gzip:1",
                ]).run()
                #expect(ended.status == 0, "\(ended)")
                #expect(ended.output.contains("\"Architecture\""))
            }
            // The temporary files of the upload are unnamed and gone.
            let names = try FileManager.default.contentsOfDirectory(atPath: fixture.place.path)
            #expect(Set(names) == ["root", "store", "upper"])
        }
    }

    @Test func layersOfTheRegistryAreNotSentAgain() async throws {
        try await Self.with { fixture in
            try await withClient { client in
                _ = try await fixture.export(fixture.root(), to: "base/os:1", client)
                let image = try await fixture.pull("base/os:1", client)
                // The same repository, and another one that mounts the blobs.
                for name in ["base/os:2", "team/app:1"] {
                    let exported = try await fixture.export(image, upper: "upper", to: name, client)
                    #expect(exported.layers == 2 && exported.reusedLayers == 1)
                    #expect(exported.writtenBytes < 10_000)
                    _ = try await fixture.pull(name, client)
                    #expect(
                        try fixture.files(name) == [
                            "etc/one": "3 644", "etc/two": "3 644", "opt/large": "3000000 644",
                        ])
                }
            }
        }
    }

    @Test func aPasswordIsNeeded() async throws {
        let hash = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
        try await Self.with(user: ("me", "secret", hash)) { fixture in
            func reason(_ credentials: any CredentialProvider) async throws -> RegistryError.Reason? {
                do {
                    try await withClient(credentials: credentials) { client in
                        _ = try await fixture.export(fixture.root(), to: "team/app:1", client)
                    }
                    return nil
                } catch ExportError.registry(let error) {
                    return error.reason
                }
            }
            guard case .pushUnauthorized(nil, _)? = try await reason(NoCredentials()) else {
                Issue.record("no password was not refused")
                return
            }
            let wrong = FixedCredentials(.password(user: "me", password: "wrong"))
            guard case .pushUnauthorized(.file("/test/auth.json")?, _)? = try await reason(wrong) else {
                Issue.record("a wrong password was not refused")
                return
            }
            #expect(try await reason(FixedCredentials(.password(user: "me", password: "secret"))) == nil)
        }
    }
}
