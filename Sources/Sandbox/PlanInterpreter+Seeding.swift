internal import LaunchPlanning
internal import LinuxKernel

/// The launcher's own files in /etc and the user's home, laid into the upper directory before the overlay stands:
/// through the overlay each of them costs a copy of what lies below, a third of a launch together. Where the image's
/// directory is anything but plain ones of the caller's own, nothing is laid and the steps take the way through the
/// overlay.
extension PlanInterpreter {
    /// Afterwards the steps in `seeded` have been done.
    mutating func seedUpper() throws(SystemError) {
        guard let upper else { return }
        try describeRoot(upper.descriptor)
        let top = try upper.descriptor.open("upper", .path | .directory)
        try seedEtc(top)
        for index in plan.steps.indices {
            let (path, mode): (String, UInt32)
            switch plan.steps[index].action {
            case .directory(let place, let bits): (path, mode) = (place, bits)
            case .home(let place): (path, mode) = (place, 0o700)
            default: continue
            }
            guard path.hasPrefix("/") else { continue }
            let inside = path.utf8.dropFirst()
            guard let slash = inside.firstIndex(of: UInt8(ascii: "/")) else { continue }
            let (parent, name) = (
                String(path[inside.startIndex..<slash]), String(path[path.utf8.index(after: slash)...])
            )
            // What is mounted over /dev would hide it.
            guard parent != "etc", parent != "dev", !parent.hasPrefix("."), !name.isEmpty, name != ".", name != "..",
                !name.utf8.contains(UInt8(ascii: "/"))
            else { continue }
            if try seedDirectory(name, mode, below: parent, in: top) { seeded.append(index) }
        }
    }

    /// The merged root directory shows the upper directory's mode and owner: those of the image's root directory.
    private func describeRoot(_ scratch: borrowing OwnedFileDescriptor) throws(SystemError) {
        guard let status = try trees.last?.descriptor.status() else { return }
        if status.userID != Identity.userID || status.groupID != Identity.groupID {
            // Before the mode, whose bits chown(2) may clear.
            do throws(SystemError) {
                try scratch.setOwner(of: "upper", user: status.userID, group: status.groupID)
            } catch {
                // Only root can; in a user namespace that maps one user there is no other owner.
                guard error.errno == Errno.EPERM || error.errno == Errno.EINVAL else { throw error }
            }
        }
        if status.permissions != 0o755 { try scratch.setPermissions(of: "upper", status.permissions & 0o1777) }
    }

    private mutating func seedEtc(_ top: borrowing OwnedFileDescriptor) throws(SystemError) {
        guard let layers = try layers(of: "etc") else { return }
        var (passwd, group, shadow): ([UInt8]?, [UInt8]?, [UInt8]?)
        for step in plan.steps {
            guard case .accounts(let accounts) = step.action else { continue }
            guard let below = try contents(of: "passwd", in: layers.directories),
                let groupBelow = try contents(of: "group", in: layers.directories)
            else { return }
            let shells = (try? contents(of: "shells", in: layers.directories)) ?? []  // unreadable: the image lists none
            passwd = AccountFiles.passwd(image: below, shells: shells, accounts)
            let hidden = (try? contents(of: "shadow", in: layers.directories)) ?? []  // root's, in a shared store: it stays
            shadow = AccountFiles.shadow(image: hidden, accounts)
            group = AccountFiles.group(image: groupBelow, accounts)
        }
        let etc = try Self.make("etc", layers.mode, in: top)
        for index in plan.steps.indices {
            switch plan.steps[index].action {
            case .accounts:
                guard let passwd, let group else { continue }
                try Self.write(passwd, to: "passwd", in: etc)
                try Self.write(group, to: "group", in: etc)
                if let shadow { try Self.write(shadow, to: "shadow", in: etc) }
            case .copy(let source, let target):
                guard target.hasPrefix("/etc/"), let bytes = try? LinuxKernel.contents(of: source, limit: 1 << 20)  // as the step
                else { continue }
                try Self.write(bytes, to: String(target.dropFirst(5)), in: etc)
            case .file(let bytes, "/etc/hostname"): try Self.write(bytes, to: "hostname", in: etc)
            default: continue
            }
            seeded.append(index)
        }
    }

    /// `false` where only the merged view knows what is there.
    private func seedDirectory(
        _ name: String, _ mode: UInt32, below parent: String, in top: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> Bool {
        guard let layers = try layers(of: parent) else { return false }
        for directory in layers.directories where try !Self.isAbsent(name, in: directory.descriptor) { return false }
        do throws(SystemError) {
            try Self.make(parent, layers.mode, in: top).makeDirectory(name, mode: mode)
        } catch {
            guard error.errno == Errno.EEXIST else { throw error }  // another step's
            return false
        }
        return true
    }

    private static func make(
        _ name: String, _ mode: UInt32, in top: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> OwnedFileDescriptor {
        try top.makeDirectory(name, mode: mode)
        return try top.open(name, .path | .directory)
    }

    private static func write(
        _ bytes: [UInt8], to name: String, in directory: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        try directory.open(name, .writeOnly | .create | .exclusive, mode: 0o644).writeAll(bytes)
    }

    private struct Layers {
        /// Of the uppermost, which is what the merged directory shows.
        let mode: UInt32
        /// Highest first, down to an opaque one.
        let directories: [DescriptorBox]
    }

    /// What the image's layers have at a name of its root; `nil` where that is no plain directory of the caller's.
    private func layers(of name: String) throws(SystemError) -> Layers? {
        var mode: UInt32?
        var directories: [DescriptorBox] = []
        for index in trees.indices.reversed() {
            guard let directory = try Self.plainDirectory(name, in: trees[index].descriptor) else {
                if try Self.isAbsent(name, in: trees[index].descriptor) { continue }
                // A link, a file or a whiteout: it ends the merge, and as the uppermost it is what is there.
                if mode == nil { return nil }
                break
            }
            let status = try directory.descriptor.status()
            guard status.userID == Identity.userID else { return nil }
            if mode == nil { mode = status.permissions }
            directories.append(directory)
            if try directory.descriptor.extendedAttribute("user.overlay.opaque") != nil { break }
        }
        return mode.map { Layers(mode: $0, directories: directories) }
    }

    private static func plainDirectory(
        _ name: String, in tree: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> DescriptorBox? {
        do throws(SystemError) {
            return DescriptorBox(try tree.open(name, .readOnly | .directory | .noFollow))
        } catch {
            if [Errno.ENOENT, Errno.ENOTDIR, Errno.ELOOP, Errno.EACCES].contains(error.errno) { return nil }
            throw error
        }
    }

    private static func isAbsent(_ name: String, in tree: borrowing OwnedFileDescriptor) throws(SystemError) -> Bool {
        do throws(SystemError) { _ = try tree.status(of: name) } catch {
            if error.errno == Errno.ENOENT { return true }
            throw error
        }
        return false
    }

    /// The bytes of the uppermost regular file of that name, nothing where there is none; `nil` where what is there is
    /// no regular file and only the merged view knows what it stands for.
    private func contents(of name: String, in directories: [DescriptorBox]) throws(SystemError) -> [UInt8]? {
        for directory in directories {
            do throws(SystemError) {
                guard try directory.descriptor.status(of: name).kind == .regular else { return nil }
            } catch {
                guard error.errno == Errno.ENOENT else { throw error }
                continue
            }
            do throws(SystemError) {
                return try directory.descriptor.open(name, .readOnly | .noFollow).readAll(limit: AccountFiles.limit)
            } catch {
                // EFBIG: the step says so, which knows the file's name.
                if error.errno == Errno.EFBIG { return nil }
                throw error
            }
        }
        return []
    }
}
