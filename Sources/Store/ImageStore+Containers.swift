package import LinuxKernel

/// A container whose files outlive its step: `containers/NAME/{upper,work,record,lease}` below the store. What is written
/// inside lies in `upper`, over the trees of the image that `record` names.
package struct NamedContainer: Sendable {
    package let path: String
    /// Locked shared by all that run in it.
    package let lease: DescriptorBox
    /// As the image was asked for.
    package let image: String
    /// Of its manifest; empty where the image has none.
    package let digest: String
}

extension ImageStore {
    /// The store, made where there is none.
    package static func openOrCreate(_ path: String) throws(StoreError) -> ImageStore {
        if let store = try open(existing: path) { return store }
        return try open(creating: path)
    }

    /// Held by the process that decides about this name or creates a container of it; `nil` where another one does.
    package func tryLockContainer(_ name: String) throws(StoreError) -> WorkLock? {
        try tryWorkLock("containers/" + name)
    }

    package func container(_ name: String) throws(StoreError) -> NamedContainer? {
        let directory = "containers/" + name
        guard
            let lease = try optional({ () throws(SystemError) in
                try root.open(directory + "/lease", .readOnly | .noFollow)
            }),
            let bytes = try optional({ () throws(SystemError) in
                try root.open(directory + "/record", .readOnly | .noFollow).readAll(limit: 65536)
            })
        else { return nil }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 3, lines[0] == "berth-container-record 1" else {
            throw .damaged(path: "\(path)/\(directory)/record", reason: "not a container's record of this version")
        }
        return NamedContainer(
            path: "\(path)/\(directory)", lease: DescriptorBox(lease), image: String(lines[1]),
            digest: String(lines[2]))
    }

    /// Under the name's lock. A directory of that name without a record was never finished and goes.
    package func makeContainer(
        _ name: String, image: String, digest: String
    ) throws(StoreError) -> NamedContainer {
        let made: Void? = try optional { () throws(SystemError) in
            do throws(SystemError) { try root.makeDirectory("containers", mode: 0o700) } catch {
                if error.errno != 17 { throw error }  // EEXIST
            }
            let all = try root.open("containers", .readOnly | .directory | .noFollow)
            try all.removeTree(name)
            try all.makeDirectory(name, mode: 0o700)
            let own = try all.open(name, .readOnly | .directory | .noFollow)
            try own.makeDirectory("upper", mode: 0o755)
            try own.makeDirectory("work", mode: 0o755)
            _ = try own.open("lease", .writeOnly | .create | .exclusive | .noFollow, mode: 0o600)
            let record = try own.open("record.new", .writeOnly | .create | .exclusive | .noFollow, mode: 0o600)
            try record.writeAll(Array("berth-container-record 1\n\(image)\n\(digest)\n".utf8))
            try own.move("record.new", to: "record", in: own)
        }
        guard made != nil, let container = try container(name) else {
            throw .system(SystemError(call: "open", errno: 2, subject: "\(path)/containers/\(name)"))
        }
        return container
    }

    /// Removes the containers that no process is in and whose name `isOver` knows.
    package func removeContainers(where isOver: (String) -> Bool) throws(StoreError) {
        guard
            let all = try optional({ () throws(SystemError) in
                try root.open("containers", .readOnly | .directory | .noFollow)
            })
        else { return }
        for name in try storing({ () throws(SystemError) in try all.entries() }) where isOver(name.displayPath) {
            guard let lock = try tryWorkLock("containers/" + name.displayPath) else { continue }
            if let lease = try? all.open(name + Array("/lease".utf8), .readOnly | .noFollow),  // absent: nobody is in it
                (try? lease.tryLock(.exclusive)) != true  // no lock, or somebody runs in it: it stays
            {
                continue
            }
            try storing { () throws(SystemError) in try all.removeTree(name) }
            _ = consume lock
        }
    }
}
