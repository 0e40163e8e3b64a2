import Foundation
import ImageSpec
import Store
import TestSupport
import Testing

/// What a pull takes, whatever the size of what it pulls.
@Suite(.serialized, .enabled(if: Program.isBuilt)) struct ResourceTests {
    static let layer = 192 << 20

    static func scene() throws -> Scene {
        var writer = TarWriter()
        writer.bytes.reserveCapacity(layer + 4096)
        writer.add(.init(name: Array("large".utf8), size: Int64(layer)), [UInt8](repeating: 0x55, count: layer))
        writer.end()
        return try Scene(LocalImage(layers: [writer.bytes]))
    }

    /// The most that was ever resident, in KiB: proc_pid_status(5).
    static func peak(_ running: Running) -> Int {
        let text = FileManager.default.contents(atPath: "/proc/\(running.processID)/status").map {
            String(decoding: $0, as: UTF8.self)
        }
        guard let line = text?.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }) else { return 0 }
        return Int(line.filter(\.isNumber)) ?? 0
    }

    @Test func memoryDoesNotGrowWithALayer() throws {
        let scene = try Self.scene()
        let running = try scene.pull().start()
        var most = 0
        while kill(running.processID, 0) == 0 {
            let now = Self.peak(running)
            if now == 0, most > 0 { break }
            most = max(most, now)
            usleep(2000)
        }
        let ended = try running.wait()
        #expect(ended.status == 0, "\(ended)")
        #expect(most > 0 && most <= 64 << 10, "\(most) KiB resident")
    }

    static let memory = "/sys/fs/cgroup/memory"
    static let unified = "/sys/fs/cgroup"

    /// A cgroup that may be made here, and the name of the file with its limit.
    static var cgroup: (parent: String, limit: String)? {
        guard Program.isRoot else { return nil }
        if FileManager.default.fileExists(atPath: memory + "/memory.limit_in_bytes") {
            return (memory, "memory.limit_in_bytes")
        }
        let controllers = FileManager.default.contents(atPath: unified + "/cgroup.subtree_control") ?? Data()
        return String(decoding: controllers, as: UTF8.self).contains("memory") ? (unified, "memory.max") : nil
    }

    /// A job's memory holds the page cache of what it writes, too.
    @Test(.enabled(if: cgroup != nil, "root, and a memory cgroup to make one in"))
    func aPullInAJobOf200MegabytesSucceeds() throws {
        let (parent, limit) = try #require(Self.cgroup)
        let group = "\(parent)/berth-test-\(getpid())"
        let scene = try Self.scene()
        let script = """
            mkdir "$GROUP"
            trap 'echo $$ >"$PARENT/cgroup.procs"; rmdir "$GROUP"' EXIT
            echo 200M >"$GROUP/$LIMIT"
            echo $$ >"$GROUP/cgroup.procs"
            "$@"
            """
        let ended = try scene.pull(through: ["/bin/sh", "-ec", script, "sh"]).start(
            with: ["GROUP": group, "PARENT": parent, "LIMIT": limit]
        ).wait()
        #expect(ended.status == 0, "\(ended)")
        #expect(try scene.images().count == 1)
        #expect(!FileManager.default.fileExists(atPath: group))
    }
}

extension Command {
    fileprivate func start(with more: [String: String]) throws -> Running {
        var command = self
        command.environment.merge(more) { $1 }
        return try command.start()
    }
}
