internal import Diagnostics
internal import ImageSpec
internal import Layers
internal import LinuxKernel

extension Report {
    /// A layer that could not be unpacked. `subject` describes the layer.
    init(_ error: LayerError, of subject: String) {
        let damaged = "nothing was stored; pull again. If it fails again, the image itself is damaged"
        switch error.reason {
        case .source(let failure): self.init("cannot read \(subject): \(failure.underlying)")
        case .blobSize(let expected, let actual):
            self.init("\(subject) has \(actual) bytes instead of \(expected)", hint: damaged)
        case .blobDigest(let expected, let actual):
            self.init(
                "\(subject) does not match its digest", details: ["expected \(expected)", "found \(actual)"],
                hint: damaged)
        case .diffID(let expected, let actual):
            self.init(
                "\(subject) does not match its diff_id in the image's configuration",
                details: ["expected \(expected)", "found \(actual)"], hint: damaged)
        case .unsupportedCompression(let name):
            self.init(
                "\(subject) is compressed with \(name)",
                hint: "Berth reads gzip and zstd: push the image with one of them")
        case .corrupt(let compression, let code):
            self.init("\(subject) is damaged: \(compression) reports \(code)", hint: damaged)
        case .truncated: self.init("\(subject) is truncated", hint: damaged)
        case .archive(let fault):
            self.init(
                "\(subject) contains an invalid archive: "
                    + "\(Self.sentence(fault))", hint: damaged)
        case .limit(let kind, let limit):
            self.init("\(subject) \(Self.sentence(kind, limit))", hint: Self.hint(for: kind))
        case .system(let error):
            // Omit the number of a descriptor. The entry below names the file.
            let file = error.subject.hasPrefix("/proc/self/fd/") ? "" : " \(error.subject)"
            self.init(
                "cannot unpack \(subject): \(error.call)\(file): \(error.sentence)",
                hint: Self.shortage(error) ?? Self.hint(for: error))
        case .cancelled: self.init("interrupted while unpacking \(subject)")
        }
        if let entry = error.entry, !entry.isEmpty {
            let place = error.offset.map { ", at byte \($0)" } ?? ""
            details.append("entry \(String(decoding: entry, as: UTF8.self))\(place)")
        }
    }

    private static func hint(for kind: UnpackLimits.Kind) -> String {
        let remedy = "set layer-limit = \(kind.rawValue)=NUMBER in berth.conf to a larger number"
        guard kind == .zstdWindowBytes else {
            return "the image may be malicious, or unusually large: if you trust it, " + remedy
        }
        return "compress the image without --long, or \(remedy), at most 2g, the limit of zstd"
    }

    private static func sentence(_ kind: UnpackLimits.Kind, _ limit: Int64) -> String {
        switch kind {
        case .totalBytes: "unpacks to more than \(limit) bytes"
        case .entries: "has more than \(limit) entries"
        case .pathDepth: "has a path of more than \(limit) levels"
        case .pathBytes: "has a path of more than \(limit) bytes"
        case .extendedHeaderBytes: "has an extended header of more than \(limit) bytes"
        case .extendedAttributeBytes: "has an extended attribute of more than \(limit) bytes"
        case .sparseExtents: "has a sparse file with more than \(limit) extents"
        case .marks: "hides or links more than \(limit) paths of lower layers"
        case .expansionRatio, .ratioFloor: "unpacks to more than \(limit) times its size"
        case .zstdWindowBytes: "needs more than \(limit) bytes of memory for the zstd window"
        }
    }

    private static func sentence(_ fault: LayerError.ArchiveFault) -> String {
        switch fault {
        case .truncatedHeader, .truncatedData: "it is truncated"
        case .checksum: "a header's checksum is wrong"
        case .number(let field): "the field \(field) of a header is not a number"
        case .loneZeroBlock: "data follows its end marker"
        case .extendedHeader: "an extended header is invalid"
        case .sparseMap: "the map of a sparse file is invalid"
        case .entryType(let type): "an entry has the type \(type), which is not allowed in a layer"
        case .emptyName: "an entry has no name"
        case .rootIsNotADirectory: "its root is not a directory"
        case .whiteout: "a whiteout has an invalid name"
        case .hardLinkToDirectory: "a hard link points to a directory"
        case .memberTwice: "the archive has two members of this name, and tools differ in which one they read"
        case .hardLinkTargetMissing: "the target of a hard link is missing"
        case .symlinkLoop: "symbolic links form a loop"
        case .nulInName: "a name contains a NUL"
        }
    }
}
