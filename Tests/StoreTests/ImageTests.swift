import Foundation
import ImageSpec
import LinuxKernel
@testable import Store
import Testing
import TestSupport

@Suite struct StoredImageTests {
    @Test func whatIsPublishedIsFoundByItsNames() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let key = try Workshop.key("registry.example/a/b:1")
        #expect(try !isThere(store.lease(key)))
        try Workshop.addLayer(9, to: store)
        let record = try Workshop.record(1, layers: [9])
        try store.publish(
            record, manifest: [1], config: [2], names: [key, try Workshop.key("registry.example/a/b@\(record.digest)")])
        try store.flush()
        let lease = try there(try store.lease(key))
        #expect(lease.record == record)
        #expect(lease.trees == [shop.path + "/layers/\(try Workshop.digest(9).directoryName)/tree"])
        #expect(try store.digest(of: key) == record.digest)
        #expect(try isThere(store.lease(try Workshop.key("registry.example/a/b@\(record.digest)"))))
        #expect(try !isThere(store.lease(try Workshop.key("registry.example/a/b:2"))))
        #expect(try !isThere(store.lease(try Workshop.key("registry.example/a:1"))))
        #expect(try !isThere(store.lease(try Workshop.key("registry.example/a/b:1", platform: "linux/s390x"))))
        let documents = try #require(try store.documents(of: record.digest))
        #expect(documents.manifest == [1] && documents.config == [2])
        #expect(try shop.names("drafts") == [])
    }

    @Test func everyWayToNameAnImageHasAPlaceOfItsOwn() throws {
        let directory = try TemporaryDirectory()
        try directory.write("{}", to: "oci/index.json")
        try directory.write("tar", to: "image.tar")
        let digest = "sha256:" + String(repeating: "ab", count: 32)
        let sources = [
            "a", "a:1", "a:2", "a@\(digest)", "a:1@\(digest)", "x/a:1", "registry.example/a:1",
            "registry.example:5000/a:1", "registry.example/a/b:1", "localhost/a:1",
            "oci:\(directory.path)/oci", "oci:\(directory.path)/oci:1", "oci:\(directory.path)/oci:v/1",
            "oci-archive:\(directory.path)/image.tar",
            "oci-archive:\(directory.path)/image.tar:1", "docker-archive:\(directory.path)/image.tar",
            "docker-archive:\(directory.path)/image.tar:repo/name:1",
        ]
        var paths = try sources.map { try Workshop.key($0).path }
        paths.append(try Workshop.key("a:1", platform: "linux/s390x").path)
        paths.append(try Workshop.key("a:1", platform: "linux/arm/v6").path)
        paths.append(try Workshop.key("a:1", platform: "linux/arm/v7").path)
        // Characters that could form another name or platform.
        for tag in ["a/b", "a%2Fb", "a+linux-s390x", "a%2Blinux-s390x"] {
            paths.append(try Workshop.key("oci:\(directory.path)/oci:\(tag)").path)
            paths.append(try Workshop.key("oci:\(directory.path)/oci:\(tag)", platform: "linux/s390x").path)
        }
        let odd = [("arm-v7", nil), ("arm", "v7"), ("arm/v7", nil), ("arm+v7", nil), ("arm%2Dv7", nil)]
        for (architecture, variant) in odd.dropFirst(2) + odd.prefix(1) {
            let platform = Platform(os: "linux", architecture: architecture, variant: variant)
            paths.append(try ImageKey(try ImageSource(parsing: "a:1"), platform: platform).path)
        }
        // With a digest, the tag does not matter.
        #expect(try Workshop.key("a@\(digest)") == Workshop.key("a:1@\(digest)"))
        #expect(Set(paths).count == paths.count - 1, "\(paths)")
        #expect(try Workshop.key("a") == Workshop.key("docker.io/library/a:latest"))
        #expect(try Workshop.key("a", platform: "linux/\(Platform.host.architecture)") == Workshop.key("a"))
        for path in paths {
            #expect(
                !path.split(separator: "/", omittingEmptySubsequences: false).contains {
                    ["", ".", ".."].contains($0)
                }, "\(path)")
        }
    }

    /// The record has the name of the first pull; the key of an archive has only stat(2) fields.
    @Test func anArchiveIsShownByItsPathThoughItsContentsWereThere() throws {
        let shop = try Workshop()
        let store = try shop.open()
        try Workshop.addLayer(11, to: store)
        let digest = try Workshop.digest(1)
        let record = try Workshop.record(1, layers: [11], name: "docker://docker.io/library/a:1")
        try store.publish(record, manifest: [1], config: [2], names: [try Workshop.key("a:1")])
        let file = try shop.directory.write("tar", to: "image.tar")
        let key = try Workshop.key("oci-archive:\(file):v1")
        try store.name(digest, [key])
        let names = ["docker.io/library/a:1", "oci-archive:\(file):v1"]
        #expect(try store.images().map(\.names) == [names])
        #expect(try store.image(digest)?.names == names)
        #expect(try store.digest(of: key) == digest)
        // Renaming changes the change time, so this is another name next to the first.
        try FileManager.default.moveItem(atPath: file, toPath: file + ".old")
        let moved = try Workshop.key("oci-archive:\(file).old:v1")
        #expect(moved != key)
        try store.name(digest, [moved])
        #expect(try store.images().map(\.names) == [["docker.io/library/a:1", "oci-archive:\(file).old:v1", names[1]]])
    }

    /// A name must not be a directory of another one: `a:1` next to `a/b:1`.
    @Test func namesThatPrefixOthersLiveSideBySide() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let keys = try ["r.io/a:1", "r.io/a/b:1", "r.io/a/b/c:1", "r.io/a:b", "a:1"].map { try Workshop.key($0) }
        for (number, key) in keys.enumerated() {
            try store.publish(try Workshop.record(UInt8(number + 1)), manifest: [], config: [], names: [key])
        }
        for (number, key) in keys.enumerated() {
            #expect(try store.digest(of: key) == Workshop.digest(UInt8(number + 1)))
        }
    }

    @Test func aTagMayComeToMeanAnotherImage() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let key = try Workshop.key("a:1")
        for byte in [UInt8(1), 2, 1, 3] {
            try store.publish(try Workshop.record(byte), manifest: [], config: [], names: [key])
            #expect(try store.digest(of: key) == Workshop.digest(byte))
        }
        #expect(try shop.names("images").count == 3)
    }

    @Test func aChangedLocalFileIsAnotherImage() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("tar", to: "image.tar")
        let before = try Workshop.key("oci-archive:\(path)")
        #expect(try Workshop.key("oci-archive:\(path)") == before)
        try directory.write("rat and more", to: "image.tar")
        #expect(try Workshop.key("oci-archive:\(path)") != before)
        #expect(
            throws: StoreError.source(
                path: "/nonexistent", SystemError(call: "stat", errno: 2, subject: "/nonexistent"))
        ) {
            try Workshop.key("oci-archive:/nonexistent")
        }
    }

    @Test func anImageThatIsThereStaysAsItIs() throws {
        let shop = try Workshop()
        let store = try shop.open()
        var record = try Workshop.record(1, name: "first")
        try store.publish(record, manifest: [1], config: [], names: [])
        record.name = "second"
        try store.publish(record, manifest: [2], config: [], names: [])
        #expect(try there(try store.lease(record.digest)).record.name == "first")
        #expect(try shop.names("drafts") == [])
    }

    @Test func manyMayPublishAndLookUpAtOnce() throws {
        let shop = try Workshop()
        _ = try shop.open()
        let key = try Workshop.key("a:1")
        try concurrently(64) { number in
            let store = try shop.open()
            try store.publish(try Workshop.record(UInt8(number % 4)), manifest: [], config: [], names: [key])
            // Whichever image it refers to, the image is complete.
            guard try isThere(store.lease(key)) else { throw TestSupportError("the name leads nowhere") }
        }
        #expect(try shop.names("images").count == 4)
        #expect(try shop.names("drafts") == [])
    }

    // MARK: Damage

    @Test(arguments: ["garbage", "sha256:00", "sha256:../../etc", "\u{0}"]) func aNameThatHoldsNoDigestIsDamaged(
        _ text: String
    ) throws {
        let shop = try Workshop()
        let store = try shop.open()
        let key = try Workshop.key("a:1")
        try store.publish(try Workshop.record(1), manifest: [], config: [], names: [key])
        try shop.directory.write(text, to: "parent/store/refs/" + key.path)
        #expect(throws: StoreError.damaged(path: shop.path + "/refs/" + key.path, reason: "not a digest")) {
            _ = try store.lease(key)
        }
    }

    @Test func aNameOfAnImageThatIsGoneIsNone() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let key = try Workshop.key("a:1")
        try store.publish(try Workshop.record(1), manifest: [], config: [], names: [key])
        try OwnedFileDescriptor(opening: shop.path + "/images", [.readOnly, .directory]).removeTree(
            try Workshop.digest(1).directoryName)
        #expect(try !isThere(store.lease(key)))
    }

    @Test(arguments: ["berth-launch-record 2\n", "berth-launch-record 1\ndigest=sha256:00\u{0}", "\u{7F}ELF"])
    func aDamagedRecordIsNamed(_ text: String) throws {
        let shop = try Workshop()
        let store = try shop.open()
        let record = try Workshop.record(1)
        try store.publish(record, manifest: [], config: [], names: [])
        let place = "images/\(record.digest.directoryName)/record"
        try shop.directory.write(text, to: "parent/store/" + place)
        #expect(
            throws: StoreError.damaged(path: "\(shop.path)/\(place)", reason: "not a launch record of this version")
        ) { _ = try store.lease(record.digest) }
    }

    @Test func aLinkAmongTheNamesLeadsNowhere() throws {
        let shop = try Workshop()
        let store = try shop.open()
        try shop.directory.write(try Workshop.digest(1).description, to: "outside")
        try shop.directory.link("parent/store/refs/docker/docker.io/library/a/:1", to: "../../../../../../../outside")
        let key = try Workshop.key("a:1")
        var found: Digest?
        do { found = try store.digest(of: key) } catch {}
        #expect(found == nil)
    }

    // MARK: Leases and collection

    @Test func whatHasNoNameIsCollectedWithItsLayersUnlessItRuns() throws {
        let shop = try Workshop()
        let store = try shop.open()
        for byte in UInt8(10)...13 { try Workshop.addLayer(byte, to: store) }
        let (kept, gone, running) = try (
            Workshop.record(1, layers: [10, 11]), Workshop.record(2, layers: [10, 12]), Workshop.record(3, layers: [13])
        )
        try store.publish(kept, manifest: [], config: [], names: [try Workshop.key("kept:1")])
        try store.publish(gone, manifest: [], config: [], names: [])
        try store.publish(running, manifest: [], config: [], names: [])
        do {
            let lease = try there(try store.lease(running.digest))
            var found = try store.collect()
            #expect(found.bytes > 0)
            found.bytes = 0
            #expect(found == Collected(images: 1, layers: 1, rootfs: 0, inUse: 1))
            #expect(try Set(shop.names("images")) == Set([kept, running].map(\.digest.directoryName)))
            #expect(
                try store.hasLayer(Workshop.digest(10)) && store.hasLayer(Workshop.digest(13))
                    && !store.hasLayer(Workshop.digest(12)))
            withExtendedLifetime(lease.box) {}
        }
        var removed = Collected()
        let isGone = try soon {
            let round = try store.collect()
            removed.images += round.images
            removed.layers += round.layers
            return round == Collected()
        }
        #expect(isGone)
        #expect(removed == Collected(images: 1, layers: 1))
        #expect(try isThere(store.lease(try Workshop.key("kept:1"))))
    }

    @Test func aLayerThatAPullHasJustFoundIsSpared() throws {
        let shop = try Workshop()
        let store = try shop.open()
        try Workshop.addLayer(10, to: store)
        do {
            let pulling = try store.beginPulling()
            #expect(try store.collect() == Collected())
            withExtendedLifetime(pulling) {}
        }
        #expect(try soon { try store.collect().layers == 1 })
    }

    @Test func aNameTakenAwayLeavesTheImageToTheOthers() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let record = try Workshop.record(1)
        let (one, other) = try (Workshop.key("a:1"), Workshop.key("b:1"))
        let pinned = try Workshop.key("a@\(record.digest)")
        try store.publish(record, manifest: [], config: [], names: [one, other, pinned])
        #expect(try store.removeName(one))
        #expect(try !store.removeName(one))
        #expect(try store.collect().images == 0)
        #expect(try isThere(store.lease(other)))
        #expect(try store.removeName(other))
        // Users did not give the digest as a name.
        #expect(try store.collect().images == 1)
        #expect(try !isThere(store.lease(pinned)))
    }

    /// For `berth rmi`: the name of an archive stays when the file is changed or removed.
    @Test func namesOfArchivesAreFoundWhateverBecameOfTheFile() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let path = try shop.directory.write("one", to: "image.tar")
        let name = "oci-archive:" + path
        let old = try Workshop.key(name)
        try store.publish(try Workshop.record(1), manifest: [], config: [], names: [old])
        try shop.directory.write("another", to: "image.tar")
        let new = try Workshop.key(name)
        let foreign = try Workshop.key(name, platform: "linux/riscv64")
        try store.publish(
            try Workshop.record(2), manifest: [], config: [], names: [new, foreign, try Workshop.key("a:1")])
        try FileManager.default.removeItem(atPath: path)
        let found = try store.localNames { $0 == name }
        #expect(Set(found.map(\.key)) == [old, new, foreign])
        #expect(
            try Set(found.filter { $0.key.isFor(.host) }.map(\.digest)) == [Workshop.digest(1), Workshop.digest(2)])
        let other = try Platform(parsing: "linux/riscv64")
        #expect(foreign.isFor(other) && !new.isFor(other))
        #expect(try store.localNames { $0 == name + "x" }.isEmpty)
        let hex = try Workshop.digest(1).hex
        #expect(try store.digests(beginningWith: String(hex.prefix(12))) == [try Workshop.digest(1)])
        #expect(try store.digests(beginningWith: "ffffffffffff").isEmpty)
        try store.removeNames([old], of: try Workshop.digest(1))
        #expect(try store.collect().images == 1)
    }

    @Test func anImageInUseIsKnown() throws {
        let shop = try Workshop()
        let store = try shop.open()
        try store.publish(try Workshop.record(1), manifest: [], config: [], names: [try Workshop.key("a:1")])
        #expect(try soon { try store.useLease(of: try Workshop.digest(1)) == nil })
        let lease = try store.lease(try Workshop.digest(1))
        #expect(try ImageStore.open(creating: shop.path).useLease(of: try Workshop.digest(1)) != nil)
        _ = consume lease
        #expect(try store.useLease(of: try Workshop.digest(9)) == nil)
    }

    /// What runs an image keeps it from being collected, whatever becomes of the image's documents in between.
    @Test(arguments: [true, false]) func aRepairLeavesTheLeaseToThoseWhoHoldIt(_ isWhole: Bool) throws {
        let shop = try Workshop()
        let store = try shop.open()
        try Workshop.addLayer(7, to: store)
        let (record, key) = (try Workshop.record(1, layers: [7]), try Workshop.key("a:1"))
        let place = "parent/store/images/\(record.digest.directoryName)"
        try store.publish(record, manifest: [1], config: [2], names: [key])
        do {
            let lease = try there(try store.lease(record.digest))
            try shop.directory.write("garbage", to: place + (isWhole ? "/manifest.json" : "/record"))
            _ = try Command([
                "chmod", "g+w", shop.directory.path + "/" + place, shop.directory.path + "/" + place + "/lease",
            ]).run()
            try store.publish(record, manifest: [1], config: [2], names: [key], replacing: isWhole)
            #expect(try store.documents(of: record.digest)?.manifest == [1])
            #expect(try isThere(store.lease(record.digest)))
            #expect(
                try shop.names("images/\(record.digest.directoryName)") == [
                    "config.json", "lease", "manifest.json", "names", "record",
                ])
            let collected = try store.collect(includingNamed: true)
            #expect((collected.images, collected.layers, collected.inUse) == (0, 0, 1))
            withExtendedLifetime(lease.box) {}
        }
        #expect(try soon { try store.collect(includingNamed: true).images == 1 })
    }

    @Test func aChangeOfModesTakesNoLease() throws {
        let shop = try Workshop()
        let store = try shop.open()
        let record = try Workshop.record(1)
        try store.publish(record, manifest: [], config: [], names: [try Workshop.key("a:1")])
        let lease = try there(try store.lease(record.digest))
        #expect(try Command(["chmod", "-R", "g+w", shop.path + "/images"]).run().status == 0)
        _ = try Command(["chmod", "g-w", shop.path + "/images"]).run()
        let collected = try store.collect(includingNamed: true)
        #expect((collected.images, collected.inUse) == (0, 1))
        withExtendedLifetime(lease.box) {}
    }

    @Test(arguments: ["image", "summary"]) func aDamagedLayerStaysAsLongAsAContainerUsesIt(_ holder: String) throws {
        let shop = try Workshop()
        let store = try shop.open()
        try Workshop.addLayer(7, to: store)
        let (record, layer) = (try Workshop.record(1, layers: [7]), try Workshop.digest(7))
        try store.publish(record, manifest: [], config: [], names: [try Workshop.key("a:1")])
        let held =
            holder == "image"
            ? try there(try store.lease(record.digest)).box
            : try FileLocks.hold("\(shop.path)/layers/\(layer.directoryName)/summary", .shared)
        let error = StoreError.inUse(path: "\(shop.path)/layers/\(layer.directoryName)")
        #expect(throws: error) { try store.forgetDamagedLayer(layer) }
        if holder == "image" {
            _ = try Command(["rm", "\(shop.path)/layers/\(layer.directoryName)/summary"]).run()
            #expect(throws: error) { _ = try store.draftLayer(layer) }
        }
        #expect(try shop.names("layers/\(layer.directoryName)").contains("tree"))
        withExtendedLifetime(held) {}
    }

    @Test func imagesAreListedWithTheirNames() throws {
        let shop = try Workshop()
        let store = try shop.open()
        var record = try Workshop.record(1)
        record.created = 5
        try store.publish(
            record, manifest: [], config: [], names: try ["r.io/a/b:1", "debian:12"].map { try Workshop.key($0) })
        record.digest = try Workshop.digest(2)
        record.created = 6
        try store.publish(record, manifest: [], config: [], names: [])
        #expect(try store.images().map(\.names) == [[], ["docker.io/library/debian:12", "r.io/a/b:1"]])
    }
}

@Suite struct LaunchRecordTests {
    static let hostile = [
        "", " ", "=", "a=b=c", "line\nline", "tab\tcr\r", "\r\n", "ü✓🚢", "\u{FEFF}bom", "e\u{301}", "digest=sha256:x",
        "\u{1}\u{7F}", String(repeating: "x", count: 100_000),
    ]

    static func full() throws -> LaunchRecord {
        LaunchRecord(
            digest: try Workshop.digest(1), platform: Platform(os: "linux", architecture: "arm", variant: "v7"),
            trees: ["layers/a/tree", "layers/b/tree"], overlay: false,
            compositionReason: "whiteouts", environment: ["A=1", "B="], entrypoint: ["/e", ""], command: ["c"],
            user: "web:ssl", workingDirectory: "/w", name: "img:1",
            size: .max, entries: 7, created: -1)
    }

    @Test func everythingComesBack() throws {
        let record = try Self.full()
        #expect(LaunchRecord(decoding: record.encoded) == record)
    }

    @Test(arguments: hostile) func anythingAnImageMaySayComesBack(_ text: String) throws {
        var record = try Self.full()
        record.environment = [text, "X=" + text, text]
        record.entrypoint = [text, "a"]
        record.command = ["a", text]
        record.user = text
        record.workingDirectory = text
        record.name = text
        #expect(LaunchRecord(decoding: record.encoded) == record)
    }

    @Test func aNulEndsAValueAndForgesNoField() throws {
        var record = try Self.full()
        record.user = "web\u{0}digest=sha256:" + String(repeating: "0", count: 64)
        record.environment = ["A=1\u{0}tree=/etc"]
        let back = try #require(LaunchRecord(decoding: record.encoded))
        #expect(back.user == "web")
        #expect(back.environment == ["A=1"])
        #expect(back.digest == record.digest)
        #expect(back.trees == record.trees)
    }

    @Test func fieldsOfALaterVersionArePassedOver() throws {
        let record = try Self.full()
        #expect(LaunchRecord(decoding: record.encoded + Array("colour=red\u{0}".utf8)) == record)
    }

    @Test func everythingShorterIsRefusedOrWhole() throws {
        let record = try Self.full()
        let bytes = record.encoded
        for count in 0..<bytes.count {
            guard let part = LaunchRecord(decoding: Array(bytes[..<count])) else { continue }
            // The record ends between two fields, and has all required ones.
            #expect(part.digest == record.digest && part.platform == record.platform && !part.trees.isEmpty)
            #expect(bytes[count - 1] == 0)
        }
    }

    @Test(arguments: [
        "", "x", "berth-launch-record 1\n", "berth-launch-record 1\n\u{0}", "berth-launch-record 1\nnofield\u{0}",
    ]) func whatIsNoRecordIsRefused(_ text: String) {
        #expect(LaunchRecord(decoding: Array(text.utf8)) == nil)
    }

    @Test func withoutDigestPlatformOrTreeItIsNone() throws {
        let text = String(decoding: try Self.full().encoded, as: UTF8.self)
        for field in ["digest=", "platform=", "tree="] {
            let fields = text.split(separator: "\u{0}").filter {
                !$0.hasPrefix(field) && !$0.hasPrefix("berth-launch-record 1\n" + field)
            }
            let head = "berth-launch-record 1\n"
            let kept = fields.map { $0.hasPrefix(head) ? String($0.dropFirst(head.count)) : String($0) }.joined(
                separator: "\u{0}")
            #expect(LaunchRecord(decoding: Array((head + kept + "\u{0}").utf8)) == nil, "\(field)")
        }
    }
}
