import Foundation
import TestSupport
import Testing

/// Simulates a power failure after a pull: a file system on a loop device is shut down by the ioctl(2) of file systems'
/// own crash tests, and mounted again with another boot ID.
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

    /// `neighbour`: dirty MB of another process, so that the pull does not flush. In half of the cases, names reach the
    /// disk, but file contents do not.
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
        // Visible images must be complete, and after a pull, all images. The removal of a mark may not have reached the
        // disk.
        if lines[0] == "unsettled" { #expect(lines[1] == "images 0", "\(ended)") }
        if lines[1] != "images 0" { #expect(lines[1...2] == ["images 1", "same"], "\(ended)") }
        print("\(kind), \(lines[0]), names committed \(areNamesCommitted): \(lines[1]), files \(lines[2])")
        #expect(lines[3...4] == ["whole", "images 1"], "\(ended)")
    }
}
