package import ImageSpec

/// What one layer is, apart from the files it holds: all that is needed to put it on top of others.
package struct LayerSummary: Equatable, Sendable {
    /// Of the uncompressed archive, verified.
    package var diffID: Digest
    /// Of the uncompressed archive.
    package var archiveBytes: Int64 = 0
    /// Of the files' contents, holes included.
    package var fileBytes: Int64 = 0
    package var entries: Int64 = 0
    /// Paths below which nothing of the lower layers is to be seen, and which this layer does not hold itself.
    package var whiteouts: [[UInt8]] = []
    /// Directories of this layer that hide what the lower layers have in them.
    package var opaqueDirectories: [[UInt8]] = []
    /// Directories that had no entry of their own: their attributes, and whether they are a link, is the lower
    /// layers' matter. The root is the empty path.
    package var implicitDirectories: [[UInt8]] = []
    /// Hard links to files that are in no place of this layer.
    package var openHardLinks: [HardLink] = []
    /// Whether whiteouts and opaque directories could be marked in the tree in overlayfs's way.
    package var areMarksMade = true
    package var skippedDevices: Int64 = 0
    /// Extended attributes that were not kept: capabilities, labels, overlayfs's own, or refused by the file system.
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
