/// Which objects of a JSON document have the specification's keys, and which have keys that are data.
///
/// Go's encoding/json, which most tools read images with, takes `Layers` for `layers`. Where the keys are the
/// specification's, two spellings of one key would therefore be two images; labels may differ by case.
package indirect enum DocumentShape: Sendable {
    /// Unknown to Berth: only a repeated key is refused.
    case any
    /// The keys are data, such as labels.
    case map
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

    /// A manifest or an index: which of the two it is must not depend on the reader either.
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
