package import ImageSpec

/// Metadata of a layer, apart from its files: what is needed to merge it with other layers.
package struct LayerSummary: Equatable, Sendable {
    /// The verified digest of the uncompressed archive.
    package var diffID: Digest
    /// The size of the uncompressed archive.
    package var archiveBytes: Int64 = 0
    /// The size of the files, including holes.
    package var fileBytes: Int64 = 0
    package var entries: Int64 = 0
    /// Paths that this layer hides in lower layers and does not have itself.
    package var whiteouts: [[UInt8]] = []
    /// Directories of this layer that hide the contents of the lower ones.
    package var opaqueDirectories: [[UInt8]] = []
    /// Directories without an entry: the lower layers determine their attributes and whether they are links. The root
    /// is the empty path.
    package var implicitDirectories: [[UInt8]] = []
    /// Hard links to files that are not in this layer.
    package var openHardLinks: [HardLink] = []
    /// Whether whiteouts and opaque directories have overlayfs's marks in the tree.
    package var areMarksMade = true
    package var skippedDevices: Int64 = 0
    /// Extended attributes that were dropped: capabilities, labels, overlayfs's own, or not supported by the file
    /// system.
    package var droppedAttributes: Int64 = 0

    package struct HardLink: Equatable, Hashable, Sendable {
        package let path: [UInt8]
        package let target: [UInt8]
        package init(path: [UInt8], target: [UInt8]) {
            self.path = path
            self.target = target
        }
    }

    package init(diffID: Digest) { self.diffID = diffID }
}
