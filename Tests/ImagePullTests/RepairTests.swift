import Distribution
import Foundation
import Hashing
import ImagePull
import ImageSpec
import LinuxKernel
import Store
import TestSupport
import Testing

/// The next pull repairs files of the store that another program overwrote.
@Suite struct RepairTests {
    @Test(arguments: ["manifest.json", "config.json"], [#"{"schemaVersion":2}"#, "garbage", ""])
    func documentsThatAreNotTheImagesAreWrittenAgain(_ file: String, _ text: String) async throws {
        let place = try TemporaryDirectory()
        let path = try LocalPullTests.write(LocalImage.layout([("one", LocalPullTests.image)]), place, "layout")
        let store = try ImageStore.open(creating: place.path + "/store")
        let source = ImageSource.ociLayout(path: path, tag: "one")
        let first = try await LocalPullTests.pull(source, into: store)
        let documents = try #require(try store.documents(of: first.manifestDigest))
        try place.write(text, to: "store/images/\(first.manifestDigest.directoryName)/\(file)")
        let second = try await LocalPullTests.pull(source, into: store)
        #expect(!second.wasPresent)
        let repaired = try #require(try store.documents(of: first.manifestDigest))
        #expect(repaired.manifest == documents.manifest && repaired.config == documents.config)
        try LocalPullTests.check(second, store)
        #expect(try await LocalPullTests.pull(source, into: store).wasPresent)
    }

    /// The image itself is complete, but another image with the layer could not be composed.
    @Test func aLayerWhoseSummaryIsGarbageIsUnpackedAgain() async throws {
        let place = try TemporaryDirectory()
        let store = try ImageStore.open(creating: place.path + "/store")
        let one = try LocalPullTests.write(LocalImage.layout([("one", LocalPullTests.image)]), place, "one")
        _ = try await LocalPullTests.pull(.ociLayout(path: one, tag: "one"), into: store)
        let diffID = Digest(hashing: LocalPullTests.base, with: .sha256)
        let summary = "store/layers/\(diffID.directoryName)/summary"
        let original = try #require(place.text(summary))
        try place.write("garbage", to: summary)
        var other = LocalPullTests.image
        other.command = ["/bin/other"]
        let two = try LocalPullTests.write(LocalImage.layout([("two", other)]), place, "two")
        let pulled = try await LocalPullTests.pull(.ociLayout(path: two, tag: "two"), into: store)
        #expect(place.text(summary) == original)
        guard let lease = try store.lease(pulled.manifestDigest) else {
            Issue.record("the image is not in the store")
            return
        }
        #expect(lease.record.command == ["/bin/other"])
    }

    // MARK: Images that cannot be started

    @Test func aVariableThatIsTooLongIsRefusedByName() async throws {
        let limit = 32 * Memory.pageBytes - 1
        let fits = String(repeating: "x", count: limit - "BIG=".utf8.count)
        let config = UncommonImageTests.config(#","config":{"Env":["A=b","BIG=\#(fits)"],"Cmd":["x"]}"#)
        #expect(try await UncommonImageTests.record(UncommonImageTests.layout(config)).environment.count == 2)
        let over = UncommonImageTests.config(#","config":{"Env":["A=b","BIG=\#(fits)y"],"Cmd":["x"]}"#)
        #expect(try await Self.excess(over) == .variable(name: "BIG", bytes: limit + 1, limit: limit))
    }

    @Test func variablesThatAreTooLongTogetherAreRefused() async throws {
        let value = String(repeating: "x", count: 100_000)
        let entries = (0..<63).map { #""V\#($0)=\#(value)""# }.joined(separator: ",")
        let config = UncommonImageTests.config(#","config":{"Env":[\#(entries)],"Cmd":["x"]}"#)
        guard case .total(let bytes, ImageConfig.Execution.maximumBytes) = try await Self.excess(config) else {
            Issue.record("not refused")
            return
        }
        #expect(bytes > ImageConfig.Execution.maximumBytes)
    }

    /// The maximum size: a record that was written can be read.
    @Test func aLargeRecordIsReadAgain() async throws {
        let value = String(repeating: "x", count: 100_000)
        let entries = (0..<60).map { #""V\#($0)=\#(value)""# }.joined(separator: ",")
        let config = UncommonImageTests.config(#","config":{"Env":[\#(entries)],"Cmd":["x"]}"#)
        #expect(try await UncommonImageTests.record(UncommonImageTests.layout(config)).environment.count == 60)
    }

    private static func excess(_ config: [UInt8]) async throws -> ImageConfig.Execution.Excess? {
        let place = try TemporaryDirectory()
        let path = try LocalPullTests.write(UncommonImageTests.layout(config), place, "layout")
        let store = try ImageStore.open(creating: place.path + "/store")
        do throws(PullError) {
            _ = try await LocalPullTests.pull(.ociLayout(path: path, tag: nil), into: store)
            return nil
        } catch {
            #expect(try store.images().isEmpty)
            guard case .unstartable(let excess) = error else { throw error }
            return excess
        }
    }
}
