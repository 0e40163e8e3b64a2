internal import Distribution
internal import ImageSpec

/// The index.json of a layout. Preserves unknown fields.
///
/// https://github.com/opencontainers/image-spec/blob/main/image-layout.md
struct LayoutIndex {
    private var document: JSONValue
    private var manifests: [JSONValue]
    private static let refName = "org.opencontainers.image.ref.name"
    /// The annotation that containerd and newer Docker also write.
    private static let containerdName = "io.containerd.image.name"

    static let layoutFile = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)

    init() {
        document = .object(["schemaVersion": .integer(2), "mediaType": .string(MediaType.ociIndex.rawValue)])
        manifests = []
    }

    /// `nil` if the bytes are not an image index.
    init?(_ bytes: [UInt8]) {
        // Do not add to an index that parsers interpret differently. Invalid JSON is not an index.
        guard let document = try? Documents.decode(JSONValue.self, from: bytes, as: .manifest),  // invalid: `nil`
            document.object != nil, document["layers"] == nil, document["config"] == nil,
            let manifests = document["manifests"].map(\.array) ?? [],
            manifests.allSatisfy({ $0.object != nil })
        else { return nil }
        self.document = document
        self.manifests = manifests
    }

    /// Adds an image and moves the tag to it. The previous image stays without the tag.
    mutating func add(_ descriptor: Descriptor, tag: String) {
        for index in manifests.indices {
            guard var annotations = manifests[index]["annotations"]?.object,
                annotations[Self.refName] == .string(tag)
            else { continue }
            annotations[Self.refName] = nil
            annotations[Self.containerdName] = nil
            manifests[index]["annotations"] = annotations.isEmpty ? nil : .object(annotations)
        }
        // Remove the same image without a name, which the loop above or an earlier export left.
        manifests.removeAll { entry in
            (entry["annotations"]?.object ?? [:]).isEmpty
                && entry["digest"] == .string(descriptor.digest.description)
        }
        var entry = descriptor.json
        entry["annotations"] = .object([Self.refName: .string(tag)])
        if let platform = descriptor.platform {
            var object = JSONValue.object([
                "os": .string(platform.os), "architecture": .string(platform.architecture),
            ])
            object["variant"] = platform.variant.map { .string($0) }
            entry["platform"] = object
        }
        manifests.append(entry)
    }

    func encoded() -> [UInt8] {
        var document = document
        document["manifests"] = .array(manifests)
        return document.encoded()
    }
}

extension Descriptor {
    /// The fields of every descriptor.
    var json: JSONValue {
        .object([
            "mediaType": .string(mediaType.rawValue), "digest": .string(digest.description), "size": .integer(size),
        ])
    }
}
