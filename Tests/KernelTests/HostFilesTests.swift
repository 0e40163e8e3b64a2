import Foundation
import TestSupport
import Testing

/// What a host with GPUs and a fabric brings into an image that knows nothing of either, from a pulled image to a running
/// program. Devices and drivers are made up; the files, mounts and loaders are real.
@Suite(.needsLauncher) struct HostFilesTests {
    /// Two layers that overlayfs can not join, as the second has a hard link into the first; no variable of NVIDIA's.
    static let archive = """
        import io, json, hashlib, os, sys, tarfile
        root, out = sys.argv[1:3]
        def layer(fill):
            data = io.BytesIO()
            with tarfile.open(fileobj=data, mode="w") as tar: fill(tar)
            return data.getvalue()
        def linked(tar):
            entry = tarfile.TarInfo("etc/linked"); entry.type = tarfile.LNKTYPE; entry.linkname = "etc/passwd"
            tar.addfile(entry)
        layers = [layer(lambda tar: tar.add(root, ".")), layer(linked)]
        digests = ["sha256:" + hashlib.sha256(data).hexdigest() for data in layers]
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        config = json.dumps({"architecture": machine, "os": "linux", "config": {"Cmd": ["/bin/main"]},
                             "rootfs": {"type": "layers", "diff_ids": digests}}).encode()
        manifest = json.dumps([{"Config": "config.json", "RepoTags": ["t:1"], "Layers": ["0.tar", "1.tar"]}]).encode()
        with tarfile.open(out, "w") as tar:
            for name, data in [("0.tar", layers[0]), ("1.tar", layers[1]), ("config.json", config), ("manifest.json", manifest)]:
                entry = tarfile.TarInfo(name); entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        """

    @Test(
        .needsFakeDevices, .enabled(if: DeviceTests.hasRich, "no built berth-image: run Scripts/build"),
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/sbin/ldconfig"), "needs glibc's ldconfig"),
        arguments: Caller.all)
    func aPulledAndFlattenedImageGetsTheDriver(_ caller: Caller) throws {
        let installed = try DeviceTests.Installed(caller)
        let box = installed.box
        try installed.makeProgram(soname: "libcuda.so.1", file: "libcuda.so.550.54.15")
        let packed = try Command(["python3", "-c", Self.archive, box.rootfs, box.path("image.tar")]).run()
        try #require(packed.status == 0, "\(packed)")
        func run(_ options: [String], _ command: [String]) throws -> Ended {
            let words = caller.running(
                [installed.berth, "run", "-q", "--store", box.path("home/pulled")] + options
                    + ["docker-archive:" + box.path("image.tar")] + command)
            // A host whose loader knows a driver.
            let script = """
                echo "$PWD/host" > ld.conf; /sbin/ldconfig -f "$PWD/ld.conf" -C "$PWD/ld.cache"
                mount --bind ld.cache /etc/ld.so.cache; exec "$@"
                """
            return try FakeDevices(nodes: FakeDevices.gpus(1)).around(
                Command(
                    ["sh", "-ec", script, "sh"] + words, environment: box.environment, directory: box.directory.path)
            ).run()
        }
        let ran = try run([], [])
        #expect(ran.status == 42, "\(ran) \(ran.errors)")
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: box.path("home/pulled/rootfs")).count == 1,
            "not flattened")
        let seen = try run(
            ["-e", "A=1"],
            [
                "--", "/bin/probe", "ls", "/usr/local/nvidia/lib64", "--", "cat", "/etc/linked", "--", "write",
                "/etc/linked", "x", "--", "env", "NVIDIA_VISIBLE_DEVICES",
            ])
        #expect(
            seen.output.hasPrefix("/usr/local/nvidia/lib64: libcuda.so libcuda.so.1 libcuda.so.550.54.15\nroot:x:0:0")
                && seen.output.hasSuffix("/etc/linked: ok\nNVIDIA_VISIBLE_DEVICES unset\n"), "\(seen) \(seen.errors)")
        // Without a GPU there is nothing of it.
        #expect(try run(["--gpus", "none"], []).status == 127)
    }

    // MARK: Fabrics

    /// A host with EFA and a topology file, as a cloud has them, and a site that brings its plugin along.
    @Test(.needsFakeDevices, .enabled(if: FileManager.default.fileExists(atPath: "/sys/class")), arguments: Caller.all)
    func aHostWithEFABringsWhatItsLibrariesNeed(_ caller: Caller) throws {
        let box = try Box(caller)
        let port = "class/infiniband/rdmap0/ports/1/state"
        for (name, text) in [
            ("class/infiniband_verbs/uverbs0/ibdev", "rdmap0\n"), (port, "4: ACTIVE\n"), ("topology.xml", "<system/>"),
            ("ofi/libnccl-net-ofi.so", ""), ("verbs.d/efa.driver", "driver efa\n"),
        ] { try box.directory.write(text, to: name) }
        for place in ["infiniband_verbs/uverbs0", "infiniband/rdmap0"] {
            try box.directory.link("class/\(place)/device/driver", to: "../../../../bus/pci/drivers/efa")
        }
        try box.directory.link("ofi/libnccl-net.so", to: "libnccl-net-ofi.so")
        let site = """
            fabric-mount = efa \(box.path("verbs.d")) /etc/libibverbs.d
            fabric-variable = efa NCCL_BUFFSIZE=8388608
            """
        try box.directory.write(site, to: "berth.conf")
        let script = """
            mount --bind class /sys/class
            mount -t tmpfs tmpfs /run; mkdir -p /run/nvidia-topologyd; cp topology.xml /run/nvidia-topologyd/virtualTopology.xml
            exec "$@"
            """
        func run(_ options: [String], _ probe: [String]) throws -> Ended {
            var command = box.command(["-q"] + options, probe: probe)
            command.arguments = ["sh", "-ec", script, "sh"] + command.arguments
            return try FakeDevices(nodes: FakeDevices.verbs).around(command).run()
        }
        let names = ["FI_EFA_USE_HUGE_PAGE", "FI_PROVIDER", "NCCL_SOCKET_IFNAME", "NCCL_BUFFSIZE", "RDMAV_FORK_SAFE"]
        let seen = try run(
            // An ordinary user's memlock is the machine's; root's does not count.
            caller == .root ? ["--require", "efa"] : [],
            ["env"] + names + [
                "--", "cat", "/var/run/nvidia-topologyd/virtualTopology.xml", "/etc/libibverbs.d/efa.driver",
            ])
        #expect(seen.status == 0, "\(seen)")
        #expect(
            seen.output
                == "FI_EFA_USE_HUGE_PAGE=0\nFI_PROVIDER=efa\nNCCL_SOCKET_IFNAME=^docker,lo,veth\nNCCL_BUFFSIZE=8388608\n"
                + "RDMAV_FORK_SAFE unset\n<system/>driver efa\n", "\(seen)")
        // The user's word is stronger; with another fabric, or none, there is none of it.
        #expect(try run(["-e", "FI_PROVIDER=tcp"], ["env", "FI_PROVIDER"]).output == "FI_PROVIDER=tcp\n")
        // Where loopback is the only interface NCCL must be let use it.
        #expect(
            try run(["--unshare", "net"], ["env", "FI_PROVIDER", "NCCL_SOCKET_IFNAME"]).output
                == "FI_PROVIDER=efa\nNCCL_SOCKET_IFNAME unset\n")
        let none = try run(["--fabric", "none"], ["env"] + names + ["--", "ls", "/dev"])
        #expect(none.output.hasPrefix(names.map { $0 + " unset\n" }.joined()), "\(none)")
        #expect(!none.output.contains("infiniband"))
        // What NCCL opens for it is missing, then brought along.
        let missing = try run(["--require", "nccl"], ["exit"])
        #expect(missing.status == 125, "\(missing)")
        #expect(missing.errors.contains("the container lacks libnccl-net.so"), "\(missing)")
        #expect(missing.errors.contains("for rdmap0: NCCL would use TCP"), "\(missing)")
        try box.directory.write(site + "\nfabric-library = efa \(box.path("ofi/libnccl-net.so"))\n", to: "berth.conf")
        #expect(try run(["--require", "nccl"], ["exit"]).status == 0)
        // A port that is down.
        try box.directory.write("1: DOWN\n", to: port)
        let down = try run(["--require", "efa"], ["exit"])
        #expect(down.status == 125 && down.errors.contains("no port of rdmap0 is active"), "\(down)")
        #expect(try run(["--require", "ib"], ["exit"]).errors.contains("this host has only rdmap0"))
    }
}
