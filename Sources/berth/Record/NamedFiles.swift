internal import CMessageDigest
internal import LaunchPlanning
internal import LinuxKernel

/// Files that a command line names, such as a script and its configuration, by their content: two runs of one commit can
/// differ in them. Only small files that the container sees through a mount of the host's: the image's own are its digest's.
struct NamedFiles {
    private let workingDirectory: String
    private let mounts: [BindMount]

    private static let largest = 256 << 10
    private static let most = 16

    init(_ plan: LaunchPlan) {
        workingDirectory = plan.process.workingDirectory
        mounts = plan.steps.compactMap { step in
            guard case .bind(let bind) = step.action, bind.node == nil else { return nil }
            return bind
        }
    }

    func hashes(words: [String]) -> [JSON] {
        var result: [JSON] = []
        for word in words where result.count < Self.most {
            // `--config=FILE` too.
            let path = word.utf8.lastIndex(of: UInt8(ascii: "=")).map { String(word[word.utf8.index(after: $0)...]) } ?? word
            guard !path.isEmpty, path.utf8.first != UInt8(ascii: "-"), let place = hostPath(of: path),
                let hash = Self.hash(place)
            else { continue }
            result.append(.members(("path", .string(path)), ("source", .string(place)), ("sha256", .string(hash))))
        }
        return result
    }

    /// By the last mount over it.
    private func hostPath(of path: String) -> String? {
        let inside = absolutePath(path, from: workingDirectory)
        for mount in mounts.reversed() {
            if inside == mount.target { return mount.source }
            let prefix = mount.target == "/" ? "/" : mount.target + "/"
            if inside.utf8.starts(with: prefix.utf8) {
                return mount.source + "/" + (String(inside.utf8.dropFirst(prefix.utf8.count)) ?? "")
            }
        }
        return nil
    }

    /// FIPS 180-4's SHA-256, by libmd; `nil` for what is no small regular file.
    private static func hash(_ path: String) -> String? {
        guard let bytes = try? contents(ofRegularFile: path, limit: largest) else { return nil }  // a word that is no file
        return bytes.withUnsafeBufferPointer { bytes in
            withUnsafeTemporaryAllocation(of: CChar.self, capacity: 2 * 32 + 1) { text in
                SHA256Data(bytes.baseAddress, bytes.count, text.baseAddress).map { String(cString: $0) }
            }
        }
    }
}
