package import LaunchPlanning
package import LinuxKernel

/// Carries a plan out in this very process, step by step, and ends by becoming the command.
///
/// Un-forked and single-threaded, so it may allocate and throw; what it mounts is seen by nobody else and goes with
/// the last process in the namespace.
package struct PlanInterpreter: ~Copyable {
    let plan: LaunchPlan
    /// An existing directory that may be covered by our mounts: seen covered in this namespace only.
    var mountPoint: String
    /// Of the caller, before any namespace was made.
    let outerUserID = Identity.outerUserID
    var root: RootDirectory?
    var rootIsTree = false
    /// The tmpfs over `mountPoint`.
    var scratch: DescriptorBox?
    /// Steps that were done while the root was made.
    var seeded: [Int] = []
    /// What holds the directories `upper` and `work`.
    var upper: DescriptorBox?
    /// The upper directory has the files of an earlier container.
    var isReused = false
    var trees: [DescriptorBox] = []
    /// Sources of mounts that lie beneath the mount point, opened before the scratch covers them.
    var sources: [(path: String, place: DescriptorBox)] = []
    /// A directory of the scratch's, detached, to become /dev.
    var deviceDirectory: DescriptorBox?
    private var filesMade = 0
    /// The mount of a container that runs already, to show in place of a new overlay.
    package var rootCopy: DescriptorBox?
    /// What the container's mounts are called in mountinfo(5), by which it can be found again.
    package var label: ContainerLabel?
    /// A process whose signals reach the container's processes without being passed on.
    package var broadcaster: Int32?
    /// What the launch does without.
    package private(set) var notes: [SandboxNote] = []
    /// Keeps a scratch directory on disk from being swept while anything runs in the container.
    package internal(set) var scratchLease: DescriptorBox?

    package init(plan: LaunchPlan, mountPoint: String) {
        self.plan = plan
        self.mountPoint = mountPoint
    }

    /// Steps 1 to the last; afterwards this process stands in the container's file system.
    package mutating func enter() throws(SandboxError) {
        // The host's umask is for the user's files, not for what the launcher makes inside.
        let mask = Identity.setFileCreationMask(0)
        defer { _ = Identity.setFileCreationMask(mask) }
        for (index, step) in plan.steps.enumerated() {
            do throws(StepFailure) {
                if !seeded.contains(index) { try perform(step.action) }
            } catch {
                throw .step(index: index + 1, count: plan.steps.count, step, error)
            }
        }
        // Nothing that names a place of the host may be reachable from the working directory or by the command.
        root = nil
        scratch = nil
        upper = nil
        sources = []
    }

    private mutating func perform(_ action: PlanAction) throws(StepFailure) {
        switch action {
        case .createNamespaces(let kinds, let map): try createNamespaces(kinds, map)
        case .receivePropagationOnly:
            try system { () throws(SystemError) in try Mounts.setPropagationOfAll(.isSlave) }
        case .scratch(let kind): try makeScratch(kind)
        case .root(let kind): try mountRoot(kind)
        case .systemDirectory(let path, let mode): try systemDirectory(path, mode)
        case .directory(let path, let mode):
            do throws(StepFailure) {
                _ = try inside().place(path, creating: .directory(mode: mode))
            } catch {
                // Such a tree stays as it is; a working directory that is missing shows when it is entered.
                guard isUnchangeable(error) else { throw error }
            }
        case .home(let path): try makeHome(path)
        case .bind(let bind): try perform(bind)
        case .mountPoint(let path, let source): try makeMountPoint(path, source)
        case .mount(let type, let path, let flags, let data):
            let target = try inside().place(path, creating: .directory(mode: 0o755))
            try refuseRoot(target, path)
            try system { () throws(SystemError) in
                try Mounts.mount(type: type, over: target.box.descriptor, flags, data: data)
            }
            inside().forget()
            if type == "tmpfs" { try inside().owns(inside().place(path, creating: .nothing)) }
        case .deviceDirectory(let path):
            let target = try inside().place(path, creating: .directory(mode: 0o755))
            try system { () throws(SystemError) in
                if let directory = deviceDirectory {
                    do throws(SystemError) {
                        return try Mounts.attach(directory.descriptor, over: target.box.descriptor)
                    } catch {
                        guard error.meansNoSuchCall else { throw error }
                    }
                }
                try Mounts.mount(
                    type: "tmpfs", over: target.box.descriptor, .noSetUserID | .noExecution, data: "size=64k,mode=755",
                    source: label?.text)
            }
            deviceDirectory = nil
            inside().forget()
            try inside().owns(inside().place(path, creating: .nothing))
        case .append(let text, let path):
            let present = try inside().contents(of: String(path.dropFirst()))
            try put(present + Array(text.utf8), at: path)
        case .resolver(let settings):
            try put(settings.applied(to: inside().contents(of: "etc/resolv.conf")), at: "/etc/resolv.conf")
        case .symlink(let path, let target):
            do throws(StepFailure) {
                try makeSymlink(path, target)
            } catch {
                // As with directories: such an image stays as it is, and what needs the link says so.
                guard isUnchangeable(error) else { throw error }
            }
        case .copy(let source, let target):
            guard let bytes = try? contents(of: source, limit: 1 << 20) else { return }  // absent on the host: nothing to copy
            try put(bytes, at: target)
        case .accounts(let accounts):
            let shells = (try? inside().contents(of: "etc/shells")) ?? []  // absent or unreadable: the image lists none
            let passwd = AccountFiles.passwd(image: try inside().contents(of: "etc/passwd"), shells: shells, accounts)
            try put(passwd, at: "/etc/passwd")
            try put(AccountFiles.group(image: inside().contents(of: "etc/group"), accounts), at: "/etc/group")
            let below = (try? inside().contents(of: "etc/shadow")) ?? []  // absent, or another user's: it stays as it is
            if let shadow = AccountFiles.shadow(image: below, accounts) { try put(shadow, at: "/etc/shadow") }
        case .file(let bytes, let path): try put(bytes, at: path)
        case .cover(let path, let bytes): try cover(path, bytes)
        case .mode(let path, let mode): try setMode(path, mode)
        case .loader(let update): try updateLoader(update)
        case .hook(let hook): try run(hook)
        case .sealRoot:
            let place = try inside().place("/", creating: .nothing)
            try setAttributes(.readOnly, on: place.box.descriptor, recursive: false)
        case .pivot:
            let place = try inside().place("/", creating: .nothing)
            try system { () throws(SystemError) in try Mounts.pivot(to: place.box.descriptor) }
        case .unmount(let path):
            let place = try inside().place(path, creating: .nothing)
            try refuseRoot(place, path)
            try system { () throws(SystemError) in try Mounts.detach(place.box.descriptor) }
            inside().forget()
        case .hostname(let name):
            try system { () throws(SystemError) in try Namespaces.setHostname(name) }
        }
    }

    /// Some images have a file or a link that leads nowhere in place of `/home`; the command may need no home.
    private mutating func makeHome(_ path: String) throws(StepFailure) {
        do throws(StepFailure) {
            guard try inside().place(path, creating: .directory(mode: 0o700)).isDirectory else {
                throw .notADirectory(path)
            }
        } catch {
            switch error {
            case .notADirectory, .tooManyLinks, .leavesRoot: notes.append(.noHome(path))
            // Such a tree stays as it is.
            case let error where isUnchangeable(error): break
            default: throw error
            }
        }
    }

    /// Never in place of what is there.
    private func makeMountPoint(_ path: String, _ source: String?) throws(StepFailure) {
        var isFile = false
        if let source {
            // Absent: the mount itself says so, and nothing is to be made for it.
            guard let status = try? status(ofSource: source) else { return }
            isFile = status.kind != .directory
        }
        do throws(StepFailure) {
            _ = try inside().place(path, creating: isFile ? .file : .directory(mode: 0o755), belowMounts: true)
        } catch {
            let failure = explained(error, target: path)
            if case .targetMissing(let path) = failure, !rootIsTree { throw .readOnlyMount(path) }
            throw failure
        }
    }

    private func makeSymlink(_ path: String, _ target: String) throws(StepFailure) {
        let entry = try inside().parent(of: path, creating: .directory(mode: 0o755))
        try inside().requireOwn(entry, path)
        try system { () throws(SystemError) in
            do throws(SystemError) { try entry.directory.makeSymlink(entry.name, to: target) } catch {
                guard error.errno == Errno.EEXIST else { throw error }
                try entry.directory.removeTree(entry.name)
                try entry.directory.makeSymlink(entry.name, to: target)
            }
        }
    }

    private func createNamespaces(_ kinds: NamespaceKinds, _ map: IDMap?) throws(StepFailure) {
        try system { () throws(SystemError) in
            try Namespaces.create(kinds)
            if kinds.contains(.network) { try Namespaces.startLoopback() }
            if let map {
                try Namespaces.mapIDs(
                    insideUser: map.insideUser, outsideUser: map.outsideUser, insideGroup: map.insideGroup,
                    outsideGroup: map.outsideGroup)
            }
            // From here on in a child: what mounts a /proc decides whose processes it shows.
            if kinds.contains(.process) { try Namespaces.becomeFirstProcess(broadcaster: broadcaster) }
        }
    }

    /// /proc, /sys, /dev and /tmp must be directories: an image that ships a link there would have the mount land
    /// somewhere else (CVE-2019-19921, CVE-2026-41579).
    private func systemDirectory(_ path: String, _ mode: UInt32) throws(StepFailure) {
        let entry = try inside().parent(of: path, creating: .nothing)
        do throws(SystemError) {
            if try entry.directory.status(of: entry.name).kind == .directory { return }
        } catch {
            if error.errno != Errno.ENOENT { throw .system(error) }
        }
        try inside().requireOwn(entry, path)
        do throws(SystemError) { try entry.directory.removeFile(entry.name) } catch {
            if error.errno != Errno.ENOENT { throw .system(error) }
        }
        do throws(SystemError) {
            try entry.directory.makeDirectory(entry.name, mode: mode)
        } catch {
            throw error.errno == Errno.EROFS ? .targetMissing(path) : .system(error)
        }
    }

    private mutating func perform(_ bind: BindMount) throws(StepFailure) {
        guard let copy = try detachedCopy(of: bind) else { return }
        let kind = try system { () throws(SystemError) in try copy.descriptor.status().kind }
        if bind.isOfWrongKind(kind) { throw .notADevice(bind.source) }
        let sourceIsDirectory = kind == .directory
        let target: RootDirectory.Place
        do throws(StepFailure) {
            target = try inside().place(bind.target, creating: sourceIsDirectory ? .directory(mode: 0o755) : .file)
        } catch {
            if bind.optional, isUnchangeable(error) { return }
            if bind.optional, case .belowMount = error { return }
            throw explained(error, target: bind.target)
        }
        try refuseRoot(target, bind.target)
        guard sourceIsDirectory == target.isDirectory else {
            throw .kindsDiffer(source: bind.source, target: bind.target)
        }
        var attributesLeft = bind.attributes
        if copy.isDetached {
            if !attributesLeft.isEmpty,
                try setsAttributes(bind.attributes, on: copy.descriptor, recursive: bind.recursive)
            {
                attributesLeft = []
            }
            do throws(SystemError) {
                try Mounts.attach(copy.descriptor, over: target.box.descriptor)
            } catch {
                guard error.meansNoSuchCall else { throw .system(error) }
                attributesLeft = bind.attributes
                try system { () throws(SystemError) in
                    let place = try openSource(bind.source)
                    try Mounts.bind(place, over: target.box.descriptor, recursive: bind.recursive)
                }
            }
        } else {
            try system { () throws(SystemError) in
                try Mounts.bind(copy.descriptor, over: target.box.descriptor, recursive: bind.recursive)
            }
        }
        if sourceIsDirectory { inside().forget() }
        guard !attributesLeft.isEmpty || !bind.propagation.isEmpty else { return }
        // The descriptor still names what lies beneath the new mount; walk again to get its top.
        let mounted = try inside().place(bind.target, creating: .nothing)
        if !attributesLeft.isEmpty {
            try setAttributes(attributesLeft, on: mounted.box.descriptor, recursive: bind.recursive)
        }
        if !bind.propagation.isEmpty {
            try system { () throws(SystemError) in
                try Mounts.setPropagation(bind.propagation, of: mounted.box.descriptor)
            }
        }
    }

    /// `false` where only a mount that is attached can be changed: on kernels before 5.12, or under a seccomp filter.
    private func setsAttributes(
        _ attributes: MountAttributes, on copy: borrowing OwnedFileDescriptor, recursive: Bool
    ) throws(StepFailure) -> Bool {
        do throws(SystemError) {
            try Mounts.setAttributes(attributes, on: copy, recursive: recursive)
            return true
        } catch {
            if error.meansNoSuchCall { return false }
            throw .system(error)
        }
    }

    /// What is mounted over the root is not seen by those who stand in it: the volume would be missing in silence.
    private func refuseRoot(_ target: RootDirectory.Place, _ path: String) throws(StepFailure) {
        if target.box === inside().directory { throw .coversRoot(path) }
    }

    private struct Source: ~Copyable {
        let descriptor: OwnedFileDescriptor
        /// A copy to attach, or on old kernels the place itself, to bind.
        let isDetached: Bool
    }

    private func detachedCopy(of bind: BindMount) throws(StepFailure) -> Source? {
        do throws(SystemError) {
            let copy =
                if let opened = source(bind.source) {
                    try Mounts.detachedCopy(of: opened.descriptor, recursive: bind.recursive)
                } else {
                    try Mounts.detachedCopy(of: bind.source, recursive: bind.recursive)
                }
            if let copy { return Source(descriptor: copy, isDetached: true) }
            return Source(descriptor: try openSource(bind.source), isDetached: false)
        } catch {
            if bind.optional { return nil }
            throw StepFailure(source: bind.source, error)
        }
    }

    private func source(_ path: String) -> DescriptorBox? { sources.first { $0.path == path }?.place }

    private func openSource(_ path: String) throws(SystemError) -> OwnedFileDescriptor {
        if let opened = source(path) { return try opened.descriptor.duplicate() }
        return try OwnedFileDescriptor(opening: path, .path)
    }

    private func status(ofSource path: String) throws(SystemError) -> FileStatus {
        if let opened = source(path) { return try opened.descriptor.status() }
        return try FileStatus(of: path)
    }

    func setAttributes(
        _ attributes: MountAttributes, on place: borrowing OwnedFileDescriptor, recursive: Bool
    ) throws(StepFailure) {
        do throws(SystemError) {
            try Mounts.setAttributes(attributes, on: place, recursive: recursive)
        } catch {
            guard error.meansNoSuchCall else { throw .system(error) }
            var flags: MountFlags = []
            if attributes.contains(.readOnly) { flags.insert(.readOnly) }
            if attributes.contains(.noSetUserID) { flags.insert(.noSetUserID) }
            if attributes.contains(.noDevices) { flags.insert(.noDevices) }
            if attributes.contains(.noExecution) { flags.insert(.noExecution) }
            try system { () throws(SystemError) in
                try Mounts.remountBind(flags, on: place)
                guard recursive else { return }
                for point in try Mounts.points(below: place) {
                    try Mounts.remountBind(flags, on: try OwnedFileDescriptor(opening: point, .path | .noFollow))
                }
            }
        }
    }

    /// A small file of our own inside: written into the upper directory, or bound over where the root is one
    /// read-only tree.
    mutating func put(_ bytes: [UInt8], at path: String) throws(StepFailure) {
        if !rootIsTree {
            do throws(StepFailure) {
                return try inside().write(bytes, to: path, mode: 0o644)
            } catch {
                guard isUnchangeable(error) else { throw error }
            }
        }
        guard let scratch else { preconditionFailure("the scratch step comes first") }
        let source = try system { () throws(SystemError) in try makeFile(bytes, in: scratch.descriptor) }
        // A tree without the file keeps it so: nothing can be made in it, and nothing needs it that it lacks.
        guard let target = try? inside().place(path, creating: .nothing) else { return }
        try system { () throws(SystemError) in try Mounts.bind(source, over: target.box.descriptor, recursive: false) }
    }

    /// Whether nothing can be made here: in a read-only tree, or under an overlay in a directory that belongs to
    /// somebody who has no id in this user namespace, such as a `dir:` of the administrator's.
    private func isUnchangeable(_ failure: StepFailure) -> Bool {
        switch failure {
        case .targetMissing: rootIsTree
        case .system(let cause): [Errno.EPERM, Errno.EACCES, Errno.EOVERFLOW].contains(cause.errno)
        default: false
        }
    }

    /// In a tmpfs of their own, as nothing can be bound from the scratch itself.
    mutating func makeFile(
        _ bytes: [UInt8], in scratch: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> OwnedFileDescriptor {
        if filesMade == 0 {
            try scratch.makeDirectory("files", mode: 0o755)
            let beneath = try scratch.open("files", .path | .directory)
            try Mounts.mount(
                type: "tmpfs", over: beneath, .noSetUserID | .noDevices, data: "size=\(3 * AccountFiles.limit),mode=755"
            )
        }
        filesMade += 1
        let files = try scratch.open("files", .path | .directory)
        let name = "\(filesMade)"
        try files.open(name, .writeOnly | .create | .exclusive, mode: 0o644).writeAll(bytes)
        return try files.open(name, .path)
    }

    func inside() -> RootDirectory {
        guard let root else { preconditionFailure("the planner puts the root before what is mounted in it") }
        return root
    }
}
