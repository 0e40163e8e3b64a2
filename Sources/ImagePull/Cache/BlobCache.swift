internal import ImageSpec
internal import Layers
package import LinuxKernel
package import Store

/// Blobs on storage that several nodes share, so that each blob is downloaded only once.
///
/// ``` DIRECTORY/blobs/sha256-…          complete; renamed here after verification DIRECTORY/partial/sha256-…-UID
/// growing; written by the process that holds its lock ``` Everything read from the cache is verified like data from a
/// registry, because other users may write to it. Concurrent writers are harmless, because they write the same bytes at
/// the same offset. Locks only save work; if they do not work across nodes, the growth of the file replaces them.
/// docs/explanation/decisions/sharing-images.md
package final class BlobCache: Sendable {
    package let path: String
    let blobs: OwnedFileDescriptor
    let partial: OwnedFileDescriptor
    let scope: LockScope
    /// Without locks, a file that has not grown for this many seconds counts as abandoned.
    let patience: Double
    /// The maximum number of seconds to wait for a file that does not grow.
    let stallPatience: Double

    /// Opens an existing directory and creates the subdirectories.
    ///
    /// - Parameter scope: Where locks are visible; determined from the mount by default.
    package init(
        _ path: String, patience: Double = 10, stallPatience: Double = 90, scope: LockScope? = nil
    ) throws(SystemError) {
        self.path = path
        self.stallPatience = stallPatience
        self.patience = patience
        let root = try OwnedFileDescriptor(opening: path, [.readOnly, .directory])
        // Users who know a digest, from a manifest, can open the blob. No other user can list the directory.
        func directory(_ name: String) throws(SystemError) -> OwnedFileDescriptor {
            do throws(SystemError) {
                try root.makeDirectory(name, mode: 0o700)
                try root.setPermissions(of: name, 0o1733)
            } catch {
                if error.errno != Errno.EEXIST { throw error }
            }
            return try root.open(name, [.path, .directory, .noFollow])
        }
        blobs = try directory("blobs")
        partial = try directory("partial")
        self.scope = scope ?? LockScope(of: root, path: path)
    }

    /// The blob's bytes from the cache, or else from the registry through the cache.
    ///
    /// - Parameter download: Opens the blob in its registry at an offset.
    func source(
        _ blob: Descriptor, _ download: @escaping @Sendable (Int64) throws(PullError) -> any ChunkSource
    ) -> CachedBlobSource {
        CachedBlobSource(self, blob, download)
    }

    func partialName(_ digest: Digest) -> String { "\(digest.directoryName)-\(Identity.userID)" }

    /// A complete blob; `nil` if it is missing or unusable.
    func whole(_ blob: Descriptor) -> DescriptorBox? {
        guard let file = try? blobs.open(blob.digest.directoryName, [.readOnly, .noFollow, .nonBlocking]),  // absent
            let status = try? file.status(), status.kind == .regular, status.size == blob.size  // unusable
        else { return nil }
        return DescriptorBox(file)
    }

    /// Renames a blob that was verified.
    func publish(_ digest: Digest) {
        // Best effort: a blob that cannot be renamed is downloaded again.
        try? partial.setPermissions(of: partialName(digest), 0o444)  // best effort
        try? partial.move(partialName(digest), to: digest.directoryName, in: blobs)  // likewise
    }

    /// Removes a damaged blob.
    func forget(_ digest: Digest) {
        try? blobs.removeFile(digest.directoryName)  // another user's: it stays
        try? partial.removeFile(partialName(digest))  // likewise
    }
}
