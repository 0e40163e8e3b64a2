/// Which objects of a JSON document have keys of the specification, and which have keys that are data.
///
/// Go's encoding/json, which most tools use, treats `Layers` like `layers`. Two spellings of a specification's key
/// could therefore describe two images in one document. Labels may differ by case.
package indirect enum DocumentShape: Sendable {
    /// Content that Berth does not interpret. Only repeated keys are rejected.
    case any
    /// The keys are data, such as labels.
    case map
    /// The keys are data, and all values have one shape.
    case entries(DocumentShape)
    case list(DocumentShape)
    case object([String: DocumentShape])
}

extension DocumentShape {
    /// https://github.com/opencontainers/image-spec/blob/main/descriptor.md
    private static let descriptor = DocumentShape.object([
        "mediaType": .any, "digest": .any, "size": .any, "urls": .any, "annotations": .map, "data": .any,
        "artifactType": .any, "platform": platform,
    ])

    private static let platform = DocumentShape.object([
        "architecture": .any, "os": .any, "os.version": .any, "os.features": .any, "variant": .any, "features": .any,
    ])

    /// A manifest or an index. All parsers must agree on which of the two it is.
    package static let manifest = DocumentShape.object([
        "schemaVersion": .any, "mediaType": .any, "artifactType": .any, "config": descriptor,
        "layers": .list(descriptor), "subject": descriptor, "manifests": .list(descriptor), "fsLayers": .any,
        "annotations": .map,
    ])

    /// https://github.com/opencontainers/image-spec/blob/main/config.md
    package static let config = DocumentShape.object([
        "created": .any, "author": .any, "architecture": .any, "os": .any, "os.version": .any, "os.features": .any,
        "variant": .any, "config": execution, "container_config": execution,
        "rootfs": .object(["type": .any, "diff_ids": .any]),
        "history": .list(
            .object(["created": .any, "author": .any, "created_by": .any, "comment": .any, "empty_layer": .any])),
    ])

    private static let execution = DocumentShape.object([
        "User": .any, "ExposedPorts": .map, "Env": .any, "Entrypoint": .any, "Cmd": .any, "Volumes": .map,
        "WorkingDir": .any, "Labels": .map, "StopSignal": .any, "ArgsEscaped": .any, "Healthcheck": .any, "Shell": .any,
        "OnBuild": .any,
    ])

    /// `manifest.json` of `docker save`.
    package static let archive = DocumentShape.list(
        .object(["Config": .any, "RepoTags": .any, "Layers": .any, "Parent": .any, "LayerSources": .map]))

    /// https://github.com/opencontainers/image-spec/blob/main/image-layout.md#oci-layout-file
    package static let layout = DocumentShape.object(["imageLayoutVersion": .any])
}
