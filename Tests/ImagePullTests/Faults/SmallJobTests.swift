import Foundation
import TestSupport
import Testing

/// A pull in a job with little memory, which dirty pages could fill:
/// docs/explanation/decisions/pull-pipeline.md
@Suite(
    .serialized,
    .enabled(if: Program.isBuilt && ResourceTests.cgroup != nil, "root, and a memory cgroup to make one in"))
struct SmallJobTests {
    static let job = 200 << 20
    /// Several times the allowed amount of dirty data.
    static let size = 96 << 20 | 1

    /// A call of sync_file_range(2). A call that waits has all three flags.
    struct Call {
        let inode: UInt64
        let offset: Int64
        let bytes: Int64
        let waits: Bool
    }

    /// The calls of a successful pull in a cgroup with this limit.
    static func calls(_ image: LocalImage, limit: String) throws -> [Call] {
        let (parent, file) = try #require(ResourceTests.cgroup)
        let scene = try Scene(image)
        try scene.place.write(
            """
            #define _GNU_SOURCE
            #include <stdio.h>
            #include <stdlib.h>
            #include <sys/stat.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            int sync_file_range(int file, long offset, long bytes, unsigned flags) {
                FILE *log = fopen(getenv("CALLS"), "a");
                struct stat status;
                fstat(file, &status);
                if (log) { fprintf(log, "%lu %ld %ld %u\\n", status.st_ino, offset, bytes, flags); fclose(log); }
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
            return Call(inode: UInt64(words[0]), offset: words[1], bytes: words[2], waits: words[3] == 7)
        }
    }

    /// An image with files of these sizes in bytes.
    static func image(of sizes: [Int]) -> LocalImage {
        var writer = TarWriter()
        writer.bytes.reserveCapacity(sizes.reduce(4096) { $0 + $1 + 1024 })
        for (number, size) in sizes.enumerated() {
            writer.add(.init(name: Array("f\(number)".utf8), size: Int64(size)), [UInt8](repeating: 0x55, count: size))
        }
        writer.end()
        return LocalImage(layers: [writer.bytes])
    }

    /// One large file, and many small ones.
    @Test(arguments: [
        [size], [Int](repeating: (5 << 20) + 1, count: 20), [30 << 20, 9 << 20, 30 << 20, 6 << 20, 20 << 20],
    ])
    func noMoreOfLargeFilesIsUnderWayThanAShareOfTheJob(_ sizes: [Int]) throws {
        var (started, finished): ([UInt64: Int64], [UInt64: Int64]) = ([:], [:])
        var underWay: Int64 = 0
        for call in try Self.calls(Self.image(of: sizes), limit: "\(Self.job)") {
            let end = call.offset + call.bytes
            if call.waits {
                #expect(call.offset == finished[call.inode, default: 0], "a gap that nobody waits for")
                finished[call.inode] = end
                underWay -= call.bytes
            } else {
                #expect(call.offset == started[call.inode, default: 0], "a gap that nobody writes")
                started[call.inode] = end
                underWay += call.bytes
            }
            #expect(underWay <= Int64(Self.job / 5), "\(underWay) bytes under way")
        }
        #expect(started.values.sorted() == sizes.map(Int64.init).sorted(), "what the disk was given, file by file")
        #expect(finished.values.reduce(0, +) > Int64(sizes.reduce(0, +) - Self.job / 5))
    }

    /// Without a limit, a pull leaves flushing to the kernel and ends before all data is on disk.
    @Test func withoutALimitNothingIsHandedOver() throws {
        #expect(try Self.calls(Self.image(of: [Self.size]), limit: "-1").isEmpty)
    }
}
