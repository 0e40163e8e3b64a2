/// An image configuration: the platform, the execution parameters, and the digests of the unpacked layers.
///
/// Null and absent are equivalent, and unknown fields are ignored, as the specification requires.
/// https://github.com/opencontainers/image-spec/blob/main/config.md
package struct ImageConfig: Hashable, Sendable {
    package var platform: Platform
    package var created: String?
    package var author: String?
    package var config: Execution
    package var rootfs: RootFS
    package var history: [History]

    /// The `config` object: execution parameters.
    package struct Execution: Hashable, Sendable {
        package var user: String?
        package var env: [String] = []
        package var entrypoint: [String] = []
        package var cmd: [String] = []
        package var workingDir: String?
        package var volumes: [String] = []
        package var exposedPorts: [String] = []
        package var labels: [String: String] = [:]
        package var stopSignal: String?

        package init() {}
    }

    package struct RootFS: Hashable, Sendable {
        /// Digests of the uncompressed layer archives, base layer first.
        package var diffIDs: [Digest]

        package init(diffIDs: [Digest]) { self.diffIDs = diffIDs }
    }

    package struct History: Hashable, Sendable {
        package var created: String?
        package var createdBy: String?
        package var comment: String?
        package var emptyLayer: Bool
    }

    package init(
        platform: Platform, config: Execution = Execution(), rootfs: RootFS, created: String? = nil,
        author: String? = nil, history: [History] = []
    ) {
        self.platform = platform
        self.created = created
        self.author = author
        self.config = config
        self.rootfs = rootfs
        self.history = history
    }
}
