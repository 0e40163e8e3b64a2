/// Caps against hostile archives; the defaults are far above what any published image was seen to need.
package struct UnpackLimits: Equatable, Sendable {
    /// Uncompressed bytes of one layer.
    package var totalBytes: Int64 = 4 << 40
    package var entries: Int64 = 20_000_000
    /// One PAX or GNU long-name header; bounds memory, see CVE-2022-2879.
    package var extendedHeaderBytes: Int64 = 1 << 20
    /// A name, in bytes; the kernel's PATH_MAX with its NUL is 4096.
    package var pathBytes: Int64 = 4095
    package var pathDepth: Int64 = 1024
    package var extendedAttributeBytes: Int64 = 65_536
    /// Stretches of data in one sparse file; bounds memory, see CVE-2025-58183.
    package var sparseExtents: Int64 = 1 << 18
    /// Whiteouts, opaque and implicit directories and open hard links: what a summary may list.
    package var marks: Int64 = 4_000_000
    /// Uncompressed over compressed bytes, looked at above `ratioFloor` bytes: a gzip stream can not pass 1032.
    package var expansionRatio: Int64 = 100_000
    package var ratioFloor: Int64 = 1 << 30
    /// How far back a zstd frame may look, in bytes, all of which are held in memory; `zstd --long=31` makes 2 GiB.
    package var zstdWindowBytes: Int64 = 2 << 30

    package init() {}

    /// By its name in `layer-limit =` of berth.conf.
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
