package import LinuxKernel

/// One entry of an archive with its long names, PAX records and sparse map already applied.
///
/// https://github.com/opencontainers/image-spec/blob/main/layer.md#file-types and #file-attributes
package struct TarEntry: Sendable {
    package enum Kind: Equatable, Sendable {
        case regular, hardLink, symlink, characterDevice, blockDevice, directory, fifo
    }

    package var kind = Kind.regular
    /// As the archive spells it; need not be UTF-8.
    package var name: [UInt8] = []
    package var linkName: [UInt8] = []
    /// The low twelve bits of the mode.
    package var permissions: UInt32 = 0
    package var userID: UInt32 = 0
    package var groupID: UInt32 = 0
    /// Bytes of the file once it is unpacked, holes included.
    package var size: Int64 = 0
    package var modified = Timestamp(seconds: 0)
    package var extendedAttributes: [ExtendedAttribute] = []
    /// Where the data lies in a sparse file, ascending and without overlap; nil for an ordinary one.
    package var extents: [Extent]?
    /// Where in the uncompressed archive this entry's own header begins.
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
