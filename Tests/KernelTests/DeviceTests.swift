import Foundation
import TestSupport
import Testing

/// CDI specifications and the driver's libraries, in real containers: with a made-up /dev and a made-up driver, as no
/// GPU is needed to see whether a program finds a library.
@Suite(.needsLauncher) struct DeviceTests {
    /// The launcher with `berth-image` where it looks for it.
    final class Installed: Sendable {
        let place: TemporaryDirectory
        let box: Box
        var berth: String { place.path + "/bin/berth" }

        init(_ caller: Caller) throws {
            place = try TemporaryDirectory()
            box = try Box(caller)
            try place.makeDirectory("bin")
            try FileManager.default.copyItem(atPath: box.fixture.berth, toPath: berth)
            if let rich = DeviceTests.rich { try place.link("libexec/berth/berth-image", to: rich) }
            try box.directory.makeDirectory("cdi")
            try box.directory.write("cdi-directory = \(box.path("cdi"))\n", to: "berth.conf")
            // Where records are kept; `dir:` images need no store otherwise.
            try box.directory.write("berth-store 1\n", to: "store/version")
            box.give("store")
        }

        func run(
            _ options: [String] = [], command: [String], setup: String = "", environment: [String: String] = [:]
        ) throws -> Ended {
            let words = box.caller.running(
                [berth, "run", "--store", box.path("store")] + options + [box.image, "--"] + command)
            guard !setup.isEmpty else {
                return try Command(
                    words, environment: box.environment.merging(environment) { $1 }, directory: box.directory.path
                ).run()
            }
            return try Command(
                ["unshare", "-m", "sh", "-ec", setup + "\nexec \"$@\"", "sh"] + words,
                environment: box.environment.merging(environment) { $1 }, directory: box.directory.path
            ).run()
        }

        /// A root file system with a C library and `/bin/main`, which exits with what `answer()` of a library says that
        /// the image lacks: `soname` in a directory that no loader looks into by itself.
        func makeProgram(soname: String, file: String) throws {
            let script = """
                mkdir -p host rootfs/lib64 rootfs/usr/lib rootfs/etc; ln -sfn usr/lib rootfs/lib
                echo 'int answer(void) { return 42; }' > a.c; echo 'int answer(void); int main(void) { return answer(); }' > m.c
                cc -shared -fPIC -Wl,-soname,\(soname) -o host/\(file) a.c
                cc -o rootfs/bin/main m.c host/\(file)
                loader=$(readelf -l rootfs/bin/main | sed -n 's/.*interpreter: \\(.*\\)]/\\1/p')
                mkdir -p rootfs$(dirname $loader); cp -L $loader rootfs$loader
                cp -L $(LD_LIBRARY_PATH=host ldd rootfs/bin/main | sed -n 's/.*libc.so.6 => \\([^ ]*\\).*/\\1/p') rootfs/usr/lib/libc.so.6
                """
            let made = try Command(["sh", "-ec", script], directory: box.directory.path).run()
            try #require(made.status == 0, "\(made)")
            box.give("rootfs")
        }
    }

    static let rich: String? = {
        let path = packageRoot() + "/build/libexec/berth/berth-image"
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }()

    static let hasRich = rich != nil

    // MARK: CDI

    @Test(.enabled(if: hasRich, "no built berth-image: run Scripts/build"), arguments: Caller.all)
    func aProgramFindsWhatASpecificationBrings(_ caller: Caller) throws {
        let installed = try Installed(caller)
        let box = installed.box
        try installed.makeProgram(soname: "libvendor.so.1", file: "libvendor.so.1.2.3")
        try box.directory.write("", to: "host/data/file")
        try box.directory.write(
            """
            cdiVersion: 0.7.0
            kind: vendor.com/thing
            containerEdits:
              env: [SPEC=1]
              hooks:
              - {hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, update-ldcache, --folder, /opt/vendor/lib]}
              - {hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, create-symlinks, --link, "../x::/opt/vendor/lib/deep/y"]}
              mounts:
              - {hostPath: \(box.path("host/libvendor.so.1.2.3")), containerPath: /opt/vendor/lib/libvendor.so.1.2.3, options: [ro, nosuid, nodev, rbind, rprivate]}
            devices:
            - name: one
              containerEdits:
                env: [DEVICE=one, PATH=/weaker]
                additionalGids: [4242]
                deviceNodes: [{path: /dev/vendor/one, hostPath: /dev/null}, {path: /dev/null}]
                mounts: [{hostPath: \(box.path("host/data")), containerPath: /data, options: [rbind]}]
            """, to: "cdi/vendor.yaml")
        let options = ["--device", "vendor.com/thing=one"]
        let ran = try installed.run(options, command: ["/bin/main"])
        #expect(ran.status == 42, "\(ran) \(ran.errors)")
        let seen = try installed.run(
            options + ["-e", "SPEC=mine"],
            command: [
                "/bin/probe", "env", "SPEC", "DEVICE", "--", "ls", "/data", "/opt/vendor/lib", "--", "open",
                "/dev/vendor/one",
            ])
        #expect(seen.status == 0, "\(seen) \(seen.errors)")
        #expect(seen.output.contains("SPEC=mine") && seen.output.contains("DEVICE=one"), "\(seen)")
        #expect(seen.output.contains("/opt/vendor/lib: deep libvendor.so.1 libvendor.so.1.2.3"), "\(seen)")
        #expect(seen.output.contains("/data: file") && seen.output.contains("/dev/vendor/one: ok"), "\(seen)")
        // Kept for the next time, and only for its owner.
        let kept = try FileManager.default.contentsOfDirectory(atPath: box.path("store/devices"))
        #expect(kept.count == 1 && kept[0].hasPrefix("cdi-\(caller.user)~"), "\(kept)")
        // Nothing of it without the option, nor in the image.
        #expect(try installed.run(command: ["/bin/main"]).status == 127)
        #expect(!box.directory.exists("rootfs/opt") && !box.directory.exists("rootfs/etc/ld.so.cache"))
        // The plan names file, line and device.
        let plan = try installed.run(["--dry-run"] + options, command: ["/bin/main"])
        #expect(
            plan.output.contains("[cdi: \(box.path("cdi/vendor.yaml")):14 vendor.com/thing=one]")
                || plan.output.contains("vendor.yaml:"), "\(plan)")
    }

    @Test(.enabled(if: hasRich, "no built berth-image: run Scripts/build")) func aRecordIsMadeAnewWhereAFileChanges()
        throws
    {
        let installed = try Installed(Caller.all[Caller.all.count - 1])
        let box = installed.box
        func write(_ value: String) throws {
            try box.directory.write(
                #"{"cdiVersion":"0.6.0","kind":"v.com/c","devices":[{"name":"d","containerEdits":{"env":["A=\#(value)"]}}]}"#,
                to: "cdi/v.json")
        }
        func value() throws -> Ended {
            try installed.run(["--device", "v.com/c=d"], command: ["/bin/probe", "env", "A"])
        }
        try write("first")
        #expect(try value().output.contains("A=first"))
        // A record of the same name that somebody else wrote is not believed.
        let kept = try FileManager.default.contentsOfDirectory(atPath: box.path("store/devices"))
        let record = box.path("store/devices/" + (try #require(kept.first)))
        let bytes = try #require(FileManager.default.contents(atPath: record))
        let forged = String(decoding: bytes, as: UTF8.self).replacingOccurrences(of: "A=first", with: "A=forge")
        try forged.write(toFile: record, atomically: false, encoding: .utf8)
        #expect(try value().output.contains("A=forge"), "the record is not used at all")
        if Caller.isRoot {
            chmod(record, 0o666)
            #expect(try value().output.contains("A=first"))
        }
        try write("second")
        #expect(try value().output.contains("A=second"))
    }

    @Test(.enabled(if: hasRich, "no built berth-image: run Scripts/build")) func whatCanNotBeDoneIsSaid() throws {
        let installed = try Installed(Caller.all[Caller.all.count - 1])
        let box = installed.box
        func failure(_ spec: String, _ device: String = "v.com/c=d") throws -> String {
            try box.directory.write("cdiVersion: 1.1.0\nkind: v.com/c\n" + spec, to: "cdi/v.yaml")
            let ended = try installed.run(["--device", device], command: ["/bin/probe", "exit"])
            #expect(ended.status == 125, "\(ended) \(ended.errors)")
            return ended.errors
        }
        let good = "devices: [{name: d, containerEdits: {env: [A=B]}}]"
        #expect(try failure(good, "v.com/c=e").contains("there is no CDI device v.com/c=e"))
        #expect(try failure(good, "v.com/x=d").contains("no CDI specification of this host"))
        let broken = try failure("devices: [{name: d, containerEdits: {env: [A]}}]")
        #expect(broken.contains("not of the form NAME=VALUE") && broken.contains("v.yaml:3"))
        #expect(
            try failure("devices: [{name: d, containerEdits: {mounts: [{hostPath: /nonexistent, containerPath: /x}]}}]")
                .contains("/nonexistent"))
        #expect(
            try failure("devices: [{name: d, containerEdits: {deviceNodes: [{path: /dev/null, type: b}]}}]")
                .contains("is not the device"))
        #expect(
            try failure("devices: [{name: d, containerEdits: {hooks: [{hookName: prestart, path: /bin/true}]}}]")
                .contains("cdi-hook = /bin/true"))
    }

    @Test(.enabled(if: hasRich, "no built berth-image: run Scripts/build"), arguments: Caller.all)
    func hooksThatTheSiteAllowsRunWithNothingButTheirOwn(_ caller: Caller) throws {
        let installed = try Installed(caller)
        let box = installed.box
        try box.directory.makeDirectory("out", mode: 0o777)
        try box.directory.write(
            """
            #!/bin/sh
            /bin/cat > \(box.path("out/state")); /usr/bin/env > \(box.path("out/env")); echo "$@" > \(box.path("out/args"))
            test "$FAIL" = yes && exit 7
            test -n "$SLEEP" && exec /bin/sleep 60
            exit 0
            """, to: "hook", mode: 0o755)
        let hook = box.path("hook")
        func spec(_ env: String, _ more: String = "") throws {
            try box.directory.write(
                "cdiVersion: 1.0.0\nkind: v.com/c\ndevices: [{name: d, containerEdits: {hooks: [{hookName: createContainer, path: \(hook), "
                    + "args: [hook, a, \"b c\"], env: [\(env)]\(more)}]}}]", to: "cdi/v.yaml")
        }
        try box.directory.write("cdi-directory = \(box.path("cdi"))\ncdi-hook = \(hook)\n", to: "berth.conf")
        func run() throws -> Ended {
            try installed.run(
                ["--device", "v.com/c=d"], command: ["/bin/probe", "exit"],
                environment: ["LD_PRELOAD": "", "SECRET": "x"])
        }
        try spec("HOOK=1")
        let ran = try run()
        #expect(ran.status == 0, "\(ran) \(ran.errors)")
        let state = try #require(box.directory.text("out/state"))
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(state.utf8)) as? [String: Any])
        #expect(
            parsed["status"] as? String == "creating" && parsed["root"] is String && parsed["pid"] is Int, "\(state)")
        #expect(box.directory.text("out/args") == "a b c\n")
        let environment = try #require(box.directory.text("out/env"))
        #expect(environment.contains("HOOK=1") && !environment.contains("SECRET"), "\(environment)")
        try spec("FAIL=yes")
        let failed = try run()
        #expect(failed.status == 125 && failed.errors.contains("exited with status 7"), "\(failed) \(failed.errors)")
        try spec("SLEEP=1", ", timeout: 1")
        let slow = try run()
        #expect(slow.status == 125 && slow.errors.contains("timed out"), "\(slow) \(slow.errors)")
    }

    /// Granted GPUs need no option: their devices are found by their nodes.
    @Test(.enabled(if: hasRich, "no built berth-image: run Scripts/build"), .needsRoot, arguments: Caller.all)
    func grantedGPUsBringTheirDevices(_ caller: Caller) throws {
        let installed = try Installed(caller)
        let box = installed.box
        try box.directory.makeDirectory("dev")
        let devices = """
            mount -t tmpfs -o mode=755 tmpfs dev && cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev/
            mkdir -p dev/shm dev/pts dev/dri
            mknod -m 666 dev/nvidia0 c 195 0; mknod -m 600 dev/nvidia1 c 195 1; chown 12345 dev/nvidia1
            mknod -m 666 dev/nvidiactl c 195 255; mknod -m 666 dev/dri/renderD128 c 226 128
            mount --rbind dev /dev
            """
        try box.directory.write(
            """
            cdiVersion: 0.5.0
            kind: nvidia.com/gpu
            containerEdits:
              env: [NVIDIA_VISIBLE_DEVICES=void]
              deviceNodes: [{path: /dev/nvidiactl}]
            devices:
            - name: "0"
              containerEdits:
                env: [GPU0=yes]
                deviceNodes: [{path: /dev/nvidia0}, {path: /dev/dri/renderD128}]
                hooks: [{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, chmod, --mode, "711", --path, /dev/dri]}]
            - name: "1"
              containerEdits: {deviceNodes: [{path: /dev/nvidia1}]}
            - name: all
              containerEdits: {deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia1}]}
            """, to: "cdi/nvidia.yaml")
        let probe = ["/bin/probe", "ls", "/dev/dri", "--", "env", "GPU0", "--", "stat", "/dev/dri"]
        let only = ["--gpus", "device=0"]
        let ran = try installed.run(only, command: probe, setup: devices)
        #expect(ran.status == 0, "\(ran) \(ran.errors)")
        #expect(ran.output.contains("/dev/dri: renderD128") && ran.output.contains("GPU0=yes"), "\(ran)")
        #expect(ran.output.contains("711"), "\(ran)")
        let none = try installed.run(
            ["--gpus", "none"], command: ["/bin/probe", "ls", "/dev/dri", "/dev"], setup: devices)
        #expect(!none.output.contains("renderD128") && !none.output.contains("nvidia"), "\(none)")
        if caller == .ordinary {
            // Of another's GPU not even by name.
            let other = try installed.run(["--device", "nvidia.com/gpu=all"], command: probe, setup: devices)
            #expect(
                other.status == 125 && other.errors.contains("/dev/nvidia1, which was not granted"),
                "\(other) \(other.errors)")
        }
    }

    // MARK: Without CDI

    /// A driver that only the host's loader cache knows, and a program of the image that needs it.
    @Test(
        .needsRoot,
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/sbin/ldconfig"), "needs glibc's ldconfig"),
        arguments: Caller.all)
    func aProgramFindsTheDriver(_ caller: Caller) throws {
        let installed = try Installed(caller)
        let box = installed.box
        try installed.makeProgram(soname: "libcuda.so.1", file: "libcuda.so.550.54.15")
        try box.directory.makeDirectory("dev")
        let setup = """
            echo "$PWD/host" > ld.conf; /sbin/ldconfig -f "$PWD/ld.conf" -C "$PWD/ld.cache"
            mount --bind ld.cache /etc/ld.so.cache
            mount -t tmpfs -o mode=755 tmpfs dev && cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev/
            mkdir -p dev/shm dev/pts; mknod -m 666 dev/nvidia0 c 195 0; mknod -m 666 dev/nvidiactl c 195 255
            mount --rbind dev /dev
            """
        let ran = try installed.run(command: ["/bin/main"], setup: setup)
        #expect(ran.status == 42, "\(ran) \(ran.errors)")
        let seen = try installed.run(
            command: ["/bin/probe", "ls", "/usr/local/nvidia/lib64"], setup: setup)
        #expect(
            seen.output == "/usr/local/nvidia/lib64: libcuda.so libcuda.so.1 libcuda.so.550.54.15\n",
            "\(seen) \(seen.errors)")
        // What the image asks for, and what takes away.
        let utility = try installed.run(
            ["-e", "NVIDIA_DRIVER_CAPABILITIES=utility"], command: ["/bin/main"], setup: setup)
        #expect(utility.status == 127, "\(utility)")
        let void = try installed.run(
            ["-e", "NVIDIA_VISIBLE_DEVICES=void"], command: ["/bin/probe", "ls", "/dev"], setup: setup)
        #expect(!void.output.contains("nvidia"), "\(void)")
        // An image's newer libraries, where it has some: those of another major version than the driver's.
        let compat =
            "mkdir -p rootfs/usr/local/cuda/compat; echo 'int answer(void) { return 43; }' > c.c; "
            + "cc -shared -fPIC -Wl,-soname,libcuda.so.1 -o rootfs/usr/local/cuda/compat/libcuda.so.560.1 c.c; "
            + "ln -sf libcuda.so.560.1 rootfs/usr/local/cuda/compat/libcuda.so.1"
        _ = try Command(["sh", "-ec", compat], directory: box.directory.path).run()
        if caller == .ordinary {
            // An administrator's directories, in which nothing can be made: the image runs, with what it has.
            #expect(try installed.run(command: ["/bin/probe", "exit"], setup: setup).status == 0)
        }
        box.give("rootfs")
        #expect(try installed.run(command: ["/bin/main"], setup: setup).status == 43)
        #expect(!box.directory.exists("rootfs/etc/ld.so.cache"))
    }

    /// CVE-2024-0132, CVE-2025-23359. An image whose directories are links out of the container: nothing of ours may be written there.
    @Test(.enabled(if: hasRich, "no built berth-image: run Scripts/build"), arguments: Caller.all)
    func linksOfTheImageLeadNoFileOut(_ caller: Caller) throws {
        let installed = try Installed(caller)
        let box = installed.box
        let outside = try TemporaryDirectory()
        chmod(outside.path, 0o777)
        // /tmp is the host's inside.
        let inTmp = "/tmp/berth-device-test-\(getpid())-\(caller)"
        try FileManager.default.createDirectory(atPath: inTmp, withIntermediateDirectories: true)
        chmod(inTmp, 0o777)
        defer { try? FileManager.default.removeItem(atPath: inTmp) }
        try box.directory.link("rootfs/opt", to: inTmp)
        try box.directory.write("x", to: "host/file")
        try box.directory.write(
            """
            cdiVersion: 0.6.0
            kind: v.com/c
            devices:
            - name: d
              containerEdits:
                hooks: [{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, create-symlinks, --link, "a::/opt/b"]}]
                mounts: [{hostPath: \(box.path("host/file")), containerPath: /opt/file, options: [ro, bind]}]
            """, to: "cdi/v.yaml")
        _ = try installed.run(["--device", "v.com/c=d"], command: ["/bin/probe", "exit"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: inTmp) == [])
    }

    // MARK: Slurm without ConstrainDevices

    /// Every GPU opens, and Slurm's lists count by PCI address: order 0 to 3 is node 2, 0, 3, 1.
    @Test(
        .needsRoot, .enabled(if: FileManager.default.fileExists(atPath: "/proc/driver"), "needs /proc/driver"),
        arguments: Caller.all)
    func SlurmsNumbersLeadToNodes(_ caller: Caller) throws {
        let installed = try Installed(caller)
        let box = installed.box
        try box.directory.makeDirectory("dev")
        for (index, minor) in [2, 0, 3, 1].enumerated() {
            try box.directory.write(
                "Model: \t X\nGPU UUID: \t GPU-\(index)\(index)-x\nDevice Minor: \t \(minor)\n",
                to: "driver/nvidia/gpus/0000:0\(index):00.0/information")
        }
        let setup = """
            mount --bind driver /proc/driver
            mount -t tmpfs -o mode=755 tmpfs dev && cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev/
            mkdir -p dev/shm dev/pts; mknod -m 666 dev/nvidiactl c 195 255
            for n in 0 1 2 3; do mknod -m 666 dev/nvidia$n c 195 $n; done
            mount --rbind dev /dev
            """
        let slurm = ["SLURM_JOB_ID": "7", "SLURM_STEP_GPUS": "0,3", "CUDA_VISIBLE_DEVICES": "3,0"]
        func seen(_ options: [String] = [], _ environment: [String: String]) throws -> [String] {
            let ended = try installed.run(
                options, command: ["/bin/probe", "ls", "/dev", "--", "env", "CUDA_VISIBLE_DEVICES"], setup: setup,
                environment: environment)
            try #require(ended.lines.count == 2, "\(ended) \(ended.errors)")
            let nodes = ended.lines[0].split(separator: " ").filter { $0.hasPrefix("nvidia") && $0 != "nvidiactl" }
            return nodes.map(String.init) + [ended.lines[1]]
        }
        #expect(try seen([], slurm) == ["nvidia1", "nvidia2", "CUDA_VISIBLE_DEVICES=1,0"])
        // Counted by PCI address, as Slurm does; CUDA would count the fastest first. Who says otherwise is heard.
        func order(_ options: [String], _ environment: [String: String]) throws -> String {
            try installed.run(
                options, command: ["/bin/probe", "env", "CUDA_DEVICE_ORDER"], setup: setup, environment: environment
            ).output
        }
        #expect(try order([], slurm) == "CUDA_DEVICE_ORDER=PCI_BUS_ID\n")
        #expect(try order(["-e", "CUDA_DEVICE_ORDER=FASTEST_FIRST"], slurm) == "CUDA_DEVICE_ORDER=FASTEST_FIRST\n")
        #expect(try order([], ["CUDA_VISIBLE_DEVICES": "2"]) == "CUDA_DEVICE_ORDER unset\n")
        // Of these the second by PCI address, which is node 1; a list counts what is left.
        #expect(try seen(["--gpus", "device=1"], slurm) == ["nvidia1", "CUDA_VISIBLE_DEVICES=0"])
        #expect(try seen(["--gpus", "GPU-00"], slurm) == ["nvidia2", "CUDA_VISIBLE_DEVICES=0"])
        #expect(try seen(["-e", "NVIDIA_VISIBLE_DEVICES=1,7"], slurm) == ["nvidia1", "CUDA_VISIBLE_DEVICES=0"])
        // All of them; and no job at all.
        #expect(
            try seen([], ["SLURM_JOB_ID": "7", "SLURM_STEP_GPUS": "0,1,2,3", "CUDA_VISIBLE_DEVICES": "2"]).count == 5)
        #expect(try seen([], ["CUDA_VISIBLE_DEVICES": "2"]).last == "CUDA_VISIBLE_DEVICES=2")
        let other = try installed.run(
            ["--gpus", "GPU-22-x"], command: ["/bin/probe", "exit"], setup: setup, environment: slurm)
        #expect(other.status == 125 && other.errors.contains("no granted GPU matches"), "\(other) \(other.errors)")
    }

    // MARK: PyTorch

    @Test func PyTorchsVariablesAreSetWhereTheyAreAskedFor() throws {
        let box = try Box(Caller.all[Caller.all.count - 1])
        let slurm = [
            "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_LOCALID": "0", "SLURM_NODEID": "3",
            "SLURM_STEP_NODELIST": "n[7-9],m1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
            "RANK": "mine",
        ]
        let words = ["MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK"]
        let asked = try box.command(["--profile", "pytorch"], probe: ["env"] + words, environment: slurm).run()
        #expect(
            asked.lines == ["MASTER_ADDR=n7", "MASTER_PORT=61077", "WORLD_SIZE=4", "RANK=3", "LOCAL_RANK=0"],
            "\(asked) \(asked.errors)")
        let not = try box.command(probe: ["env"] + words, environment: slurm).run()
        #expect(!not.output.contains("MASTER_ADDR=n7"), "\(not)")
        let image = try box.command(["-e", "BERTH_PROFILE=pytorch"], probe: ["env"] + words, environment: slurm).run()
        #expect(image.output.contains("MASTER_ADDR=n7"), "\(image)")
    }
}
