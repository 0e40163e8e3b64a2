internal import LaunchPlanning
internal import LinuxKernel

extension PlanInterpreter {
    /// A tmpfs over the mount point holds the root's mount point and, unless the site chose a directory, the overlay's
    /// upper directory.
    mutating func makeScratch(_ kind: Scratch) throws(StepFailure) {
        try openTrees()
        openSources()
        switch kind {
        case .memory: break
        case .directory(let path):
            try system { () throws(SystemError) in
                let place = try ScratchDirectory.make(below: path, user: outerUserID)
                upper = DescriptorBox(place.directory)
                scratchLease = DescriptorBox(place.lease)
            }
        case .container(let path):
            try system { () throws(SystemError) in
                upper = DescriptorBox(try OwnedFileDescriptor(opening: path, .readOnly | .directory))
            }
            isReused = true
        }
        let (mountPoint, label) = (self.mountPoint, self.label?.text)
        var size = "size=16m"
        if case .memory(let limit) = kind { size = limit.map { "size=\($0)" } ?? "size=50%" }
        let options = size + ",mode=755"
        let base = try system { () throws(SystemError) in
            try Mounts.mount(type: "tmpfs", at: mountPoint, .noSetUserID | .noDevices, data: options, source: label)
            let base = try OwnedFileDescriptor(opening: mountPoint, .path | .directory)
            try base.makeDirectory("root", mode: 0o755)
            try base.makeDirectory("dev", mode: 0o755)
            return base
        }
        deviceDirectory = try system { () throws(SystemError) in
            // Before the scratch is made unbindable. Kernels before 5.12 get a tmpfs later.
            do throws(SystemError) {
                guard let copy = try Mounts.detachedCopy(of: "dev", in: base) else { return nil }
                try Mounts.setAttributes(.noSetUserID | .noExecution, on: copy, recursive: false)
                return DescriptorBox(copy)
            } catch {
                if error.meansNoSuchCall { return nil }
                throw error
            }
        }
        if case .memory = kind {
            try system { () throws(SystemError) in
                try base.makeDirectory("upper", mode: 0o755)
                try base.makeDirectory("work", mode: 0o755)
                upper = DescriptorBox(try base.duplicate())
            }
        }
        scratch = DescriptorBox(base)
    }

    /// Opened before our tmpfs covers the mount point, which may lie in the store itself.
    private mutating func openTrees() throws(StepFailure) {
        for step in plan.steps {
            guard case .root(let kind) = step.action else { continue }
            let paths: [String]
            switch kind {
            case .overlay(let lower): paths = lower
            case .tree(let path): paths = [path]
            }
            for path in paths {
                do throws(SystemError) {
                    trees.append(DescriptorBox(try OwnedFileDescriptor(opening: path, .path | .directory)))
                } catch {
                    throw StepFailure(source: path, error)
                }
            }
        }
    }

    /// Where the scratch covers the tree that is run, and not an empty directory of the store: what a user or the site mounts
    /// may be a part of that tree.
    private mutating func openSources() {
        let coversTree = plan.steps.contains { step in
            switch step.action {
            case .root(.overlay(let lower)): lower.contains(mountPoint)
            case .root(.tree(let path)): path == mountPoint
            default: false
            }
        }
        // Unreadable /proc: as it is.
        guard coversTree, let top = trees.last, let covered = try? top.descriptor.currentPath() else { return }
        // `WORK/..` leads nowhere once it is covered.
        mountPoint = RawText.string(covered[...])
        for step in plan.steps {
            guard case .bind(let bind) = step.action else { continue }
            switch step.origin {
            case .option, .site: break
            default: continue
            }
            // Absent or closed: the mount says so.
            guard let place = try? OwnedFileDescriptor(opening: bind.source, .path),
                let path = try? place.currentPath(), path.starts(with: covered),
                path.count == covered.count || path[covered.count] == UInt8(ascii: "/")
            else { continue }
            sources.append((bind.source, DescriptorBox(place)))
        }
    }

    mutating func mountRoot(_ kind: RootFilesystem) throws(StepFailure) {
        guard let base = scratch else { preconditionFailure("the scratch step comes first") }
        if case .overlay(let lower) = kind, lower.count > Self.mostLayers { throw .tooManyLayers(lower.count) }
        if case .overlay = kind, !isReused, rootCopy == nil { try system { () throws(SystemError) in try seedUpper() } }
        let trees = self.trees
        self.trees = []
        // The overlay's options may name the trees by number: they stay open until the kernel has read them.
        defer { withExtendedLifetime(trees) {} }
        try system { () throws(SystemError) in
            let place = try base.descriptor.open("root", .path | .directory)
            switch kind {
            case .overlay(let lower):
                if let copy = rootCopy {
                    try Mounts.attach(copy.descriptor, over: place)
                } else {
                    try mountOverlay(lower, trees, over: place, base.descriptor)
                }
            case .tree:
                guard let tree = trees.first else { preconditionFailure("the planner gives a tree") }
                rootIsTree = true
                try Mounts.bind(tree.descriptor, over: place, recursive: false)
            }
            // Or a recursive bind of a directory above, such as a home with the store in it, would show it inside. Only
            // now: overlayfs clones the mount of its upper directory.
            try Mounts.forbidBinding(of: base.descriptor)
            root = try RootDirectory(try base.descriptor.open("root", .path | .directory), isTree: rootIsTree)
        }
        rootCopy = nil
        if rootIsTree {
            // At once, not at the end: the tree is the store's, and the launcher itself must not write to it either.
            try setAttributes(
                .readOnly | .noSetUserID | .noDevices, on: inside().directory.descriptor, recursive: false)
        }
    }

    /// `OVL_MAX_STACK` of every kernel; a pull joins the layers of images that have more.
    static let mostLayers = 500

    /// mount(2) reads one page of options and silently cuts what is longer, which may leave a list that is still valid.
    private static let mostNames = 3072

    private func mountOverlay(
        _ paths: [String], _ trees: [DescriptorBox], over place: borrowing OwnedFileDescriptor,
        _ base: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        guard let upper else { preconditionFailure("the scratch step comes first") }
        let isInMemory = scratchLease == nil && !isReused
        let up = isInMemory ? ".." : upper.descriptor.procPath
        let volatile = scratchLease == nil ? "" : ",volatile"
        func options(_ lower: String) -> String {
            "lowerdir=\(lower),upperdir=\(up)/upper,workdir=\(up)/work,userxattr\(volatile)"
        }
        let flags: MountFlags = [.noSetUserID, .noDevices]
        if let lower = lowerDirectories(paths, trees) {
            return try Mounts.mount(type: "overlay", over: place, flags, data: options(lower))
        }
        try base.makeDirectory("layers", mode: 0o755)
        let links = try base.open("layers", .readOnly | .directory)
        var lower = ""
        for index in trees.indices.reversed() {
            let name = Self.shortName(index)
            try links.makeSymlink(name, to: trees[index].descriptor.procPath)
            lower += (lower.isEmpty ? "" : ":") + name
        }
        try links.enter()
        try Mounts.mount(type: "overlay", at: place.procPath, flags, data: options(lower))
    }

    /// At most two characters for all that overlayfs can stack.
    private static func shortName(_ index: Int) -> String {
        let digits = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".utf8)
        let low = digits[index % digits.count]
        return String(
            decoding: index < digits.count ? [low] : [digits[index / digits.count - 1], low], as: UTF8.self)
    }

    /// The value of overlayfs' `lowerdir`, the highest first, with no character that overlayfs would want escaped; `nil`
    /// where the layers have to be named by short links, or mount(2) would cut the list.
    ///
    /// Layers beside the mount point are named from the root's place, two directories below; others through /proc, which
    /// is slower and shorter.
    private func lowerDirectories(_ paths: [String], _ trees: [DescriptorBox]) -> String? {
        let beside = mountPoint.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(mountPoint[...$0]) } ?? mountPoint
        let isBeside =
            paths.allSatisfy { $0.hasPrefix(beside + "layers/") }
            && paths.reduce(0) { $0 + $1.utf8.count + 7 } <= Self.mostNames
        var lower = ""
        for index in trees.indices.reversed() {
            if !lower.isEmpty { lower += ":" }
            lower +=
                isBeside
                ? "../../" + String(paths[index].dropFirst(beside.utf8.count)) : trees[index].descriptor.procPath
            if lower.utf8.count > Self.mostNames { return nil }
        }
        return lower
    }
}
