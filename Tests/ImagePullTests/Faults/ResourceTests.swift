import Foundation
import ImageSpec
import Store
import TestSupport
import Testing

/// The resources of a pull must not depend on the size of the image.
@Suite(.serialized, .enabled(if: Program.isBuilt)) struct ResourceTests {
    static let layer = 192 << 20

    static func scene() throws -> Scene {
        var writer = TarWriter()
        writer.bytes.reserveCapacity(layer + 4096)
        writer.add(.init(name: Array("large".utf8), size: Int64(layer)), [UInt8](repeating: 0x55, count: layer))
        writer.end()
        return try Scene(LocalImage(layers: [writer.bytes]))
    }

    /// The peak resident memory in KiB: proc_pid_status(5).
    static func peak(_ running: Running) -> Int {
        let text = FileManager.default.contents(atPath: "/proc/\(running.processID)/status").map {
            String(decoding: $0, as: UTF8.self)
        }
        guard let line = text?.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }) else { return 0 }
        return Int(line.filter(\.isNumber)) ?? 0
    }

    /// Runs a pull and measures its resident memory.
    static func most(of command: Command) throws -> (ended: Ended, most: Int) {
        let running = try command.start()
        var most = 0
        while kill(running.processID, 0) == 0 {
            let now = peak(running)
            if now == 0, most > 0 { break }
            most = max(most, now)
            usleep(2000)
        }
        return (try running.wait(), most)
    }

    @Test func memoryDoesNotGrowWithALayer() throws {
        let scene = try Self.scene()
        let (ended, most) = try Self.most(of: scene.pull())
        #expect(ended.status == 0, "\(ended)")
        #expect(most > 0 && most <= 64 << 10, "\(most) KiB resident")
    }

    /// A library that simulates a node with 128 processors.
    static func pretending(in place: TemporaryDirectory) throws -> String {
        try place.write(
            """
            #define _GNU_SOURCE
            #include <dlfcn.h>
            #include <sched.h>
            #include <unistd.h>
            int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) {
                CPU_ZERO_S(size, set);
                for (int i = 0; i < 128; i++) CPU_SET_S(i, size, set);
                return 0;
            }
            int get_nprocs(void) { return 128; }
            long sysconf(int name) {
                long (*real)(int) = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
                return name == _SC_NPROCESSORS_ONLN || name == _SC_NPROCESSORS_CONF ? 128 : real(name);
            }
            """, to: "many.c")
        let library = place.path + "/many.so"
        let built = try Command(["cc", "-shared", "-fPIC", "-O", "-o", library, place.path + "/many.c", "-ldl"]).run()
        try #require(built.status == 0, "\(built)")
        return library
    }

    /// Compressed layers, all at once, from a registry.
    static let packings = ["gzip", "zstd -19"]

    @Test(
        .enabled(if: CrowdTests.registryTools, "docker-registry, skopeo, curl"), arguments: packings)
    func memoryDoesNotGrowWithProcessors(_ packing: String) throws {
        let scene = try Scene(.sample(layers: 9, files: 100, largest: 9 << 20))
        let library = try Self.pretending(in: scene.place)
        let root = packageRoot(#filePath.replacingOccurrences(of: "/Faults/", with: "/"))
        let level = packing == "zstd -19" ? ["--dest-compress-level", "19"] : []
        let port = Int.random(in: 20_000..<30_000)
        let reference = "127.0.0.1:\(port)/many:1"
        let registry = scene.place.path + "/registry"
        func run(_ words: [String]) throws {
            let ended = try Command(words, secondsAllowed: 300).run()
            try #require(ended.status == 0, "\(ended)")
        }
        try run([root + "/Scripts/registry", "start", "--listen", "127.0.0.1:\(port)", registry])
        defer { _ = try? Command([root + "/Scripts/registry", "stop", registry]).run() }  // best effort
        let words =
            ["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-compress-format"]
            + [packing == "gzip" ? "gzip" : "zstd"] + level
        try run(words + [scene.source(), "docker://" + reference])
        let pull = try Program.command(
            ["pull", "-q", "--store", scene.store, reference], home: scene.place.path,
            environment: ["LD_PRELOAD": library, "BERTH_INSECURE_REGISTRIES": "127.0.0.1:\(port)"])
        let (ended, most) = try Self.most(of: pull)
        #expect(ended.status == 0, "\(ended)")
        #expect(most > 0 && most <= 64 << 10, "\(packing): \(most) KiB resident")
        print("\(packing): \(most) KiB resident with 9 layers and 128 processors")
    }

    static let memory = "/sys/fs/cgroup/memory"
    static let unified = "/sys/fs/cgroup"

    /// A cgroup in which children can be created, and the name of the file with its limit.
    static var cgroup: (parent: String, limit: String)? {
        guard Program.isRoot else { return nil }
        if FileManager.default.fileExists(atPath: memory + "/memory.limit_in_bytes") {
            return (memory, "memory.limit_in_bytes")
        }
        let controllers = FileManager.default.contents(atPath: unified + "/cgroup.subtree_control") ?? Data()
        return String(decoding: controllers, as: UTF8.self).contains("memory") ? (unified, "memory.max") : nil
    }

    /// Runs the following commands in the new cgroup GROUP below PARENT and writes BYTES to its file LIMIT.
    static let inCgroup = """
        mkdir "$GROUP"
        trap 'echo $$ >"$PARENT/cgroup.procs"; rmdir "$GROUP"' EXIT
        case $BYTES.$LIMIT in -1.memory.max) BYTES=max;; esac
        echo "$BYTES" >"$GROUP/$LIMIT"
        echo $$ >"$GROUP/cgroup.procs"
        "$@"
        """

    /// A job's memory includes the page cache of its writes.
    @Test(.enabled(if: cgroup != nil, "root, and a memory cgroup to make one in"))
    func aPullInAJobOf200MegabytesSucceeds() throws {
        let (parent, limit) = try #require(Self.cgroup)
        let group = "\(parent)/berth-test-\(getpid())"
        let scene = try Self.scene()
        let ended = try scene.pull(through: ["/bin/sh", "-ec", Self.inCgroup, "sh"]).run(
            with: ["GROUP": group, "PARENT": parent, "LIMIT": limit, "BYTES": "200M"])
        #expect(ended.status == 0, "\(ended)")
        #expect(try scene.images().count == 1)
        #expect(!FileManager.default.fileExists(atPath: group))
    }
}

extension Command {
    /// Runs with additional variables.
    func run(with more: [String: String]) throws -> Ended {
        var command = self
        command.environment.merge(more) { $1 }
        return try command.run()
    }
}
