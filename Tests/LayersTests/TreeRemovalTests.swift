import Foundation
import Layers
import LinuxKernel
import TestSupport
import Testing

/// Root's removal of trees must not be led out of them by users who own files in them.
@Suite struct TreeRemovalTests {
    /// Before each round, renames a directory of the tree away and puts a link to one outside in its place.
    @Test(arguments: 0..<10)
    func aDirectoryThatBecomesALinkLeadsNowhere(_ step: Int) throws {
        let place = try TemporaryDirectory()
        for root in ["trees/tree/home/x", "outside"] {
            try place.write("file", to: root + "/file")
            try place.write("file", to: root + "/y/file")
            try place.makeDirectory(root + "/y/empty", mode: 0o500)
            try place.write("file", to: root + "/y/z/file")
        }
        let path = place.path
        let directory = try OwnedFileDescriptor(opening: path + "/trees", [.readOnly, .directory])
        TreeRemoval.remove(
            in: directory, [Array("tree".utf8)],
            beforeStep: { number in
                if number != step { return }
                if rename(path + "/trees/tree/home/x", path + "/away") == 0 {
                    symlink(path + "/outside", path + "/trees/tree/home/x")
                }
            })
        #expect(try directory.entries().isEmpty)
        for file in ["file", "y/file", "y/z/file"] { #expect(place.text("outside/" + file) == "file") }
        #expect(try FileStatus(of: path + "/outside/y/empty").permissions == 0o500)
    }

    @Test func whatIsMountedInATreeStays() throws {
        let place = try TemporaryDirectory()
        try place.write("file", to: "outside/file")
        try place.write("file", to: "trees/tree/file")
        try place.makeDirectory("trees/tree/a/mount")
        let (outside, mount) = (place.path + "/outside", place.path + "/trees/tree/a/mount")
        // Skip the test if mounting is not allowed.
        guard try Command(["mount", "--bind", outside, mount]).run().status == 0 else { return }
        let directory = try OwnedFileDescriptor(opening: place.path + "/trees", [.readOnly, .directory])
        TreeRemoval.remove(in: directory, [Array("tree".utf8)])
        let ended = try Command(["umount", mount]).run()
        #expect(ended.status == 0, "\(ended)")
        #expect(place.text("outside/file") == "file")
        #expect(!place.exists("trees/tree/file"))
        TreeRemoval.remove(in: directory, [Array("tree".utf8)])
        #expect(try directory.entries().isEmpty)
    }
}
