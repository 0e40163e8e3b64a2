package import LinuxKernel

/// One entry of an archive, with its long names, PAX records and sparse map applied.
///
/// https://github.com/opencontainers/image-spec/blob/main/layer.md#file-types and #file-attributes
package struct TarEntry: Sendable {
    package enum Kind: Equatable, Sendable {
        case regular, hardLink, symlink, characterDevice, blockDevice, directory, fifo
    }

    package var kind = Kind.regular
    /// The name as the archive spells it, which need not be UTF-8.
    package var name: [UInt8] = []
    package var linkName: [UInt8] = []
    /// The lower twelve bits of the mode.
    package var permissions: UInt32 = 0
    package var userID: UInt32 = 0
    package var groupID: UInt32 = 0
    /// The size of the unpacked file in bytes, including holes.
    package var size: Int64 = 0
    package var modified = Timestamp(seconds: 0)
    package var extendedAttributes: [ExtendedAttribute] = []
    /// The data of a sparse file in ascending order without overlap; `nil` for an ordinary file.
    package var extents: [Extent]?
    /// The offset of the entry's own header in the uncompressed archive.
    package var offset: UInt64 = 0

    package struct ExtendedAttribute: Equatable, Sendable {
        package let name: [UInt8]
        package let value: [UInt8]
    }

    package struct Extent: Equatable, Sendable {
        package let offset: Int64
        package let count: Int64
    }
}
