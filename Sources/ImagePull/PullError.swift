package import Distribution
package import ImageSpec
package import Layers
package import LinuxKernel
package import Store

/// Why an image did not come to be in the store.
package enum PullError: Error, Sendable {
    case registry(RegistryError)
    /// A layer, counted from 1 of so many.
    case layer(number: Int, count: Int, Digest, LayerError)
    /// The layers could not be put together.
    case composition(LayerError)
    case store(StoreError)
    case local(LocalFault, path: String)
    /// No container of the image could be started.
    case unstartable(ImageConfig.Execution.Excess)
    case cancelled

    /// What can be wrong with a layout or an archive.
    package enum LocalFault: Equatable, Sendable {
        case system(SystemError)
        /// No such tag among these.
        case unknownTag(String?, present: [String])
        case noMatchingPlatform(wanted: Platform, offered: [Platform])
        /// None of so many entries of the index, which name no platform, is for this one; there are more.
        case tooManyEntries(limit: Int, wanted: Platform)
        /// Not what its scheme says: what is missing or wrong.
        case notAnImage(String)
        case digestMismatch(expected: Digest, found: Digest)
        case unsupportedMediaType(MediaType)
        case compressedArchive(String)
        /// An archive that is a pipe, a socket, a directory.
        case notAFile(FileStatus.Kind)
        /// The archive itself is damaged.
        case archive(LayerError)
    }
}

extension PullError {
    /// Whether the bytes of a layer were wrong, rather than that they could not be had or written.
    var isAboutContent: Bool {
        guard case .layer(_, _, _, let error) = self else { return false }
        switch error.reason {
        case .blobSize, .blobDigest, .diffID, .corrupt, .truncated, .archive, .unsupportedCompression, .limit:
            return true
        case .source, .system, .cancelled: return false
        }
    }

    /// Whether a call of the system's failed on the way into the store: a full disk, a quota, a broken disk.
    package var isOfTheStore: Bool {
        switch self {
        case .layer(_, _, _, let error), .composition(let error):
            if case .system = error.reason { true } else { false }
        case .store(let error):
            if case .system = error { true } else { false }
        case .registry, .local, .unstartable, .cancelled: false
        }
    }
}

/// Names an error of another layer.
func naming<Value: ~Copyable, Cause: Error>(
    _ name: (Cause) -> PullError, _ body: () throws(Cause) -> Value
) throws(PullError) -> Value {
    do throws(Cause) { return try body() } catch { throw name(error) }
}
