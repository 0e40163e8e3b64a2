extension ImageConfig: Codable {
    private enum Key: String, CodingKey { case created, author, config, rootfs, history }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        // `os`, `architecture` and `variant` are fields of the top-level object. Old and handmade images omit some of
        // them; the host's values are then assumed, as in Docker.
        platform = try Platform(from: decoder).completed(by: .host)
        created = try container.decodeIfPresent(String.self, forKey: .created)
        author = try container.decodeIfPresent(String.self, forKey: .author)
        config = try container.decodeIfPresent(Execution.self, forKey: .config) ?? Execution()
        rootfs = try container.decode(RootFS.self, forKey: .rootfs)
        history = try container.decodeIfPresent([History].self, forKey: .history) ?? []
    }

    package func encode(to encoder: any Encoder) throws {
        try platform.encode(to: encoder)
        var container = encoder.container(keyedBy: Key.self)
        try container.encodeIfPresent(created, forKey: .created)
        try container.encodeIfPresent(author, forKey: .author)
        try container.encode(config, forKey: .config)
        try container.encode(rootfs, forKey: .rootfs)
        if !history.isEmpty { try container.encode(history, forKey: .history) }
    }
}

extension ImageConfig.Execution: Codable {
    private enum Key: String, CodingKey {
        case user = "User", env = "Env", entrypoint = "Entrypoint", cmd = "Cmd", workingDir = "WorkingDir"
        case volumes = "Volumes", exposedPorts = "ExposedPorts", labels = "Labels", stopSignal = "StopSignal"
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        // Docker writes "" for an unset value.
        func text(_ key: Key) throws -> String? {
            let value = try container.decodeIfPresent(String.self, forKey: key)
            return value?.isEmpty == true ? nil : value
        }
        user = try text(.user)
        env = try container.decodeIfPresent([String].self, forKey: .env) ?? []
        entrypoint = try container.decodeIfPresent(Words.self, forKey: .entrypoint)?.words ?? []
        cmd = try container.decodeIfPresent(Words.self, forKey: .cmd)?.words ?? []
        workingDir = try text(.workingDir)
        volumes = try container.decodeIfPresent(KeySet.self, forKey: .volumes)?.keys ?? []
        exposedPorts = try container.decodeIfPresent(KeySet.self, forKey: .exposedPorts)?.keys ?? []
        labels = try container.decodeIfPresent([String: String?].self, forKey: .labels)?.compactMapValues(\.self) ?? [:]
        stopSignal = try text(.stopSignal)
        // execve(2) would end the word at the NUL and run another command than the one displayed.
        let words: [(Key, [String])] = [
            (.user, [user ?? ""]), (.env, env), (.entrypoint, entrypoint), (.cmd, cmd),
            (.workingDir, [workingDir ?? ""]),
        ]
        for (key, words) in words where words.contains(where: { $0.utf8.contains(0) }) {
            throw DecodingError.dataCorruptedError(
                forKey: key, in: container, debugDescription: "it contains a NUL character")
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encodeIfPresent(user, forKey: .user)
        if !env.isEmpty { try container.encode(env, forKey: .env) }
        if !entrypoint.isEmpty { try container.encode(entrypoint, forKey: .entrypoint) }
        if !cmd.isEmpty { try container.encode(cmd, forKey: .cmd) }
        try container.encodeIfPresent(workingDir, forKey: .workingDir)
        if !volumes.isEmpty { try container.encode(KeySet(keys: volumes), forKey: .volumes) }
        if !exposedPorts.isEmpty { try container.encode(KeySet(keys: exposedPorts), forKey: .exposedPorts) }
        if !labels.isEmpty { try container.encode(labels, forKey: .labels) }
        try container.encodeIfPresent(stopSignal, forKey: .stopSignal)
    }

    /// A list of words. Early Docker images have a single string for one word.
    private struct Words: Decodable {
        let words: [String]

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            do {
                words = try container.decode([String].self)
            } catch DecodingError.typeMismatch {
                words = [try container.decode(String.self)]
            }
        }
    }

    /// A set encoded as an object with empty values, as Go does.
    private struct KeySet: Codable {
        let keys: [String]

        private struct Name: CodingKey {
            let stringValue: String
            var intValue: Int? { nil }
            init(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }

        init(keys: [String]) { self.keys = keys }

        init(from decoder: any Decoder) throws {
            keys = try decoder.container(keyedBy: Name.self).allKeys.map(\.stringValue).sorted()
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Name.self)
            for key in keys { _ = container.nestedContainer(keyedBy: Name.self, forKey: Name(stringValue: key)) }
        }
    }
}

extension ImageConfig.RootFS: Codable {
    private enum Key: String, CodingKey {
        case type
        case diffIDs = "diff_ids"
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        guard try container.decode(String.self, forKey: .type) == "layers" else {
            throw DecodingError.dataCorruptedError(
                forKey: .type, in: container, debugDescription: "rootfs.type is not \"layers\"")
        }
        diffIDs = try container.decodeIfPresent([Digest].self, forKey: .diffIDs) ?? []
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode("layers", forKey: .type)
        try container.encode(diffIDs, forKey: .diffIDs)
    }
}

extension ImageConfig.History: Codable {
    private enum Key: String, CodingKey {
        case created, comment
        case createdBy = "created_by"
        case emptyLayer = "empty_layer"
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        created = try container.decodeIfPresent(String.self, forKey: .created)
        createdBy = try container.decodeIfPresent(String.self, forKey: .createdBy)
        comment = try container.decodeIfPresent(String.self, forKey: .comment)
        emptyLayer = try container.decodeIfPresent(Bool.self, forKey: .emptyLayer) ?? false
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encodeIfPresent(created, forKey: .created)
        try container.encodeIfPresent(createdBy, forKey: .createdBy)
        try container.encodeIfPresent(comment, forKey: .comment)
        if emptyLayer { try container.encode(true, forKey: .emptyLayer) }
    }
}
