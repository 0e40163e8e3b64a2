import Foundation
import ImageSpec
import TestSupport
import Testing

/// Stores on local file systems, in memory and on FUSE. `Tests/FileSystemTests` tests network file systems in a virtual
/// machine.
@Suite(.serialized, .enabled(if: Program.isBuilt && Program.isRoot, "mounts: root only")) struct FileSystemTests {
    static let kinds = ["ext4", "xfs", "btrfs", "f2fs", "tmpfs", "locked", "fuse"]

    /// As an ordinary user: a stacked image, a flattened one, and the view from a container.
    @Test(.enabled(if: KillTests.launcher != nil, "needs a built berth"), arguments: kinds)
    func anImageIsUnpackedJoinedAndRun(_ kind: String) throws {
        guard LoopDisk.isThere(kind) else { return }
        let scene = try Scene(.sample(layers: 2, files: 40))
        try scene.add(.sample(layers: 2, files: 10, isFlattened: true), "flat")
        try scene.add(Self.runnable(), "run")
        let script = """
            \(LoopDisk.script(kind))
            mkdir disk/home bin
            cp \(try #require(KillTests.launcher)) bin/berth
            mkdir -p libexec/berth && cp "$1" libexec/berth/berth-image
            chmod 755 . disk
            chmod -R go+rX bin libexec layout
            chown 1500:1500 disk/home
            as() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$PWD/disk/home" BERTH_CONFIG=/dev/null BERTH_STORE="$PWD/disk/home/store" \\
              setpriv --reuid=1500 --regid=1500 --clear-groups "$@"; }
            # Each twice at once: one of them brings it, and both succeed.
            for tag in one flat; do
              as bin/berth pull "oci:$PWD/layout/$tag" >/dev/null 2>one & pulls=$!
              as bin/berth pull "oci:$PWD/layout/$tag" >/dev/null 2>two || { cat one two >&2; exit 1; }
              wait $pulls || { cat one two >&2; exit 1; }
              cat one two | grep -c ' pulled, ' || :
            done
            for tag in one flat; do as bin/berth inspect "oci:$PWD/layout/$tag" | grep -c compositionReason || :; done
            as bin/berth run -q "oci:$PWD/layout/run" -- /bin/busybox sh -c \\
              'cd /d && busybox rm below && echo x >new && busybox ls . && ! test -e hidden && echo gone'
            as bin/berth rmi -q "oci:$PWD/layout/one" "oci:$PWD/layout/flat"
            as bin/berth prune --all >/dev/null
            ls disk/home/store/drafts disk/home/store/layers | grep sha256 || echo empty
            umount disk
            """
        var command = try Program.command(
            [], home: scene.place.path, through: ["unshare", "-m", "/bin/sh", "-ec", script, "sh"])
        command.directory = scene.place.path
        let ended = try command.run()
        let lines = ended.lines
        #expect(Array(lines.prefix(7)) == ["1", "1", "0", "1", "kept", "new", "gone"], "\(ended)")
        // FUSE locks are local, so recently used images are not collected.
        let left = lines.dropFirst(7)
        #expect(
            kind == "fuse" ? left.count >= 5 && left.allSatisfy { $0.hasPrefix("sha256-") } : left == ["empty"],
            "\(ended)")
        #expect(ended.status == 0, "\(ended)")
    }

    /// ext4 checks the inodes of recently removed files for each new file, so layers must be in separate block groups.
    @Test func onExt4LayersLieApart() throws {
        guard LoopDisk.isThere("ext4") else { return }
        let scene = try Scene(.sample(layers: 6, files: 3, largest: 1000))
        let script = """
            truncate -s 200m disk.img
            # Groups as small as they can be, each for itself.
            mkfs.ext4 -q -F -b 4096 -g 4096 -O ^flex_bg disk.img
            mkdir disk
            mount -o loop disk.img disk
            "$@" --store "$PWD/disk/store" "$SOURCE" >/dev/null
            each=$(dumpe2fs -h disk.img 2>/dev/null | sed -n 's/^Inodes per group: *//p')
            for tree in disk/store/layers/*/tree; do echo $((($(stat -c %i $tree) - 1) / each)); done | sort -u | wc -l
            umount disk
            """
        var command = try Program.command(
            ["pull"], home: scene.place.path, through: ["unshare", "-m", "/bin/sh", "-ec", script, "sh"])
        command.directory = scene.place.path
        let ended = try command.run(with: ["SOURCE": scene.source("one")])
        #expect(ended.status == 0 && (ended.lines.last.flatMap { Int($0) } ?? 0) > 1, "\(ended)")
    }

    /// busybox, with a directory in which the upper layer hides a file.
    static func runnable() throws -> LocalImage {
        let busybox = try #require(["/bin/busybox", "/usr/bin/busybox"].compactMap(FileManager.default.contents).first)
        var lower = TarWriter()
        lower.add(.init(name: Array("bin/".utf8), mode: 0o755, type: UInt8(ascii: "5")))
        lower.add(.init(name: Array("bin/busybox".utf8), mode: 0o755, size: Int64(busybox.count)), Array(busybox))
        lower.end()
        let below: [Item] = [.dir("d"), .file("d/below", "b"), .file("d/hidden", "h"), .file("d/kept", "k")]
        return LocalImage(layers: [lower.bytes, archive(below), archive([.dir("d"), .file("d/.wh.hidden")])])
    }

    /// An exceeded quota at any point. btrfs returns EDQUOT itself.
    @Test(arguments: ["100k", "400k", "1m", "2m", "3m"]) func aQuotaLeavesNothingHalf(_ limit: String) throws {
        guard LoopDisk.isThere("btrfs") else { return }
        let scene = try Scene(.sample())
        let script = """
            \(LoopDisk.script("btrfs"))
            btrfs quota enable disk
            btrfs subvolume create disk/user >/dev/null
            btrfs qgroup limit \(limit) disk/user
            set +e
            "$@" --store "$PWD/disk/user/store" "$SOURCE" >/dev/null 2>err
            echo status $?
            echo drafts $(ls disk/user/store/drafts 2>/dev/null | wc -l)
            echo images $(ls disk/user/store/images 2>/dev/null | wc -l)
            btrfs qgroup limit none disk/user
            "$@" --store "$PWD/disk/user/store" "$SOURCE" >/dev/null 2>err2
            echo again $?
            echo images $(ls disk/user/store/images | wc -l)
            umount disk
            """
        var command = try Program.command(
            ["pull", "-q"], home: scene.place.path, through: ["unshare", "-m", "/bin/sh", "-ec", script, "sh"],
            environment: ["SOURCE": scene.source()])
        command.directory = scene.place.path
        let ended = try command.run()
        let told = scene.place.text("err") ?? ""
        let context: Comment = "\(limit): \(ended)\n\(told)\(scene.place.text("err2") ?? "")"
        #expect(ended.lines == ["status 125", "drafts 0", "images 0", "again 0", "images 1"], context)
        #expect(told.hasPrefix("berth: ") && told.contains("(EDQUOT)") && told.contains("hint: "), context)
    }
}
