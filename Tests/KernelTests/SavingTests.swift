import Foundation
import Testing
import TestSupport

/// `berth slurm-save --to=PATH`, as the plugin starts it: the container's root is open already.
@Suite(.needsLauncher) struct SavingTests {
    /// The programs that it starts read by the descriptor it was given.
    @Test(arguments: Caller.all) func filesAreSavedToADirectory(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("kept\n", to: "rootfs/etc/note")
        box.give("rootfs")
        let ended = try box.shell("exec 3<rootfs && exec $BERTH slurm-save --to=$HERE/home/saved --root=3 --").run()
        #expect(ended.status == 0, "\(ended)")
        #expect(box.directory.text("home/saved/etc/note") == "kept\n")
        #expect(try FileManager.default.contentsOfDirectory(atPath: box.path("home")) == ["saved"])
    }

    /// On another file system than `/`, where the draft has to go as well.
    @Test(
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/mksquashfs"), "needs squashfs-tools"),
        arguments: Caller.all)
    func filesAreSavedToASquashfsFile(_ caller: Caller) throws {
        let box = try Box(caller)
        let place = "/dev/shm/saving-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: place) }  // what is left is small
        _ = try Command(["chown", "\(caller.user):\(caller.group)", place]).run()
        let ended = try box.shell("exec 3<rootfs && exec $BERTH slurm-save --to=\(place)/image.sqsh --root=3 --").run()
        #expect(ended.status == 0, "\(ended)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: place) == ["image.sqsh"])
    }
}
