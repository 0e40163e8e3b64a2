package import ImageSpec
package import LinuxKernel

/// Why a layer could not be read, verified or applied. Contains no message; `ImageDiagnostics` makes the text.
package struct LayerError: Error, Equatable, Sendable {
    package let reason: Reason
    /// The name of the current entry as the archive spells it.
    package var entry: [UInt8]?
    /// The offset of the entry's header in the uncompressed archive, in bytes.
    package var offset: UInt64?

    package init(_ reason: Reason, entry: [UInt8]? = nil, offset: UInt64? = nil) {
        self.reason = reason
        self.entry = entry
        self.offset = offset
    }

    package enum Reason: Equatable, Sendable {
        /// The source of the compressed bytes failed.
        case source(SourceFailure)
        /// The blob's size differs from its descriptor. Checked before the digest, as descriptor.md requires.
        case blobSize(expected: Int64, actual: Int64)
        case blobDigest(expected: Digest, actual: Digest)
        /// The uncompressed archive does not have the digest in the image's configuration (config.md,
        /// `rootfs.diff_ids`).
        case diffID(expected: Digest, actual: Digest)
        /// An unsupported compression, by its common name.
        case unsupportedCompression(String)
        /// The compressed stream is corrupt; `code` is the library's error.
        case corrupt(Compression, code: Int)
        /// The compressed stream is incomplete.
        case truncated(Compression)
        case archive(ArchiveFault)
        case limit(UnpackLimits.Kind, limit: Int64)
        case system(SystemError)
        /// The consumer stopped reading.
        case cancelled
    }

    /// A fault in the archive itself.
    package enum ArchiveFault: Equatable, Sendable {
        case truncatedHeader, truncatedData
        case checksum
        /// A numeric header field is neither octal nor base-256, or out of range. `field` is its name in ustar.
        case number(field: String)
        case loneZeroBlock
        case extendedHeader
        case sparseMap
        /// An entry type that is not allowed in a layer.
        case entryType(UInt8)
        case emptyName
        case rootIsNotADirectory
        /// A whiteout of an empty name, `.` or `..` (layer.md, "Whiteouts").
        case whiteout
        case hardLinkToDirectory
        case hardLinkTargetMissing
        case symlinkLoop
        case nulInName
        /// Tools differ in which of the two members they read.
        case memberTwice
    }

    /// The error of a byte source, which any module may define. Two are equal if their descriptions are.
    package struct SourceFailure: Equatable, Sendable {
        package let underlying: any Error
        package init(_ underlying: any Error) { self.underlying = underlying }
        package static func == (left: Self, right: Self) -> Bool {
            String(describing: left.underlying) == String(describing: right.underlying)
        }
    }
}

extension LayerError {
    static func archive(_ fault: ArchiveFault, entry: [UInt8]? = nil, offset: UInt64? = nil) -> LayerError {
        LayerError(.archive(fault), entry: entry, offset: offset)
    }

    /// Whether the content was invalid, so that a digest mismatch may be the better explanation.
    var isAboutContent: Bool {
        switch reason {
        case .corrupt, .truncated, .archive, .unsupportedCompression, .limit, .diffID: true
        default: false
        }
    }

    func at(_ entry: [UInt8], _ offset: UInt64) -> LayerError {
        var copy = self
        if copy.entry == nil, !entry.isEmpty { copy.entry = entry }
        if copy.offset == nil { copy.offset = offset }
        return copy
    }
}

/// The compression of a layer.
package enum Compression: Equatable, Sendable { case plain, gzip, zstd }

/// Runs system calls and wraps their errors.
func mapError<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(LayerError) -> Value {
    do throws(SystemError) { return try body() } catch { throw LayerError(.system(error)) }
}
