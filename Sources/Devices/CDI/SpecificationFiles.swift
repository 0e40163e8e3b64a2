package import LinuxKernel

/// The files of the CDI directories, found by their names and status; no file is opened.
/// https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md#cdi-json-specification
package struct SpecificationFiles: Equatable, Sendable {
    package struct File: Equatable, Sendable {
        package let path: String
        /// The index of its directory in the list.
        package let priority: Int
        /// The `errno` of a directory that was unreadable.
        package var fault: Int32?
    }

    /// The default directories of the specification. A later one has priority.
    package static let directories = ["/etc/cdi", "/var/run/cdi"]

    package private(set) var files: [File] = []
    /// Identifies the files and their state: any change of path, size or time changes the key.
    package private(set) var key: String

    /// A missing directory is skipped. An unreadable file or directory is listed, so that the compiler reports it.
    package init(in directories: [String]) {
        key = directories.joined(separator: ":")
        for (priority, directory) in directories.enumerated() {
            let names: [[UInt8]]
            do throws(SystemError) {
                guard let found = try OwnedFileDescriptor.entries(of: directory) else { continue }
                names = found
            } catch {
                key += ";\(directory),errno=\(error.errno)"
                files.append(File(path: directory, priority: priority, fault: error.errno))
                continue
            }
            let wanted = names.filter { $0.ends(with: ".json") || $0.ends(with: ".yaml") }
                .map(\.displayPath).sorted()
            for name in wanted {
                let path = directory + "/" + name
                guard let status = try? FileStatus(of: path) else {  // a dangling link
                    key += ";\(path)"
                    files.append(File(path: path, priority: priority))
                    continue
                }
                guard status.kind == .regular else { continue }
                key += ";\(path),\(status.device),\(status.inode),\(status.size),\(status.modified.seconds)."
                key += "\(status.modified.nanoseconds)"
                files.append(File(path: path, priority: priority))
            }
        }
    }

    package var isEmpty: Bool { files.isEmpty }

    /// The first file that `Trust` rejects because another user could have written it. Dangling links are skipped.
    package var untrusted: (file: File, fault: UntrustedPath)? {
        for file in files {
            if let fault = Self.fault(of: file) { return (file, fault) }
        }
        return nil
    }

    package static func fault(of file: File) -> UntrustedPath? {
        let found = try? Trust().fault(on: file.path)  // unreadable: reported on reading
        return found ?? (file.fault == nil ? directoryFault(of: file) : nil)
    }

    /// Checks the directory itself rather than the path to it: in a world-writable directory, other users could add
    /// files.
    private static func directoryFault(of file: File) -> UntrustedPath? {
        guard let slash = file.path.utf8.lastIndex(of: UInt8(ascii: "/")), slash != file.path.startIndex else {
            return nil
        }
        return try? Trust().fault(on: String(file.path[..<slash]))  // likewise
    }

    /// A hash of the key for the record's file name.
    package var shortKey: String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in key.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }
}

extension [UInt8] {
    fileprivate func ends(with suffix: String) -> Bool {
        count > suffix.utf8.count && self[(count - suffix.utf8.count)...].elementsEqual(suffix.utf8)
    }
}
