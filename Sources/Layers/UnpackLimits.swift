/// Limits against hostile archives. The defaults are far above the needs of published images.
package struct UnpackLimits: Equatable, Sendable {
    /// The uncompressed size of one layer, in bytes.
    package var totalBytes: Int64 = 4 << 40
    package var entries: Int64 = 20_000_000
    /// The size of one PAX or GNU long-name header. Bounds memory: CVE-2022-2879.
    package var extendedHeaderBytes: Int64 = 1 << 20
    /// The length of a name in bytes. The kernel's PATH_MAX, including NUL, is 4096.
    package var pathBytes: Int64 = 4095
    package var pathDepth: Int64 = 1024
    package var extendedAttributeBytes: Int64 = 65_536
    /// The number of extents of one sparse file. Bounds memory: CVE-2025-58183.
    package var sparseExtents: Int64 = 1 << 18
    /// Whiteouts, opaque and implicit directories and open hard links, which the summary lists.
    package var marks: Int64 = 4_000_000
    /// The ratio of uncompressed to compressed bytes, checked above `ratioFloor` bytes. A gzip stream cannot exceed
    /// 1032.
    package var expansionRatio: Int64 = 100_000
    package var ratioFloor: Int64 = 1 << 30
    /// The window of a zstd frame in bytes, which is held in memory. `zstd --long=31` needs 2 GiB.
    package var zstdWindowBytes: Int64 = 2 << 30

    package init() {}

    /// The name in `layer-limit =` of berth.conf.
    package enum Kind: String, CaseIterable, Equatable, Sendable {
        case totalBytes = "bytes"
        case entries
        case pathDepth = "path-depth"
        case pathBytes = "path-bytes"
        case extendedHeaderBytes = "header-bytes"
        case extendedAttributeBytes = "xattr-bytes"
        case sparseExtents = "sparse-extents"
        case marks
        case expansionRatio = "ratio"
        case ratioFloor = "ratio-from"
        case zstdWindowBytes = "zstd-window"
    }

    package subscript(_ kind: Kind) -> Int64 {
        get { self[keyPath: Self.keyPath(kind)] }
        set { self[keyPath: Self.keyPath(kind)] = newValue }
    }

    private static func keyPath(_ kind: Kind) -> WritableKeyPath<UnpackLimits, Int64> {
        switch kind {
        case .totalBytes: \.totalBytes
        case .entries: \.entries
        case .pathDepth: \.pathDepth
        case .pathBytes: \.pathBytes
        case .extendedHeaderBytes: \.extendedHeaderBytes
        case .extendedAttributeBytes: \.extendedAttributeBytes
        case .sparseExtents: \.sparseExtents
        case .marks: \.marks
        case .expansionRatio: \.expansionRatio
        case .ratioFloor: \.ratioFloor
        case .zstdWindowBytes: \.zstdWindowBytes
        }
    }
}
