import Distribution
import Foundation
import Hashing
import ImagePull
import ImageSpec
import LinuxKernel
import Store
import TestSupport
import Testing

/// Old and handmade images that other programs accept.
@Suite struct UncommonImageTests {
    /// A layout of one image with this configuration, written unchanged.
    static func layout(
        _ config: [UInt8], entries: (Descriptor) -> [Descriptor] = { [$0] }
    ) throws -> [String: [UInt8]] {
        let image = LocalPullTests.image
        var files: [String: [UInt8]] = ["oci-layout": Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)]
        func add(_ bytes: [UInt8], _ type: MediaType) -> Descriptor {
            let digest = Digest(hashing: bytes, with: .sha256)
            files["blobs/sha256/\(digest.hex)"] = bytes
            return Descriptor(mediaType: type, digest: digest, size: Int64(bytes.count))
        }
        let manifest = Manifest(config: add(config, .ociConfig), layers: image.layers.map { add($0, .ociLayer) })
        let descriptor = add(image.json(manifest), .ociManifest)
        files["index.json"] = image.json(ImageIndex(manifests: entries(descriptor)))
        return files
    }

    static func config(
        _ fields: String, platform: String = #""os":"linux","architecture":"\#(Platform.host.architecture)","#
    )
        -> [UInt8]
    {
        let ids = LocalPullTests.image.layers.map { "\"\(Digest(hashing: $0, with: .sha256))\"" }.joined(separator: ",")
        return Array("{\(platform)\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\(ids)]}\(fields)}".utf8)
    }

    static func record(_ files: [String: [UInt8]], tag: String? = nil) async throws -> LaunchRecord {
        let place = try TemporaryDirectory()
        let path = try LocalPullTests.write(files, place, "layout")
        let store = try ImageStore.open(creating: place.path + "/store")
        let pulled = try await LocalPullTests.pull(.ociLayout(path: path, tag: tag), into: store)
        guard let lease = try store.lease(pulled.manifestDigest) else { throw TestSupportError("not in the store") }
        return lease.record
    }

    @Test(arguments: ["", #""architecture":"","os":"","#, #""os":"linux","#])
    func aConfigurationWithoutAPlatformIsTheHosts(_ platform: String) async throws {
        let record = try await Self.record(Self.layout(Self.config(#","config":{"Cmd":["x"]}"#, platform: platform)))
        #expect(record.platform == .host && record.command == ["x"])
    }

    @Test func anEmptyEntrypointIsNone() async throws {
        let record = try await Self.record(Self.layout(Self.config(#","config":{"Entrypoint":[""],"Cmd":["x"]}"#)))
        #expect(record.entrypoint == [] && record.command == ["x"])
    }

    @Test func latin1AndLoneSurrogatesInTheHistoryAreRead() async throws {
        let config = Self.config(#","config":{"Cmd":["x"]},"history":[{"created_by":"\ud800 caf?"}]"#)
        let latin1 = config.map { $0 == UInt8(ascii: "?") ? 0xE9 : $0 }
        #expect(try await Self.record(Self.layout(latin1)).command == ["x"])
    }

    /// Two images, of which the first is for another architecture, but the index lacks platforms.
    @Test func theEntryWhoseConfigurationFitsIsTaken() async throws {
        let other = try Self.layout(
            Self.config(#","config":{"Cmd":["other"]}"#, platform: #""os":"linux","architecture":"s390x","#))
        let own = try Self.layout(Self.config(#","config":{"Cmd":["own"]}"#))
        func entry(_ files: [String: [UInt8]]) throws -> Descriptor {
            try JSONDecoder().decode(ImageIndex.self, from: Data(files["index.json"] ?? [])).manifests[0]
        }
        var files = other.merging(own) { $1 }
        for order in [[other, own], [own, other]] {
            files["index.json"] = LocalPullTests.image.json(ImageIndex(manifests: try order.map(entry)))
            #expect(try await Self.record(files).command == ["own"])
        }
        files["index.json"] = LocalPullTests.image.json(ImageIndex(manifests: try [other, other].map(entry)))
        let (place, path) = try DocumentCVETests.write(files)
        #expect(
            try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
                == .noMatchingPlatform(
                    wanted: .host,
                    offered: Array(repeating: Platform(os: "linux", architecture: "s390x"), count: 2)), "\(place.path)")
    }

    /// Each entry must be fetched to find its platform. The search is limited, and the error reports it.
    @Test func anIndexOfManyEntriesWithoutAPlatformIsSearchedToALimit() async throws {
        var files: [String: [UInt8]] = [:]
        var entries: [Descriptor] = []
        for number in 0...ImageIndex.maximumLookups {
            let platform = number == ImageIndex.maximumLookups ? Platform.host.architecture : "s390x"
            let one = try Self.layout(
                Self.config(
                    #","config":{"Cmd":["\#(number)"]}"#, platform: #""os":"linux","architecture":"\#(platform)","#))
            files.merge(one) { $1 }
            entries.append(try JSONDecoder().decode(ImageIndex.self, from: Data(one["index.json"] ?? [])).manifests[0])
        }
        files["index.json"] = LocalPullTests.image.json(ImageIndex(manifests: entries))
        let (place, path) = try DocumentCVETests.write(files)
        #expect(
            try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
                == .tooManyEntries(limit: ImageIndex.maximumLookups, wanted: .host), "\(place.path)")
        files["index.json"] = LocalPullTests.image.json(ImageIndex(manifests: Array(entries.dropFirst())))
        #expect(try await Self.record(files).command == ["\(ImageIndex.maximumLookups)"])
    }

    @Test func anUnknownLayoutVersionIsRefused() async throws {
        var files = LocalImage.layout([(nil, LocalPullTests.image)])
        files["oci-layout"] = Array(#"{"imageLayoutVersion":"2.0.0"}"#.utf8)
        let (place, path) = try DocumentCVETests.write(files)
        #expect(
            try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
                == .notAnImage("its layout version is \"2.0.0\"; Berth reads version 1"), "\(place.path)")
    }

    /// Opening a pipe without a writer would block forever.
    @Test(.timeLimit(.minutes(1))) func aPipeIsNoArchive() async throws {
        let place = try TemporaryDirectory()
        try #require(mkfifo(place.path + "/pipe", 0o600) == 0)
        for source in [
            ImageSource.dockerArchive(path: place.path + "/pipe", tag: nil),
            .ociArchive(path: place.path + "/pipe", tag: nil),
        ] {
            #expect(try await LocalPullTests.fault(source) == .notAFile(.fifo))
        }
        #expect(try await LocalPullTests.fault(.ociArchive(path: place.path, tag: nil)) == .notAFile(.directory))
    }
}
