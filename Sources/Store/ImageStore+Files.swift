package import LinuxKernel

/// A place for what an image file holds, `squashfs/KEY/tree`; the key says which file, and which state of it.
package struct UnpackedFile {
    package let tree: String
    /// Where to unpack to, where `lease` is `nil`.
    package let draft: String
    /// Keeps it from being removed.
    package let lease: DescriptorBox?
    let key: String
    let lock: DescriptorBox?
}

extension ImageStore {
    /// Waits until nobody else unpacks this file. Blocks.
    package func unpackedFile(_ key: String) throws(StoreError) -> UnpackedFile {
        let lock = try workLock("squashfs/" + key)
        let lease = try leaseFile(key)
        if lease == nil {
            try storing { () throws(SystemError) in
                do throws(SystemError) { try root.makeDirectory("squashfs", mode: 0o700) } catch {
                    if error.errno != 17 { throw error }  // EEXIST
                }
                // Under the lock: what has this name is of one who died.
                try root.open("squashfs", .readOnly | .directory | .noFollow).removeTree(key + ".new")
                try root.makeDirectory("squashfs/" + key + ".new", mode: 0o700)
            }
        }
        return UnpackedFile(
            tree: "\(path)/squashfs/\(key)/tree", draft: "\(path)/squashfs/\(key).new/tree", lease: lease, key: key,
            lock: lock)
    }

    /// What lies in the draft is whole.
    package func publish(_ file: UnpackedFile) throws(StoreError) -> (tree: String, lease: DescriptorBox?) {
        try storing { () throws(SystemError) in
            let all = try root.open("squashfs", .readOnly | .directory | .noFollow)
            let draft = try all.open(file.key + ".new", .readOnly | .directory | .noFollow)
            // Unpacked as the user, a root of mode 0700 or less would hide the tree from the container's own root.
            try draft.setPermissions(of: "tree", 0o755)
            _ = try draft.open("lease", .writeOnly | .create | .noFollow, mode: 0o600)
            do throws(SystemError) { try all.moveWithoutReplacing(file.key + ".new", to: file.key, in: all) } catch {
                if error.errno != 17 && error.errno != 39 { throw error }  // EEXIST, ENOTEMPTY: no locks, and another was first
                try all.removeTree(file.key + ".new")
            }
        }
        return (file.tree, try leaseFile(file.key))
    }

    private func leaseFile(_ key: String) throws(StoreError) -> DescriptorBox? {
        try optional { () throws(SystemError) in
            let lease = try root.open("squashfs/\(key)/lease", .readOnly | .noFollow)
            do throws(SystemError) { try lease.lock(.shared) } catch { if !error.meansNoLocks { throw error } }
            return DescriptorBox(lease)
        }
    }
}
