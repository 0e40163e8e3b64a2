import Foundation

/// A new directory that all users can enter, removed with its last reference.
///
/// Below `/var/tmp`, because every container shows `/tmp`, which would hide an escape.
package final class TemporaryDirectory: Sendable {
    package let path: String

    package init(in parent: String = "/var/tmp") throws {
        var template = Array("\(parent)/berth-test.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestSupportError("mkdtemp: \(String(cString: strerror(errno)))") }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        chmod(path, 0o755)
    }

    deinit {
        // A test may leave directories that their owner cannot enter.
        _ = try? Command(["/bin/sh", "-c", "chmod -R u+rwx \"$0\" 2>/dev/null; rm -rf \"$0\"", path]).run()  // best effort
    }

    /// Writes a file and creates missing parents.
    @discardableResult
    package func write(_ text: String, to name: String, mode: UInt32 = 0o644) throws -> String {
        try write(Array(text.utf8), to: name, mode: mode)
    }

    @discardableResult
    package func write(_ bytes: [UInt8], to name: String, mode: UInt32 = 0o644) throws -> String {
        let place = path + "/" + name
        try makeDirectory(String(name.split(separator: "/").dropLast().joined(separator: "/")))
        guard FileManager.default.createFile(atPath: place, contents: Data(bytes)) else {
            throw TestSupportError("cannot write \(place)")
        }
        chmod(place, mode)
        return place
    }

    @discardableResult
    package func makeDirectory(_ name: String, mode: UInt32 = 0o755) throws -> String {
        let place = name.isEmpty ? path : path + "/" + name
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        if !name.isEmpty { chmod(place, mode) }
        return place
    }

    @discardableResult
    package func link(_ name: String, to target: String) throws -> String {
        let place = path + "/" + name
        try makeDirectory(String(name.split(separator: "/").dropLast().joined(separator: "/")))
        try FileManager.default.createSymbolicLink(atPath: place, withDestinationPath: target)
        return place
    }

    package func text(_ name: String) -> String? {
        FileManager.default.contents(atPath: path + "/" + name).map { String(decoding: $0, as: UTF8.self) }
    }

    package func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + name) }
}

/// A prerequisite of the test itself is missing.
package struct TestSupportError: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
