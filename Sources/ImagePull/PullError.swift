package import Distribution
package import ImageSpec
package import Layers
package import LinuxKernel
package import Store

/// Why a pull failed.
package enum PullError: Error, Sendable {
    case registry(RegistryError)
    /// An error in layer `number` of `count`, counted from 1.
    case layer(number: Int, count: Int, Digest, LayerError)
    /// The layers could not be composed.
    case composition(LayerError)
    case store(StoreError)
    case local(LocalFault, path: String)
    /// The image cannot be started, because it exceeds a limit of execve(2).
    case unstartable(ImageConfig.Execution.Excess)
    case cancelled

    /// A fault of a layout or an archive.
    package enum LocalFault: Equatable, Sendable {
        case system(SystemError)
        /// No image has the tag; `present` lists the tags.
        case unknownTag(String?, present: [String])
        case noMatchingPlatform(wanted: Platform, offered: [Platform])
        /// The first `limit` entries, none of which has a platform, do not match, and there are more.
        case tooManyEntries(limit: Int, wanted: Platform)
        /// The image does not have the type of its scheme.
        case notAnImage(String)
        case digestMismatch(expected: Digest, found: Digest)
        case unsupportedMediaType(MediaType)
        case compressedArchive(String)
        /// The archive is a pipe, a socket or a directory.
        case notAFile(FileStatus.Kind)
        /// The archive is damaged.
        case archive(LayerError)
    }
}

extension PullError {
    /// Whether the content of a layer was wrong, rather than a failure to read or write it.
    var isAboutContent: Bool {
        guard case .layer(_, _, _, let error) = self else { return false }
        switch error.reason {
        case .blobSize, .blobDigest, .diffID, .corrupt, .truncated, .archive, .unsupportedCompression, .limit:
            return true
        case .source, .system, .cancelled: return false
        }
    }

    /// Whether a file in the store could not be given its owner.
    package var isRefusedOwner: Bool {
        switch self {
        case .layer(_, _, _, let error), .composition(let error):
            if case .system(let cause) = error.reason { cause.isRefusedOwner } else { false }
        case .store(.system(let cause)): cause.isRefusedOwner
        default: false
        }
    }

    /// Whether a system call on the store failed, for example because the disk is full.
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

extension SystemError {
    fileprivate var isRefusedOwner: Bool { call.hasPrefix("fchown") && errno == Errno.EINVAL }
}

/// Wraps an error of another module.
func mapError<Value: ~Copyable, Cause: Error>(
    to make: (Cause) -> PullError, _ body: () throws(Cause) -> Value
) throws(PullError) -> Value {
    do throws(Cause) { return try body() } catch { throw make(error) }
}
