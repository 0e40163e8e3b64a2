internal import LinuxKernel

/// Caches what a launch derives from other files: compiled CDI specifications and seccomp profiles.
///
/// A record must belong to the caller, because another user's record could make a launch mount any file.
/// `DeviceRecords` neither reads nor writes a store that `Trust` refuses; a launch from `dir:` does not check the store
/// otherwise.
package enum DeviceRecords {
    private static let directory = "devices"
    private static let limit = 16 << 20

    private static func isTrusted(_ store: String, _ owner: UInt32?) -> Bool {
        do throws(SystemError) { return try Trust(vouched: owner).fault(on: store) == nil } catch {
            return false  // absent, or unreadable
        }
    }

    /// - Parameter owner: A user who may own the store in addition to root and the caller.
    package static func read(_ name: String, store: String, owner: UInt32? = nil) -> [UInt8]? {
        guard isTrusted(store, owner),
            let file = try? OwnedFileDescriptor(  // absent: the caller derives it again
                opening: "\(store)/\(directory)/\(name)", .readOnly | .noFollow | .nonBlocking),
            let status = try? file.status(), status.kind == .regular,  // likewise
            status.userID == Identity.userID, status.permissions & 0o022 == 0
        else { return nil }
        return try? file.readAll(limit: limit)  // likewise
    }

    /// Writes a record to an existing store. A failure is ignored, because the next launch then derives the record
    /// again.
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
            // Records that this user's launches made from earlier states of the same files.
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
