internal import LinuxKernel

/// Small files that a launch caches in the store: compiled CDI specifications and seccomp profiles. A record counts only if
/// the caller owns it: another user's could name any file to mount. A store that `Trust` refuses is neither read nor written: a launch from `dir:` does not open it otherwise.
package enum DeviceRecords {
    private static let directory = "devices"
    private static let limit = 16 << 20

    private static func isTrusted(_ store: String, _ owner: UInt32?) -> Bool {
        do throws(SystemError) { return try Trust(vouched: owner).fault(on: store) == nil } catch {
            return false  // absent, or unreadable
        }
    }

    /// - Parameter owner: Who may own the store besides root and the caller.
    package static func read(_ name: String, store: String, owner: UInt32? = nil) -> [UInt8]? {
        guard isTrusted(store, owner),
            let file = try? OwnedFileDescriptor(  // absent: it is made anew
                opening: "\(store)/\(directory)/\(name)", .readOnly | .noFollow | .nonBlocking),
            let status = try? file.status(), status.kind == .regular,  // likewise
            status.userID == Identity.userID, status.permissions & 0o022 == 0
        else { return nil }
        return try? file.readAll(limit: limit)  // likewise
    }

    /// Into a store that is there; not being able to only costs the next launch the same work.
    package static func write(_ bytes: [UInt8], _ name: String, store: String, owner: UInt32? = nil) {
        guard isTrusted(store, owner) else { return }
        do throws(SystemError) {
            let root = try OwnedFileDescriptor(opening: store, .readOnly | .directory)
            _ = try root.status(of: "version")
            do throws(SystemError) { try root.makeDirectory(directory, mode: 0o755) } catch {
                if error.errno != Errno.EEXIST { throw error }
            }
            let place = try root.open(directory, .readOnly | .directory | .noFollow)
            let draft = name + "." + (try Random.hexadecimal(bytes: 8))
            do throws(SystemError) {
                try place.open(draft, .writeOnly | .create | .exclusive, mode: 0o600).writeAll(bytes)
                try place.move(draft, to: name, in: place)
            } catch {
                try place.removeFile(draft)
                throw error
            }
            // What was made of earlier states of the files, by this user.
            let family = name.prefix { $0 != "~" }
            for other in try place.entries().map(\.displayPath)
            where other != name && other.hasPrefix(family + "~") && other.utf8.allSatisfy({ $0 != UInt8(ascii: ".") }) {
                try? place.removeFile(other)  // another launch may have done so
            }
        } catch {
            return
        }
    }
}
