import Foundation
import TestSupport
import Testing

/// A disk that loses power behind a pull: a file system of its own on a loop device, cut off from it by the shutdown
/// ioctl(2) that file systems' own crash tests use, and mounted again under another boot's number.
@Suite(.serialized, .enabled(if: Program.isBuilt)) struct PowerCutTests {
    static let isPossible: Bool = {
        let tools = ["/usr/bin/python3", "/dev/loop-control"]
        let missing = tools.filter { !FileManager.default.fileExists(atPath: $0) }
        if Program.isRoot, missing.isEmpty { return true }
        FileHandle.standardError.write(
            Data("\n*** SKIPPED: cutting the power needs root, and \(missing.joined(separator: " "))\n\n".utf8))
        return false
    }()

    static let cases = ["ext4", "xfs"].flatMap { kind in
        [(kind, 0, true), (kind, 0, false), (kind, 150, true), (kind, 150, false)]
    }

    /// `neighbour`: MB that somebody else has written and not waited for, so that the pull does not wait either. In half of
    /// the cases names come to the disk, and what the files hold does not.
    @Test(.enabled(if: isPossible), arguments: cases)
    func whatIsVisibleAfterwardsIsWhole(_ kind: String, _ neighbour: Int, _ areNamesCommitted: Bool) throws {
        guard LoopDisk.isThere(kind) else { return }
        let scene = try Scene(.sample(layers: 2, files: 60))
        let script = """
            \(LoopDisk.script(kind))
            head -c \(neighbour)m /dev/zero >neighbour
            "$@" pull -q --store "$PWD/disk/store" "$SOURCE" >/dev/null
            find disk/store -name boot | grep -q . && echo unsettled || echo settled
            \(areNamesCommitted ? "echo x | dd of=disk/other conv=fsync status=none" : "")
            content() { (cd disk/store/layers && find . -path '*/tree/*' -type f -exec sha256sum {} + | sort | sha256sum); }
            content >before
            python3 -c 'import fcntl, os, struct; fcntl.ioctl(os.open("disk", os.O_RDONLY), 0x8004587D, struct.pack("I", 2))'
            umount disk
            cat /proc/sys/kernel/random/uuid >boot_id
            mount --bind boot_id /proc/sys/kernel/random/boot_id
            mount -o loop disk.img disk
            echo images $("$@" images -q --store "$PWD/disk/store" 2>&1 | wc -l)
            content >after 2>/dev/null || true
            cmp -s before after && echo same || echo different
            "$@" pull -q --if-missing --store "$PWD/disk/store" "$SOURCE" >/dev/null
            content >again
            cmp before again && echo whole
            "$@" prune --store "$PWD/disk/store" >/dev/null
            echo images $("$@" images -q --store "$PWD/disk/store" | wc -l)
            find disk/store -name boot
            umount disk
            """
        var command = try Program.command(
            [], home: scene.place.path, through: ["unshare", "-m", "/bin/sh", "-ec", script, "sh"],
            environment: ["SOURCE": scene.source()])
        command.directory = scene.place.path
        let ended = try command.run()
        let lines = ended.lines
        try #require(ended.status == 0 && lines.count == 5, "\(ended)")
        // Whatever the power cut left: what is to be seen is whole, and afterwards everything is. That a mark was taken away
        // may not have come to the disk.
        if lines[0] == "unsettled" { #expect(lines[1] == "images 0", "\(ended)") }
        if lines[1] != "images 0" { #expect(lines[1...2] == ["images 1", "same"], "\(ended)") }
        print("\(kind), \(lines[0]), names committed \(areNamesCommitted): \(lines[1]), files \(lines[2])")
        #expect(lines[3...4] == ["whole", "images 1"], "\(ended)")
    }
}
