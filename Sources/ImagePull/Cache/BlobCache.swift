internal import ImageSpec
internal import Layers
package import LinuxKernel
package import Store

/// Blobs on storage that several nodes share, so that of many who want one it is downloaded once.
///
/// ```
/// DIRECTORY/blobs/sha256-…          whole; named when it was verified
/// DIRECTORY/partial/sha256-…-UID    growing from the front, written by whoever holds its lock
/// ```
/// Nothing that is read from here is believed: it is verified like what comes from a registry. So it does not matter who
/// writes here, or whether two do so at once: the bytes at a place of a blob are the same for everybody. Locks, and
/// where they do not reach the growth of the file, only save work. docs/explanation/decisions/sharing-images.md
package final class BlobCache: Sendable {
    package let path: String
    let blobs: OwnedFileDescriptor
    let partial: OwnedFileDescriptor
    let reach: LockReach
    /// How long a file must not have grown for its writer to count as dead, where locks do not tell.
    let patience: Double
    /// How long a file must not have grown for its writer to be waited for no longer.
    let stallPatience: Double

    /// The directory must be there; what belongs into it is made.
    ///
    /// - Parameter reach: How far locks reach; asked of the mount where it is not given.
    package init(
        _ path: String, patience: Double = 10, stallPatience: Double = 90, reach: LockReach? = nil
    ) throws(SystemError) {
        self.path = path
        self.stallPatience = stallPatience
        self.patience = patience
        let root = try OwnedFileDescriptor(opening: path, [.readOnly, .directory])
        // To be opened by whoever knows a digest, and so has seen a manifest that names it, and listed by nobody else.
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
        self.reach = reach ?? LockReach(of: root, path: path)
    }

    /// The blob's bytes from here, or from the registry by way of here.
    ///
    /// - Parameter download: Opens the blob in its registry, from an offset on.
    func source(
        _ blob: Descriptor, _ download: @escaping @Sendable (Int64) throws(PullError) -> any ChunkSource
    ) -> CachedBlobSource {
        CachedBlobSource(self, blob, download)
    }

    func partialName(_ digest: Digest) -> String { "\(digest.directoryName)-\(Identity.userID)" }

    /// A whole blob; nil where there is none, or none that can be used.
    func whole(_ blob: Descriptor) -> DescriptorBox? {
        guard let file = try? blobs.open(blob.digest.directoryName, [.readOnly, .noFollow, .nonBlocking]),  // absent
            let status = try? file.status(), status.kind == .regular, status.size == blob.size  // of no use
        else { return nil }
        return DescriptorBox(file)
    }

    /// Names a blob that was verified.
    func publish(_ digest: Digest) {
        // The cache is a convenience: what can not be named is downloaded again.
        try? partial.setPermissions(of: partialName(digest), 0o444)
        try? partial.move(partialName(digest), to: digest.directoryName, in: blobs)
    }

    /// Takes away what was found to be wrong.
    func forget(_ digest: Digest) {
        try? blobs.removeFile(digest.directoryName)  // another user's: he will find out himself
        try? partial.removeFile(partialName(digest))  // likewise
    }
}
