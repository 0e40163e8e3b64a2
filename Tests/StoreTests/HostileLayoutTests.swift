import Foundation
import ImageSpec
import LinuxKernel
@testable import Store
import TestSupport
import Testing

/// Replaces each file of the layout by invalid ones: nothing blocks, the error names the file, and the next pull
/// repairs it.
@Suite struct HostileLayoutTests {
    enum Wrong: String, CaseIterable, Sendable {
        case fifo, directory, symlink, socket, device, empty, cut, garbage, huge, foreign, groupWritable
    }

    static let digest = "images/sha256-" + String(repeating: "01", count: 32)
    static let layer = "layers/sha256-" + String(repeating: "0b", count: 32)
    static let places = [
        "version", "\(digest)/lease", "\(digest)/record", "\(digest)/manifest.json", "\(digest)/config.json",
        "\(digest)/names", "\(layer)/summary", "\(layer)/tree", "\(layer)/boot", "\(layer)/bytes", digest, layer,
        "images",
        "layers", "refs", "refs/docker", "refs/docker/docker.io/library/a/:1", "locks", "locks/pulling",
        "drafts", "rootfs", "mount", "listing", "unsettled", "squashfs", "containers",
    ]

    static func stocked() throws -> (shop: Workshop, store: ImageStore) {
        let shop = try Workshop()
        let store = try shop.open()
        try fill(store)
        return (shop, store)
    }

    /// Publishes as a pull does, without replacing what exists.
    static func fill(_ store: ImageStore) throws {
        let key = try Workshop.key("a:1")
        let pulling = try store.beginPulling()
        defer { withExtendedLifetime(pulling) {} }
        if let draft = try store.draftLayer(try Workshop.digest(11)) {
            try draft.tree.descriptor.open("file", [.writeOnly, .create], mode: 0o644).writeAll([1])
            try store.publish([FinishedDraft(draft: draft, summary: [1], bytes: 1)])
        }
        if !store.isWhole(try Workshop.digest(1)) || (try? store.digest(of: key)) == nil {  // damaged
            try store.publish(try Workshop.record(1, layers: [11]), manifest: [1], config: [2], names: [key])
        }
    }

    static func put(_ wrong: Wrong, at path: String) throws {
        let isDirectory = (try? FileStatus(of: path, followLinks: false).kind) == .directory  // absent
        func run(_ words: String...) throws {
            let ended = try Command(words).run()
            #expect(ended.status == 0, "\(ended)")
        }
        switch wrong {
        case .foreign: return try run("sh", "-c", "[ -e '\(path)' ] || touch '\(path)'; chown 12345 '\(path)'")
        case .groupWritable: return try run("sh", "-c", "[ -e '\(path)' ] || touch '\(path)'; chmod 777 '\(path)'")
        default: break
        }
        try run("rm", "-rf", path)
        switch wrong {
        case .fifo: try run("mkfifo", path)
        case .directory: if !isDirectory { try run("mkdir", "-p", path + "/inside") }
        case .symlink: try run("ln", "-s", "/etc/passwd", path)
        case .socket:
            try run(
                "python3", "-c",
                "import os,socket; os.chdir(os.path.dirname('\(path)')); "
                    + "socket.socket(socket.AF_UNIX).bind(os.path.basename('\(path)'))")
        case .device: try run("mknod", path, "c", "1", "5")
        case .empty: try run("truncate", "-s", "0", path)
        case .cut: try Data("be".utf8).write(to: URL(fileURLWithPath: path))
        case .garbage: try Data("\u{1}garbage\n".utf8).write(to: URL(fileURLWithPath: path))
        case .huge: try run("truncate", "-s", "1T", path)
        case .foreign, .groupWritable: break
        }
    }

    @Test(.enabled(if: Identity.userID == 0, "needs root to make devices"), .timeLimit(.minutes(5)), arguments: places)
    func whatIsWrongIsNamedAndRepaired(_ place: String) throws {
        for wrong in Wrong.allCases {
            let (shop, store) = try Self.stocked()
            try store.flush()
            try Self.put(wrong, at: shop.path + "/" + place)
            let context: Comment = "\(wrong) as \(place)"
            // An unknown version is not damage.
            let isOtherVersion = place == "version" && wrong == .garbage
            let key = try Workshop.key("a:1")
            let readers: [() throws -> Void] = [
                { _ = try ImageStore.open(existing: shop.path)?.lease(key) },
                { _ = try ImageStore.open(existing: shop.path)?.images() },
                { _ = try ImageStore.open(existing: shop.path)?.images() },
                { _ = try ImageStore.open(existing: shop.path)?.image(try Workshop.digest(1)) },
                { _ = try ImageStore.open(existing: shop.path)?.documents(of: try Workshop.digest(1)) },
                { _ = try ImageStore.open(existing: shop.path)?.unpackedFiles() },
                {
                    var rules = CollectionRules()
                    rules.dryRun = true
                    _ = try ImageStore.open(existing: shop.path)?.collect(rules)
                },
            ]
            for reader in readers {
                do { try reader() } catch let error as StoreError {
                    switch error {
                    case .damaged(let path, _): #expect(path.hasPrefix(shop.path), context)
                    case .unknownLayout: #expect(place == "version", context)
                    default: Issue.record("\(context): \(error)")
                    }
                }
            }
            if isOtherVersion { continue }
            do {
                let again = try shop.open()
                try Self.fill(again)
                #expect(try isThere(again.lease(key)), context)
                #expect(try again.images().count == 1, context)
                _ = try again.collect()
                #expect(try isThere(again.lease(key)), context)
            } catch {
                Issue.record("\(context): \(error)")
            }
        }
    }

    @Test func aVersionThatWasCutShortIsWrittenAgain() throws {
        for text in ["", "b", "berth-store 1"] {
            let (shop, _) = try Self.stocked()
            try shop.directory.write(text, to: "parent/store/version")
            #expect(try ImageStore.open(existing: shop.path) == nil)
            let again = try shop.open()
            #expect(try isThere(again.lease(try Workshop.key("a:1"))))
            #expect(shop.directory.text("parent/store/version") == "berth-store 1\n")
        }
    }

    /// Berth does not run what another user has put below a valid top directory.
    @Test(.enabled(if: Identity.userID == 0, "needs root")) func anImageOfAnotherUserIsNotBelieved() throws {
        let (shop, store) = try Self.stocked()
        _ = try Command(["chown", "-R", "12345", shop.path + "/" + Self.digest]).run()
        #expect(throws: StoreError.self) { _ = try store.lease(try Workshop.digest(1)) }
        try Self.fill(try shop.open())
        #expect(try isThere(store.lease(try Workshop.digest(1))))
    }

    /// The layers of a damaged image may be in use.
    @Test func anImageInUseWhoseRecordIsDamagedKeepsItsLayers() throws {
        let (shop, store) = try Self.stocked()
        let lease = try there(try store.lease(try Workshop.digest(1)))
        try shop.directory.write("garbage", to: "parent/store/\(Self.digest)/record")
        #expect(try store.collect(includingNamed: true) == Collected(inUse: 1))
        #expect(try store.hasLayer(try Workshop.digest(11)))
        withExtendedLifetime(lease.box) {}
    }
}
