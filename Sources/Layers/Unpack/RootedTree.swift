internal import CLinux
internal import LinuxKernel

/// Directories beneath one root, found as the kernel would find them after `chroot`, and never outside it.
///
/// The common case is one openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, or none where the directory is
/// still open from the entry before. Only where a link or a gap is in the way the path is walked component by
/// component, each opened with O_NOFOLLOW, links read and followed by hand with the root as their `/`.
final class RootedTree {
    let root: DescriptorBox

    /// A directory that is open, and its real path: no links in it.
    final class Place {
        let directory: DescriptorBox
        let path: [UInt8]
        init(_ directory: DescriptorBox, _ path: [UInt8]) {
            self.directory = directory
            self.path = path
        }
    }

    /// How to deal with what the walk meets.
    enum Missing {
        /// Nothing is made; the walk ends.
        case report
        /// Directories are made where there is nothing.
        case create
        /// So too where a file is in the way, which goes: a later entry needs a directory there.
        case createReplacingFiles
    }

    enum Found {
        case place(Place)
        /// No such directory; the real path it would have, as far as links in the tree tell.
        case missing([UInt8])
        /// Something that is not a directory is in the way.
        case obstructed
    }

    /// Called before something else than directories is looked at: what is to be there must be.
    var onObstacle: (() throws(LayerError) -> Void)?
    /// Hears of each directory that was made on the way, by its real path.
    var onCreate: (([UInt8]) throws(LayerError) -> Void)?
    /// Removes what is at a name, directory or not, and forgets what was known about it.
    var onReplace: ((Place, [UInt8]) throws(LayerError) -> Void)?

    private var cache: [(asked: [UInt8], place: Place)] = []
    private let capacity = 24
    private let top: Place

    init(_ root: DescriptorBox) {
        self.root = root
        top = Place(root, [])
    }

    /// Must be called when a directory or link that was there is removed or replaced: open places may lie below it.
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
            // ENOSYS: a kernel before 5.6; the walk below needs no openat2.
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
                // Above the root is the root, as in a chroot.
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

    /// What is at a name, a link itself and not its target; nil for nothing.
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
