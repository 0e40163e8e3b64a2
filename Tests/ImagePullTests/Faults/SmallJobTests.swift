import Foundation
import TestSupport
import Testing

/// A pull in a job with little memory, of which all may be under way to the disk: decision 0151.
@Suite(
    .serialized,
    .enabled(if: Program.isBuilt && ResourceTests.cgroup != nil, "root, and a memory cgroup to make one in"))
struct SmallJobTests {
    static let job = 200 << 20
    /// Several times what may be under way.
    static let size = 96 << 20

    /// A call of sync_file_range(2): what waits has all three flags.
    struct Call {
        let offset: Int64
        let bytes: Int64
        let waits: Bool
    }

    /// What a pull calls, and whether it succeeds, in a cgroup with that limit.
    static func calls(_ image: LocalImage, limit: String) throws -> [Call] {
        let (parent, file) = try #require(ResourceTests.cgroup)
        let scene = try Scene(image)
        try scene.place.write(
            """
            #define _GNU_SOURCE
            #include <stdio.h>
            #include <stdlib.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            int sync_file_range(int file, long offset, long bytes, unsigned flags) {
                FILE *log = fopen(getenv("CALLS"), "a");
                if (log) { fprintf(log, "%ld %ld %u\\n", offset, bytes, flags); fclose(log); }
                return syscall(SYS_sync_file_range, file, offset, bytes, flags);
            }
            """, to: "calls.c")
        let (library, log) = (scene.place.path + "/calls.so", scene.place.path + "/calls")
        let built = try Command(["cc", "-shared", "-fPIC", "-O", "-o", library, scene.place.path + "/calls.c"]).run()
        try #require(built.status == 0, "\(built)")
        let ended = try scene.pull(through: ["/bin/sh", "-ec", ResourceTests.inCgroup, "sh"]).run(with: [
            "GROUP": "\(parent)/berth-calls-\(getpid())", "PARENT": parent, "LIMIT": file, "BYTES": limit,
            "LD_PRELOAD": library, "CALLS": log,
        ])
        try #require(ended.status == 0, "\(ended)")
        #expect(try scene.images().count == 1)
        let text = FileManager.default.contents(atPath: log).map { String(decoding: $0, as: UTF8.self) } ?? ""
        return text.split(separator: "\n").map { line in
            let words = line.split(separator: " ").compactMap { Int64($0) }
            return Call(offset: words[0], bytes: words[1], waits: words[2] == 7)
        }
    }

    static func large() -> LocalImage {
        var writer = TarWriter()
        writer.bytes.reserveCapacity(size + 4096)
        writer.add(.init(name: Array("large".utf8), size: Int64(size)), [UInt8](repeating: 0x55, count: size))
        writer.end()
        return LocalImage(layers: [writer.bytes])
    }

    @Test func noMoreOfALargeFileIsUnderWayThanAShareOfTheJob() throws {
        var started: Int64 = 0
        var finished: Int64 = 0
        for call in try Self.calls(Self.large(), limit: "\(Self.job)") where call.bytes > 0 {
            if call.waits {
                #expect(call.offset == finished, "a gap that nobody waits for")
                finished = call.offset + call.bytes
            } else {
                #expect(call.offset == started, "a gap that nobody writes")
                started = call.offset + call.bytes
            }
            #expect(started - finished <= Int64(Self.job / 5), "\(started - finished) bytes under way")
        }
        #expect(started > Int64(Self.size - (8 << 20)), "the end of the file: \(started)")
        #expect(finished > 0)
    }

    /// Where nothing limits it, a pull leaves the kernel alone: it is over before the disk has all.
    @Test func withoutALimitNothingIsWaitedFor() throws {
        let calls = try Self.calls(Self.large(), limit: "-1")
        #expect(!calls.isEmpty)
        #expect(calls.allSatisfy { !$0.waits })
    }
}
