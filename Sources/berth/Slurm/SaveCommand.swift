internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Store

/// `berth slurm-save`, once the last task of the step on this node has ended: `--container-save=PATH`. A directory, a squashfs
/// file where the name says so, or what `berth export` writes. What is there already is never removed, but for a squashfs
/// file of that very name.
struct SaveCommand {
    let plugin: PluginRequest

    static func carryOut(_ words: [String]) -> Never {
        do throws(Failure) {
            let arguments = try InternalArguments(words, verb: "slurm-save", PluginRequest.names + ["--root", "--to"])
            // At the end of a step slurmstepd stands in a directory of its own.
            let plugin = try PluginRequest(arguments) { $0.variable("PWD") ?? "/" }
            let root = try arguments.descriptor("--root")
            // The programs below are to have it: what Berth was given is closed when it executes another.
            let files: (box: DescriptorBox, number: Int32)
            do throws(SystemError) { files = try root.inheritableCopy() } catch { throw .system(error) }
            try SaveCommand(plugin: plugin).save("/proc/self/fd/\(files.number)", to: arguments.value("--to") ?? "")
            withExtendedLifetime(files.box) {}
        } catch {
            Processes.exit(PluginFailure.say(error))
        }
        Processes.exit(0)
    }

    /// - Parameter files: The container's root, under a path that holds in the programs started from here.
    private func save(_ files: String, to text: String) throws(Failure) {
        for scheme in ["oci:", "oci-archive:"] where text.hasPrefix(scheme) {
            let path = absolutePath(String(text.dropFirst(scheme.utf8.count)), from: plugin.workingDirectory)
            return try export(files, to: scheme + path)
        }
        if text.hasPrefix("docker://") { return try export(files, to: text) }
        try Self.checkDestination(text)
        let path = absolutePath(text, from: plugin.workingDirectory)
        let isSquashfs = [".sqsh", ".squashfs", ".sqfs"].contains(where: path.hasSuffix)
        let existing = try? FileStatus(of: path, followLinks: false)  // absent, as it should be
        guard existing == nil || (isSquashfs && existing?.kind == .regular) else {
            throw .report(
                Report(
                    "cannot save the container as \(path): there is something of that name already",
                    hint: existing?.kind == .directory
                        ? "name something new, such as \(path)/NAME.sqsh for a squashfs file or \(path)/NAME for a directory"
                        : "remove it, or choose another name"))
        }
        let draft: SaveDraft
        do throws(SystemError) { draft = try SaveDraft(for: path) } catch {
            throw .report(
                Report(
                    "cannot save the container as \(path): \(error.subject): \(error.sentence)",
                    hint: "save to a directory that exists on the node and that you may write to"))
        }
        // What is left of it: everything where saving fails, which then reports the first error.
        defer { draft.remove() }
        let root = try mapError(to: Failure.system) { () throws(SystemError) in
            try OwnedFileDescriptor(opening: "/", .path | .directory)
        }
        try step("copy", "/bin/cp", ["--archive", "--one-file-system", files + "/.", draft.path])
        if isSquashfs { try describe(draft.path) }
        try publish(draft, as: path, isSquashfs: isSquashfs, root)
        Terminal.note("saved the container as \(path)")
    }

    static func checkDestination(_ text: String) throws(Failure) {
        guard text.hasPrefix("docker-archive:") else { return }
        throw .report(
            Report(
                "cannot save the container as \(text): berth reads Docker's archives and does not write them",
                hint: "write oci-archive:FILE, which `docker load` takes since Docker 25, or docker://REGISTRY/NAME:TAG"
            ))
    }

    /// As an image: a named container's changes over its image's layers, or all of an unnamed one's files as one layer.
    private func export(_ files: String, to destination: String) throws(Failure) {
        var words = ["export", "--quiet"]
        var text = plugin.options.image
        if let name = plugin.name, let kept = try kept(name) {
            words += ["--upper", kept.path + "/upper"]
            text = kept.image
        } else {
            words += ["--root", files]
        }
        if let store = plugin.options.store { words += ["--store", store] }
        let name = try ImageTool.export(words + [text, destination], environment: plugin.caller.environment)
        Terminal.note("saved the container as \(name)")
    }

    private func kept(_ name: ContainerName) throws(Failure) -> NamedContainer? {
        let path = try plugin.settings().storePath
        return try mapError(to: Failure.store) { () throws(StoreError) in
            try ImageStore.open(existing: path)?.container(name.directory)
        }
    }

    private func publish(
        _ draft: SaveDraft, as path: String, isSquashfs: Bool, _ root: borrowing OwnedFileDescriptor
    ) throws(Failure) {
        if isSquashfs {
            // gzip every squashfs-tools has; within a job's memory, of which mksquashfs would take the machine's quarter.
            let how = ["-comp", "gzip", "-Xcompression-level", "1", "-mem", "64M"]
            try step(
                "squash", "/usr/bin/mksquashfs",
                [draft.path, draft.file, "-all-root", "-noappend", "-no-progress", "-quiet"] + how)
        }
        do throws(SystemError) {
            if isSquashfs {
                try root.move(draft.file, to: path, in: root)
            } else {
                try root.moveWithoutReplacing(draft.path, to: path, in: root)
            }
        } catch {
            throw .system(error)
        }
    }

    /// What the image says besides files, as Enroot writes it: or what is saved would have another environment when it runs.
    private func describe(_ draft: String) throws(Failure) {
        let image = try imageOfSaved()?.image
        guard let image else { return }
        let saved = SavedImage(image)
        try mapError(to: Failure.system) { () throws(SystemError) in
            let directory = try OwnedFileDescriptor(opening: draft, .readOnly | .directory)
            do throws(SystemError) { try directory.makeDirectory("etc", mode: 0o755) } catch {
                if error.errno != Errno.EEXIST { throw error }
            }
            let files: [(String, [UInt8], UInt32)] = [
                (SavedImage.environmentPath, saved.environmentFile, 0o644),
                (SavedImage.scriptPath, saved.script, 0o755),
                (SavedImage.exactPath, saved.exactFile, 0o644),
            ]
            for (name, bytes, mode) in files {
                // Whatever the container has there, a pipe or a link for one.
                let etc = try directory.resolve("etc", .path | .directory)
                let base = String(name.dropFirst("etc/".utf8.count))
                try etc.removeTree(base)
                try etc.open(base, .writeOnly | .create | .exclusive | .noFollow, mode: mode).writeAll(bytes)
            }
        }
    }

    private func imageOfSaved() throws(Failure) -> LocatedImage? {
        var text = plugin.options.image
        if let name = plugin.name, let kept = try kept(name) { text = kept.image }
        return text.isEmpty ? nil : try ImageLocator(plugin.request(image: text)).find()
    }

    private func step(_ verb: String, _ program: String, _ arguments: [String]) throws(Failure) {
        let ended: Processes.Ended
        do throws(SystemError) {
            ended = try Processes.run(
                program, arguments: [program] + arguments, environment: ["PATH=/usr/bin:/bin", "LC_ALL=C"],
                output: .captureBoth(limit: 1 << 16), deadline: .max)
        } catch {
            throw .report(
                Report(
                    "cannot \(verb) the container's files: \(program): \(error.sentence)",
                    hint: program.hasSuffix("mksquashfs")
                        ? "install squashfs-tools on the nodes, or save to a directory" : nil))
        }
        guard ended.status == 0 else {
            let said = String(decoding: ended.output, as: UTF8.self).split(separator: "\n").prefix(5).map(String.init)
            throw .report(
                Report(
                    "cannot \(verb) the container's files: \(program) ended with status \(ended.status)", details: said,
                    hint: ended.status == 137 ? "the job may have run out of memory: ask for more with --mem" : nil))
        }
    }
}
