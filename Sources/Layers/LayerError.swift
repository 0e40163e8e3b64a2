package import ImageSpec
package import LinuxKernel

/// Why a layer could not be read, verified or applied; facts only, the text is made in `Diagnostics`.
package struct LayerError: Error, Equatable, Sendable {
    package let reason: Reason
    /// The entry's name as the archive spells it, where one was being read.
    package var entry: [UInt8]?
    /// Where in the uncompressed archive the entry's header begins, in bytes.
    package var offset: UInt64?

    package init(_ reason: Reason, entry: [UInt8]? = nil, offset: UInt64? = nil) {
        self.reason = reason
        self.entry = entry
        self.offset = offset
    }

    package enum Reason: Equatable, Sendable {
        /// What delivers the compressed bytes failed.
        case source(SourceFailure)
        /// The blob is longer or shorter than its descriptor says; checked before the digest, as descriptor.md asks.
        case blobSize(expected: Int64, actual: Int64)
        case blobDigest(expected: Digest, actual: Digest)
        /// The uncompressed archive is not the one that the image's configuration names (config.md, `rootfs.diff_ids`).
        case diffID(expected: Digest, actual: Digest)
        /// A compression this build does not read: its common name.
        case unsupportedCompression(String)
        /// The compressed stream is damaged: the library's code.
        case corrupt(Compression, code: Int)
        /// The compressed stream ends in the middle.
        case truncated(Compression)
        case archive(ArchiveFault)
        case limit(UnpackLimits.Kind, limit: Int64)
        case system(SystemError)
        /// The other side gave up.
        case cancelled
    }

    /// What is wrong with the archive itself.
    package enum ArchiveFault: Equatable, Sendable {
        case truncatedHeader, truncatedData
        case checksum
        /// A numeric field of the header that is neither octal nor base-256, or out of range: the field's name in ustar.
        case number(field: String)
        case loneZeroBlock
        case extendedHeader
        case sparseMap
        /// An entry type that no layer may hold.
        case entryType(UInt8)
        case emptyName
        case rootIsNotADirectory
        /// `.wh.` with nothing, `.` or `..` behind it (layer.md, "Whiteouts").
        case whiteout
        case hardLinkToDirectory
        case hardLinkTargetMissing
        case symlinkLoop
        case nulInName
    }

    /// The error of a byte source, which may come from any module; two are equal where they say the same.
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

    /// Whether the bytes themselves were wrong, so that the blob's digest may tell the better story.
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

/// How a layer's bytes are packed.
package enum Compression: Equatable, Sendable { case plain, gzip, zstd }

/// Runs system calls and wraps what they throw.
func system<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(LayerError) -> Value {
    do throws(SystemError) { return try body() } catch { throw LayerError(.system(error)) }
}
