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

    /// What only the plugin calls is called by others, too: nothing outside of the container's directory is touched.
    @Test(arguments: ["..", ".", "../../victim", "a/b", "", "x:never"]) func aNameThatLeadsElsewhereIsRefused(_ name: String) throws {
        let box = try Box(.ordinary)
        try box.directory.write("kept", to: "home/victim/file")
        box.give("home")
        for verb in ["slurm-save --root=3 --to=$HERE/home/saved", "slurm-check", "slurm-prepare --socket=3"] {
            let ended = try box.shell(
                "exec 3<rootfs && exec $BERTH \(verb) '--name=\(name)' -- --store $HERE/home/st/s ./rootfs").run()
            #expect(ended.status == 125 && ended.errors.contains("can not be named"), "\(verb): \(ended)")
        }
        #expect(box.directory.text("home/victim/file") == "kept")
        #expect(!FileManager.default.fileExists(atPath: box.path("home/st")))
    }

    @Test(arguments: ["--timeout=18446744073709551615", "--tasks=-5", "--tasks=99999999999999999999"])
    func numbersOutOfRangeAreNoTrap(_ word: String) throws {
        let box = try Box(.ordinary)
        let ended = try box.shell("exec 3</dev/null && exec $BERTH slurm-prepare --socket=3 \(word) -- ./nowhere").run()
        #expect(ended.status == 125 && ended.signal == nil, "\(ended)")
    }
}
