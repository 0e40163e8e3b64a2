import Foundation
import Testing
import TestSupport

/// Images that are files or directories of this node: a leading `/` or `./` names them, and their content says what they are.
@Suite(.needsLauncher) struct PathImageTests {
    static let hasSquashfs = ["mksquashfs", "unsquashfs"].allSatisfy {
        FileManager.default.isExecutableFile(atPath: "/usr/bin/" + $0)
    }

    /// A SIF file of version 01 with these partitions, each a kind of file system and of partition, in the order given.
    static func sif(_ partitions: [(fileSystem: Int32, kind: Int32, bytes: [UInt8])]) -> [UInt8] {
        func number(_ value: some FixedWidthInteger) -> [UInt8] {
            withUnsafeBytes(of: value.littleEndian) { Array($0) }
        }
        let table = 4096
        var offset = 65536
        var (descriptors, data): ([UInt8], [UInt8]) = ([], [])
        for (index, part) in partitions.enumerated() {
            descriptors +=
                number(Int32(0x4004)) + [1] + number(UInt32(index + 1)) + number(UInt32(1)) + number(UInt32(0))
            descriptors += number(Int64(offset)) + number(Int64(part.bytes.count)) + number(Int64(part.bytes.count))
            descriptors += [UInt8](repeating: 0, count: 32) + [UInt8](repeating: 0x41, count: 128)
            descriptors += number(part.fileSystem) + number(part.kind) + [UInt8](repeating: 0, count: 376)
            data += part.bytes
            offset += part.bytes.count
        }
        var file = Array("#!/usr/bin/env run-singularity\n".utf8)
        file += [UInt8](repeating: 0, count: 32 - file.count)
        file += Array("SIF_MAGIC\0".utf8) + Array("01\0".utf8) + Array("02\0".utf8) + [UInt8](repeating: 7, count: 16)
        file +=
            number(Int64(0)) + number(Int64(0)) + number(Int64(48 - partitions.count)) + number(Int64(partitions.count))
        file +=
            number(Int64(table)) + number(Int64(descriptors.count)) + number(Int64(65536)) + number(Int64(data.count))
        file += [UInt8](repeating: 0, count: table - file.count) + descriptors
        file += [UInt8](repeating: 0, count: 65536 - file.count)
        return file + data
    }

    static func squash(_ box: Box) throws {
        let ended = try Command(
            [
                "/usr/bin/mksquashfs", box.rootfs, box.path("image.sqsh"), "-all-root", "-noappend", "-quiet",
                "-no-progress",
            ]
        ).run()
        try #require(ended.status == 0, "\(ended)")
    }

    @Test(.enabled(if: hasSquashfs, "needs squashfs-tools"), arguments: Caller.all)
    func aSquashfsFileIsUnpackedOnceAndRuns(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("A=1\n", to: "rootfs/etc/environment")
        try Self.squash(box)
        for name in ["./image.sqsh", box.path("image.sqsh"), "image.sqsh"] {
            let ended = try box.run(berth: ["run", "--store", box.path("home/store"), name, "--", "probe", "env", "A"])
            #expect(ended.status == 0 && ended.output.contains("1"), "\(name): \(ended)")
        }
        let trees = try Command(["sh", "-c", "ls -d '\(box.path("home/store"))'/squashfs/*/tree | wc -l"]).run()
        #expect(trees.output == "1\n", "\(trees)")
        // Closed to others, who could write to files of mode 666 in it.
        let mode = try Command(["stat", "-c", "%a", box.path("home/store")]).run()
        #expect(mode.output == (caller == .root ? "755\n" : "700\n"), "\(mode)")
    }

    /// Nothing is written: no store, no tree.
    @Test(.enabled(if: hasSquashfs, "needs squashfs-tools"), arguments: Caller.all)
    func aDryRunUnpacksNothing(_ caller: Caller) throws {
        let box = try Box(caller)
        try Self.squash(box)
        let words = ["--store", box.path("home/store"), "./image.sqsh", "--", "true"]
        let text = try box.run(berth: ["run", "--dry-run"] + words)
        #expect(text.status == 0 && text.errors.contains("would be unpacked first"), "\(text)")
        let configuration = try box.run(berth: ["run", "--dry-run=oci"] + words)
        #expect(configuration.status == 125 && configuration.errors.contains("not unpacked yet"), "\(configuration)")
        #expect(!FileManager.default.fileExists(atPath: box.path("home/store")))
    }

    @Test(.enabled(if: hasSquashfs, "needs squashfs-tools"), arguments: Caller.all)
    func theSquashfsPartitionOfASIFFileRuns(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write(
            """
            #!/bin/sh
            export PATH="${PATH:-"/usr/bin:/bin"}"
            export MODEL="${MODEL:-"a \\"b\\" \\$c"}"
            touch /evil

            """, to: "rootfs/.singularity.d/env/10-docker2singularity.sh")
        try box.directory.write("#!/bin/sh\n", to: "rootfs/.singularity.d/runscript")
        try Self.squash(box)
        let squashfs = try Data(contentsOf: URL(fileURLWithPath: box.path("image.sqsh")))
        // A writable layer in front, as Apptainer adds one.
        let file = Self.sif([(2, 4, [UInt8](repeating: 3, count: 4096)), (1, 2, Array(squashfs))])
        try Data(file).write(to: URL(fileURLWithPath: box.path("image.sif")))
        let words = ["run", "--store", box.path("home/store"), "./image.sif", "--", "probe", "env", "MODEL"]
        let ended = try box.run(berth: words)
        #expect(ended.status == 0 && ended.output.contains("a \"b\" $c"), "\(ended)")
        let own = try box.run(berth: words, environment: ["MODEL": "mine"])
        #expect(own.status == 0 && own.output.contains("mine"), "\(own)")
    }

    /// One process unpacks; the others wait and say for whom, and not for longer than they may.
    @Test(.enabled(if: hasSquashfs, "needs squashfs-tools"), arguments: Caller.all)
    func aFileThatAnotherProcessUnpacksIsWaitedFor(_ caller: Caller) throws {
        let box = try Box(caller)
        try Self.squash(box)
        let store = box.path("home/store")
        let words = ["run", "--store", store, "./image.sqsh", "--", "probe", "env", "HOME"]
        #expect(try box.run(berth: words).status == 0)
        // As if the file had not been unpacked yet.
        let cleared = try Command(["sh", "-c", "chmod -R u+w \(store)/squashfs; rm -r \(store)/squashfs/*; ls \(store)/locks"]).run()
        let lock = try #require(cleared.output.split(separator: "\n").first { $0.hasPrefix("squashfs-") }, "\(cleared)")
        var held = Optional(try FileLocks.hold("\(store)/locks/\(lock)", .exclusive))
        let late = try box.shell("exec 3</dev/null; exec $BERTH slurm-prepare --socket=3 --timeout=0 -- --store \(store) $HERE/image.sqsh").run()
        #expect(late.status == 125 && late.errors.contains("is unpacking"), "\(late)")
        let waiting = try box.command(berth: words).start()
        try waiting.until("the note") { $0.complained.contains("waiting: ") }
        withExtendedLifetime(held) {}
        held = nil
        let ended = try waiting.wait()
        #expect(ended.status == 0 && ended.errors.contains("is unpacking \(box.path("image.sqsh"))"), "\(ended)")
    }

    @Test(.enabled(if: hasSquashfs, "needs squashfs-tools"), arguments: Caller.all)
    func anUnpackThatFailsLeavesNothing(_ caller: Caller) throws {
        let box = try Box(caller)
        try Self.squash(box)
        // The tables at the end are whole, and blocks of files are not.
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: box.path("image.sqsh")))
        try file.seek(toOffset: 96)
        try file.write(contentsOf: Data(repeating: 0xFF, count: 4096))
        try file.close()
        let ended = try box.run(berth: ["run", "--store", box.path("home/store"), "./image.sqsh", "--", "true"])
        #expect(ended.status == 125 && ended.errors.contains("cannot unpack"), "\(ended)")
        let left = try FileManager.default.contentsOfDirectory(atPath: box.path("home/store/squashfs"))
        #expect(left == [])
    }

    @Test(
        arguments: [
            ([(2, 2, [UInt8](repeating: 0, count: 64))], "not squashfs"), ([(5, 2, [1, 2, 3, 4])], "encrypted"),
            ([(1, 2, [1, 2, 3, 4])], "damaged"), ([], "no root file system"), ([(1, 3, Array("hsqs".utf8))], "no root"),
        ] as [([(Int32, Int32, [UInt8])], String)])
    func aSIFFileThatCannotRunIsRefusedWithTheReason(
        _ parts: [(fileSystem: Int32, kind: Int32, bytes: [UInt8])], _ reason: String
    ) throws {
        let box = try Box(.ordinary)
        try Data(Self.sif(parts)).write(to: URL(fileURLWithPath: box.path("image.sif")))
        let ended = try box.run(berth: ["run", "./image.sif", "--", "true"])
        #expect(ended.status == 125 && ended.errors.contains(reason) && ended.errors.contains("image.sif"), "\(ended)")
    }

    /// Tables of contents that lie.
    @Test(arguments: [88, 96], [UInt64.max, 1 << 62, 5000]) func aHostileSIFHeaderIsAnError(
        _ place: Int, _ value: UInt64
    ) throws {
        let box = try Box(.ordinary)
        var file = Self.sif([(1, 2, Array("hsqs".utf8))])
        withUnsafeBytes(of: value.littleEndian) { file.replaceSubrange(place..<(place + 8), with: $0) }
        try Data(file).write(to: URL(fileURLWithPath: box.path("image.sif")))
        let ended = try box.run(berth: ["run", "./image.sif", "--", "true"])
        #expect(ended.status == 125, "\(ended)")
    }

    @Test(arguments: Caller.all) func aDirectoryIsARootFileSystem(_ caller: Caller) throws {
        let box = try Box(caller)
        for name in ["./rootfs", box.rootfs, "rootfs/../rootfs/."] {
            let path = name.hasPrefix("rootfs") ? "./" + name : name
            let ended = try box.run(berth: ["run", path, "--", "probe", "env", "HOME"])
            #expect(ended.status == 0, "\(path): \(ended)")
        }
    }

    /// Which of the stored kinds it is, `--dry-run` needs the image for; the error names it.
    @Test func layoutsAndArchivesAreKnownByTheirContent() throws {
        let box = try Box(.ordinary)
        try box.directory.write("{\"imageLayoutVersion\":\"1.0.0\"}", to: "layout/oci-layout")
        try box.directory.write("{}", to: "layout/index.json")
        try box.directory.write("[]", to: "saved/manifest.json")
        try box.directory.write("x", to: "other/file")
        for (name, more) in [("layout", ""), ("saved", ""), ("other", "")] {
            let ended = try Command(["tar", "-C", box.path(name), "-cf", box.path(name + ".tar"), "."]).run()
            try #require(ended.status == 0, "\(ended) \(more)")
        }
        for name in ["./layout", "./layout.tar", "./saved.tar"] {
            let ended = try box.run(berth: ["run", "--pull", "never", name, "--", "true"])
            #expect(ended.status == 125 && ended.errors.contains("is not in the store"), "\(name): \(ended)")
        }
        let other = try box.run(berth: ["run", "./other.tar", "--", "true"])
        #expect(other.status == 125 && other.errors.contains("holds neither an OCI layout"), "\(other)")
        let absent = try box.run(berth: ["run", "./absent", "--", "true"])
        #expect(absent.status == 125 && absent.errors.contains("absent"), "\(absent)")
        let pipe = try Command(["mkfifo", box.path("pipe")]).run()
        try #require(pipe.status == 0)
        let ended = try box.run(berth: ["run", "./pipe", "--", "true"])
        #expect(ended.status == 125 && ended.errors.contains("pipe"), "\(ended)")
    }

    /// A tar file is read from end to end to tell its kind, unless the store has an image of it.
    @Test func anArchiveThatTheStoreHasIsNotReadForItsKind() throws {
        let box = try Box(.ordinary)
        try box.directory.write("x", to: "other/file")
        _ = try Command(["tar", "-C", box.path("other"), "-cf", box.path("a.tar"), "."]).run()
        let words = ["run", "--pull", "never", "--store", box.path("home/store"), "./a.tar", "--", "true"]
        let unknown = try box.run(berth: words)
        #expect(unknown.status == 125 && unknown.errors.contains("holds neither an OCI layout"), "\(unknown)")
        var status = stat()
        try #require(stat(box.path("a.tar"), &status) == 0)
        let (modified, changed) = (status.st_mtim, status.st_ctim)
        let key =
            "\(status.st_dev)-\(status.st_ino)-\(status.st_size)-\(modified.tv_sec).\(modified.tv_nsec)"
            + "-\(changed.tv_sec).\(changed.tv_nsec)"
        try box.directory.write("berth-store 1\n", to: "home/store/version")
        let digest = "sha256:" + String(repeating: "a", count: 64)
        try box.directory.write(digest + "\n", to: "home/store/refs/docker-archive/\(key)/:latest")
        let known = try box.run(berth: words)
        #expect(known.status == 125 && known.errors.contains("is not in the store"), "\(known)")
    }

    /// A later step may have another working directory.
    @Test func aRelativePathBehindASchemeIsMadeAbsolute() throws {
        let box = try Box(.ordinary)
        for name in ["dir:rootfs", "dir:./rootfs", "./rootfs"] {
            let ended = try box.run(berth: ["run", name, "--", "probe", "env", "BERTH_IMAGE"])
            #expect(ended.output.contains((name.hasPrefix("dir:") ? "dir:" : "") + box.rootfs), "\(name): \(ended)")
        }
    }

    /// Behind the colon the image tool would read a tag, and perhaps run another image.
    @Test func aColonInTheNameOfALayoutIsRefused() throws {
        let box = try Box(.ordinary)
        for name in ["l:x", "l"] {
            try box.directory.write("{}", to: name + "/oci-layout")
            try box.directory.write("{}", to: name + "/index.json")
        }
        let ended = try box.run(berth: ["run", "./l:x", "--", "true"])
        #expect(ended.status == 125 && ended.errors.contains("colon"), "\(ended)")
    }
}
