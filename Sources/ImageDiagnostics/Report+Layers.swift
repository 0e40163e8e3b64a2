internal import Diagnostics
internal import ImageSpec
internal import Layers
internal import LinuxKernel

extension Report {
    /// A layer that could not be unpacked; `subject` says which.
    init(_ error: LayerError, of subject: String) {
        let damaged = "nothing was kept; pull again, and if it fails again, the image was built or copied wrongly"
        switch error.reason {
        case .source(let failure): self.init("cannot read \(subject): \(failure.underlying)")
        case .blobSize(let expected, let actual):
            self.init("\(subject) has \(actual) bytes instead of \(expected)", hint: damaged)
        case .blobDigest(let expected, let actual):
            self.init(
                "\(subject) is not what its digest says", details: ["expected \(expected)", "found \(actual)"],
                hint: damaged)
        case .diffID(let expected, let actual):
            self.init(
                "\(subject) unpacks to something else than the image's configuration names",
                details: ["expected \(expected)", "found \(actual)"], hint: damaged)
        case .unsupportedCompression(let name):
            self.init(
                "\(subject) is compressed with \(name)",
                hint: "Berth reads gzip and zstd: push the image with one of them")
        case .corrupt(let compression, let code):
            self.init("\(subject) is damaged: \(compression) reports \(code)", hint: damaged)
        case .truncated: self.init("\(subject) ends in the middle", hint: damaged)
        case .archive(let fault): self.init("\(subject) holds a broken archive: \(Self.sentence(fault))", hint: damaged)
        case .limit(let kind, let limit):
            self.init("\(subject) \(Self.sentence(kind, limit))", hint: Self.hint(for: kind))
        case .system(let error):
            // A file that is open is named by the entry, below; the number of its descriptor says nobody anything.
            let file = error.subject.hasPrefix("/proc/self/fd/") ? "" : " \(error.subject)"
            self.init(
                "cannot unpack \(subject): \(error.call)\(file): \(error.sentence)",
                hint: Self.shortage(error) ?? Self.hint(for: error))
        case .cancelled: self.init("interrupted while unpacking \(subject)")
        }
        if let entry = error.entry {
            let place = error.offset.map { ", at byte \($0)" } ?? ""
            details.append("entry \(String(decoding: entry, as: UTF8.self))\(place)")
        }
    }

    private static func hint(for kind: UnpackLimits.Kind) -> String {
        let remedy = "write layer-limit = \(kind.rawValue)=NUMBER with a larger number into berth.conf"
        guard kind == .zstdWindowBytes else {
            return "an archive made to do harm, or an image larger than most: if you trust it, " + remedy
        }
        return "push the image packed without --long; or \(remedy), 2g at most, which is as far as zstd goes"
    }

    private static func sentence(_ kind: UnpackLimits.Kind, _ limit: Int64) -> String {
        switch kind {
        case .totalBytes: "unpacks to more than \(limit) bytes"
        case .entries: "holds more than \(limit) entries"
        case .pathDepth: "has a path of more than \(limit) levels"
        case .pathBytes: "has a path of more than \(limit) bytes"
        case .extendedHeaderBytes: "has an extended header of more than \(limit) bytes"
        case .extendedAttributeBytes: "has an extended attribute of more than \(limit) bytes"
        case .sparseExtents: "has a sparse file in more than \(limit) pieces"
        case .marks: "hides, leaves out or links more than \(limit) places of lower layers"
        case .expansionRatio, .ratioFloor: "unpacks to more than \(limit) times its size"
        case .zstdWindowBytes: "is packed by zstd so that unpacking it takes more than \(limit) bytes of memory"
        }
    }

    private static func sentence(_ fault: LayerError.ArchiveFault) -> String {
        switch fault {
        case .truncatedHeader, .truncatedData: "it ends too early"
        case .checksum: "a header's checksum is wrong"
        case .number(let field): "a header's \(field) is no number"
        case .loneZeroBlock: "it goes on after its end"
        case .extendedHeader: "an extended header cannot be read"
        case .sparseMap: "the map of a sparse file cannot be read"
        case .entryType(let type): "an entry has the type \(type), which no layer may hold"
        case .emptyName: "an entry has no name"
        case .rootIsNotADirectory: "its root is no directory"
        case .whiteout: "a whiteout names nothing that can be hidden"
        case .hardLinkToDirectory: "a hard link points to a directory"
        case .hardLinkTargetMissing: "a hard link points to what is not there"
        case .symlinkLoop: "symbolic links lead in a circle"
        case .nulInName: "a name holds a NUL"
        }
    }
}
