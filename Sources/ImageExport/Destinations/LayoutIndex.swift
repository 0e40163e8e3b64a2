internal import Foundation
internal import ImageSpec

/// A layout's index.json, of which everything stays that is not understood.
///
/// https://github.com/opencontainers/image-spec/blob/main/image-layout.md
struct LayoutIndex {
    private var document: [String: Any]
    private var manifests: [[String: Any]]
    private static let refName = "org.opencontainers.image.ref.name"
    /// What containerd and newer Docker write beside it.
    private static let containerdName = "io.containerd.image.name"

    static let layoutFile = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)

    init() {
        document = ["schemaVersion": 2, "mediaType": MediaType.ociIndex.rawValue]
        manifests = []
    }

    /// `nil` where it is no index.
    init?(_ bytes: [UInt8]) {
        // An index that readers understand differently is not added to; not JSON: not an index.
        guard let plain = try? DocumentScanner.check(bytes, as: .manifest),  // see above
            let any = try? JSONSerialization.jsonObject(with: Data(plain)),  // see above
            let document = any as? [String: Any], document["layers"] == nil, document["config"] == nil
        else { return nil }
        let entries = document["manifests"] ?? [[String: Any]]()
        guard let manifests = entries as? [[String: Any]] else { return nil }
        self.document = document
        self.manifests = manifests
    }

    /// Adds an image and gives it the tag. What had the tag before stays, without it.
    mutating func add(_ descriptor: Descriptor, tag: String) {
        for index in manifests.indices {
            var annotations = manifests[index]["annotations"] as? [String: Any] ?? [:]
            guard annotations[Self.refName] as? String == tag else { continue }
            annotations[Self.refName] = nil
            annotations[Self.containerdName] = nil
            manifests[index]["annotations"] = annotations.isEmpty ? nil : annotations
        }
        // The same image without a name, of a moment ago or from before: one entry is enough.
        manifests.removeAll { entry in
            (entry["annotations"] as? [String: Any] ?? [:]).isEmpty
                && entry["digest"] as? String == descriptor.digest.description
        }
        var entry: [String: Any] = [
            "mediaType": descriptor.mediaType.rawValue, "digest": descriptor.digest.description,
            "size": descriptor.size, "annotations": [Self.refName: tag],
        ]
        if let platform = descriptor.platform {
            var object = ["os": platform.os, "architecture": platform.architecture]
            object["variant"] = platform.variant
            entry["platform"] = object
        }
        manifests.append(entry)
    }

    func encoded() -> [UInt8] {
        var document = document
        document["manifests"] = manifests
        return JSON.bytes(document)
    }
}

/// JSON as bytes, always the same for the same values.
enum JSON {
    static func bytes(_ object: [String: Any]) -> [UInt8] {
        let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? JSONSerialization.data(withJSONObject: object, options: options) else {  // see below
            preconditionFailure("built of strings, numbers, lists and objects, or read from JSON")
        }
        return Array(data)
    }

    static func object(_ bytes: [UInt8]) -> [String: Any]? {
        (try? JSONSerialization.jsonObject(with: Data(bytes))) as? [String: Any]  // nil: not an object of JSON
    }
}
