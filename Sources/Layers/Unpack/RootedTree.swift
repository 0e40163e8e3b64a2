internal import CLinux
internal import LinuxKernel

/// Finds directories beneath one root as the kernel would after `chroot`, and never outside of it.
///
/// Usually this needs one openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, or none if the directory is still
/// open from the previous entry. If a link or a missing directory is in the path, walks it component by component:
/// opens each with O_NOFOLLOW and follows links itself, with the root as their `/`.
final class RootedTree {
    let root: DescriptorBox

    /// An open directory and its real path, which contains no links.
    final class Place {
        let directory: DescriptorBox
        let path: [UInt8]
        init(_ directory: DescriptorBox, _ path: [UInt8]) {
            self.directory = directory
            self.path = path
        }
    }

    /// What to do about missing directories.
    enum Missing {
        /// Create nothing and stop.
        case report
        /// Create them.
        case create
        /// Create them, and replace files in the way: a later entry needs a directory there.
        case createReplacingFiles
    }

    enum Found {
        case place(Place)
        /// The directory is missing; the associated value is its real path.
        case missing([UInt8])
        /// Something other than a directory is in the way.
        case obstructed
    }

    /// Called before something other than a directory is inspected, so that queued files exist.
    var onObstacle: (() throws(LayerError) -> Void)?
    /// Called for each created directory with its real path.
    var onCreate: (([UInt8]) throws(LayerError) -> Void)?
    /// Removes the entry at a name, directory or not, and its records.
    var onReplace: ((Place, [UInt8]) throws(LayerError) -> Void)?

    private var cache: [(asked: [UInt8], place: Place)] = []
    private let capacity = 24
    private let top: Place

    init(_ root: DescriptorBox) {
        self.root = root
        top = Place(root, [])
    }

    /// Must be called when a directory or link is removed or replaced, because open places may be below it.
    func forgetOpenDirectories() { cache.removeAll(keepingCapacity: true) }

    func find(_ path: ArraySlice<UInt8>, _ missing: Missing) throws(LayerError) -> Found {
        if path.isEmpty { return .place(top) }
        if let index = cache.firstIndex(where: { $0.asked.elementsEqual(path) }) {
            let hit = cache[index]
            if index > 0 {
                cache.remove(at: index)
                cache.insert(hit, at: 0)
            }
            return .place(hit.place)
        }
        let asked = Array(path)
        var place: Place?
        do throws(SystemError) {
            place = Place(
                DescriptorBox(try root.descriptor.resolve(asked, [.path, .directory], [.beneath, .noSymlinks])), asked)
        } catch {
            // ENOSYS: Linux before 5.6; the walk below does not need openat2.
            guard [ENOENT, ENOTDIR, ELOOP, ENOSYS].contains(error.errno) else { throw LayerError(.system(error)) }
        }
        if let place {
            remember(asked, place)
            return .place(place)
        }
        try onObstacle?()
        let found = try walk(asked, missing)
        if case .place(let place) = found { remember(asked, place) }
        return found
    }

    private func remember(_ asked: [UInt8], _ place: Place) {
        if cache.count == capacity { cache.removeLast() }
        cache.insert((asked, place), at: 0)
    }

    private func walk(_ path: [UInt8], _ missing: Missing) throws(LayerError) -> Found {
        var pending = Array(EntryPath.components(path).reversed())
        var stack = [top]
        var links = 0
        while let name = pending.popLast() {
            guard let here = stack.last else { return .obstructed }
            if name == [0x2E] { continue }
            if name == [0x2E, 0x2E] {
                // The parent of the root is the root, as in a chroot.
                if stack.count > 1 { stack.removeLast() }
                continue
            }
            let kind = try kind(of: name, in: here)
            if kind == .directory {
                stack.append(try open(name, in: here))
                continue
            }
            if kind == .symlink {
                links += 1
                // The kernel's own limit, MAXSYMLINKS.
                if links > 40 { throw .archive(.symlinkLoop) }
                let target: [UInt8]
                do throws(SystemError) { target = try here.directory.descriptor.linkTarget(name) } catch {
                    throw LayerError(.system(error))
                }
                if target.first == EntryPath.slash { stack.removeSubrange(1...) }
                pending.append(contentsOf: EntryPath.components(target).reversed())
                continue
            }
            switch (kind, missing) {
            case (nil, .report):
                var rest = here.path
                for part in [name] + pending.reversed() {
                    if part == [0x2E] { continue }
                    rest = part == [0x2E, 0x2E] ? Array(EntryPath.parent(rest)) : EntryPath.join(rest, part)
                }
                return .missing(rest)
            case (.some, .report), (.some, .create): return .obstructed
            case (.some, .createReplacingFiles): try onReplace?(here, name)
            case (nil, _): break
            }
            do throws(SystemError) { try here.directory.descriptor.makeDirectory(name, mode: 0o700) } catch {
                throw LayerError(.system(error))
            }
            let made = try open(name, in: here)
            try onCreate?(made.path)
            stack.append(made)
        }
        guard let last = stack.last else { return .obstructed }
        return .place(last)
    }

    /// The type of the entry at a name, without following links; `nil` if it is missing.
    func kind(of name: [UInt8], in place: Place) throws(LayerError) -> FileStatus.Kind? {
        do throws(SystemError) { return try place.directory.descriptor.status(of: name).kind } catch {
            if error.errno == ENOENT { return nil }
            throw LayerError(.system(error))
        }
    }

    private func open(_ name: [UInt8], in place: Place) throws(LayerError) -> Place {
        do throws(SystemError) {
            let opened = try place.directory.descriptor.open(name, [.path, .directory, .noFollow])
            return Place(DescriptorBox(opened), EntryPath.join(place.path, name))
        } catch {
            throw LayerError(.system(error))
        }
    }
}
