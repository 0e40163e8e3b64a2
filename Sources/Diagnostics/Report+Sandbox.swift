internal import LaunchPlanning
internal import LinuxKernel
package import Sandbox

extension Report {
    package init(_ error: SandboxError) {
        switch error {
        case .step(let index, let count, let step, let failure):
            let place = ["step \(index) of \(count): \(step.action.briefSummary) (\(step.origin.summary))"]
            self.init(Self.summary(step.action, failure), details: place, hint: Self.hint(step.action, failure))
        case .process(let stage, let cause): self.init(stage, cause)
        case .account(.unknownUser(let user)):
            self.init(
                "user \"\(user)\" is not in /etc/passwd of the image",
                hint: "numbers need no entry: --user UID[:GID]; --root overrides the image's USER")
        case .account(.unknownGroup(let user)):
            self.init(
                "user \"\(user)\": its group is not in /etc/group of the image",
                hint: "numbers need no entry: --user UID[:GID]; --root overrides the image's USER")
        case .account(.unknownAddedGroup(let group)):
            self.init(
                "--group-add \(group): the group is not in /etc/group of the image",
                hint: "write the group's number, which needs no entry")
        case .account(.outOfRange(let user)):
            self.init(
                "user \"\(user)\": IDs must be numbers from 0 to 2147483647",
                hint: "choose another user with --user UID[:GID]; --root overrides the image's USER")
        case .accountFiles(let user, let failure):
            self.init(
                "cannot look up user \"\(user)\" in the image: \(Self.summary(.pivot, failure))",
                hint:
                    "berth reads these files for numeric users, too, to find their groups; --root overrides the "
                    + "image's USER"
            )
        case .command(let name, let failure): self.init(command: name, failure)
        }
    }

    private static func summary(_ action: PlanAction, _ failure: StepFailure) -> String {
        switch failure {
        case .system(let cause):
            switch action {
            case .createNamespaces(let kinds, _):
                return
                    (kinds.contains(.user) ? "cannot create a user namespace: " : "cannot create a mount namespace: ")
                    + cause.sentence
            case .scratch(.directory(let path)):
                return "cannot use the scratch directory \(path): "
                    + (cause.errno == Errno.ENOENT ? "it does not exist" : "\(cause.call): \(cause.sentence)")
            case .root(.overlay) where cause.call == "mount":
                return "cannot join the image's layers with overlayfs: \(cause.sentence)"
            case .bind(let bind):
                return
                    "cannot mount \(bind.source) on \(bind.target): \(cause.call) \(cause.subject): \(cause.sentence)"
            default: return "\(cause.call) \(cause.subject): \(cause.sentence)"
            }
        case .sourceMissing(let path): return "cannot mount \(path): source path does not exist on this host"
        case .sourceUnreadable(let path, let cause): return "cannot mount \(path): \(cause.sentence)"
        case .leavesRoot(let path, let link):
            return "cannot use \(path) inside the container: "
                + (link.map { "the image has a symbolic link to \($0) there, which leaves the rootfs" }
                    ?? "it leaves the rootfs (EXDEV, cross-device link)")
        case .targetMissing(let path):
            return "cannot mount on \(path): the image lacks this path, and its rootfs is read-only"
        case .targetMissingInVolume(let path, let source, let volume, let cause):
            return cause.map { "cannot mount on \(path): it cannot be created in the volume \(volume): \($0.sentence)" }
                ?? "cannot mount on \(path): \(source) does not exist, and the volume \(volume) is read-only"
        case .belowMount(let path):
            return "cannot create \(path) inside the container: it is below a mounted directory"
        case .readOnlyMount(let path):
            return
                "cannot create the mount point \(path): it is in a mounted directory that is read-only"
        case .tooManyLayers(let count): return "cannot join the image's \(count) layers: overlayfs supports at most 500"
        case .coversRoot(let path): return "cannot mount on \(path): it is the container's root"
        case .tooManyLinks(let path):
            return "cannot use \(path) inside the container: the path has too many symbolic links"
        case .kindsDiffer(let source, let target):
            return "cannot mount \(source) on \(target): one is a directory and the other is a file"
        case .notADirectory(let path):
            return "cannot use \(path) inside the container: it has a component that is no "
                + "directory"
        case .notADevice(let path): return "\(path) is not a device node"
        case .fileTooLarge(let path, let limit):
            return "cannot read \(path) of the image: it is larger than \(limit >> 20) MiB"
        case .hookLate(let path): return "the hook \(path) timed out and was killed"
        case .hookFailed(let path, let status):
            return status > 128
                ? "the hook \(path) was killed by signal \(status - 128)"
                : "the hook \(path) exited with status \(status)"
        }
    }

    private static func hint(_ action: PlanAction, _ failure: StepFailure) -> String? {
        switch (action, failure) {
        case (.createNamespaces(let kinds, _), .system(let cause)) where kinds.contains(.user):
            return UserNamespaceAdvice.hint(for: cause.errno)
        case (.mount("proc", _, _, _), .system(let cause)) where cause.errno == Errno.EPERM:
            return
                "a user can mount /proc only if an existing /proc is fully visible, and an outer container hides parts "
                + "of it: use --pid host"
        case (_, .tooManyLayers):
            return "remove the image with `berth rmi` and pull it again: a pull merges such layers"
        case (.root(.overlay), .system(let cause)) where cause.call == "mount":
            return OverlayAdvice.hint
        case (.scratch(.directory(let path)), .system(let cause)) where cause.errno == Errno.ENOSPC:
            return Self.hint(for: cause, at: path)
        case (.scratch(.directory(let path)), _):
            return "`scratch = \(path)` of berth.conf must be a local directory in which this user may write"
        case (_, .sourceMissing(let path)):
            return "check the spelling; on another node the path may not be mounted: \(path)"
        case (_, .sourceUnreadable(_, let cause)) where cause.errno == Errno.EACCES:
            return "this user needs access to it on this host"
        case (_, .hookFailed), (_, .hookLate):
            return "see its output above, or use a specification without this hook"
        case (_, .fileTooLarge): return "remove the entries that the image does not need"
        case (_, .belowMount):
            return "create it in the mounted directory first, or choose another path: Berth writes only to the "
                + "container's own file systems"
        case (_, .readOnlyMount):
            return "create it in that directory on the host first, or mount the directory without :ro"
        case (_, .notADevice): return "--device takes device nodes; mount files and directories with -v"
        case (_, .targetMissingInVolume(_, let source, _, _)):
            return "create the mount point on the host first (mkdir or touch \(source)), or choose another target"
        case (_, .coversRoot): return "choose a directory below it, or run the directory as an image: dir:PATH"
        case (_, .leavesRoot): return "choose another target path, or mount over the link's directory"
        case (_, .kindsDiffer): return "mount directories on directories and files on files: choose another target"
        case (_, .notADirectory), (_, .tooManyLinks): return "choose another target path"
        case (_, .targetMissing(let path)):
            return
                "create \(path) in the image: without an overlay, a launch cannot add it (see `berth inspect`)"
        case (_, .system(let cause)): return hint(for: cause)
        default: return nil
        }
    }

    private init(_ stage: ProcessStage, _ cause: SystemError) {
        switch stage {
        case .limits:
            self.init(
                "cannot set the limit \(cause.subject): \(cause.sentence)",
                hint: "raising a hard limit needs CAP_SYS_RESOURCE: choose a lower one with --ulimit")
        case .workingDirectory:
            self.init(
                "cannot enter the working directory \(cause.subject): \(cause.sentence)",
                hint: "it must exist inside the container: mount it, or choose another with --workdir")
        case .join:
            self.init(
                "cannot join the container of this step: setns: \(cause.sentence)",
                hint: "the task that created it may have exited; start the step again")
        case .seccomp:
            self.init(
                "cannot load the seccomp filter: \(cause.sentence)",
                hint: "this kernel or an outer container does not allow filters: use --seccomp none")
        case .capabilities, .identity:
            self.init("\(cause.call) \(cause.subject): \(cause.sentence)")
        }
    }

    private init(command name: String, _ failure: CommandFailure) {
        switch failure {
        case .notFound(let searched):
            self.init(
                searched == nil
                    ? "\(name): no such file in the container" : "\(name): command not found in the container",
                details: searched.map { ["searched in PATH: " + $0.joined(separator: ":")] } ?? [],
                hint: Self.hint(notFound: name), status: .notFound)
        case .notExecutable(let path, let cause):
            self.init(
                "cannot execute \(path): \(cause.sentence)",
                hint: cause.errno == Errno.EACCES
                    ? "its mode must allow execution (chmod +x), and its file system must not be mounted noexec" : nil,
                status: .cannotExecute)
        case .interpreterMissing(let path, let interpreter):
            self.init(
                "cannot execute \(path): its interpreter \(interpreter) does not exist in the container",
                hint: "a script's first line, or a program's dynamic loader, must name a file of the image",
                status: .cannotExecute)
        case .carriageReturn(let path, let interpreter):
            self.init(
                "cannot execute \(path): its first line ends in a carriage return, so the interpreter is "
                    + "\"\(interpreter)\\r\"",
                hint: "convert the line ends of Windows: sed -i 's/\\r$//' \(path)", status: .cannotExecute)
        case .tooLarge(let path, let bytes, let longest, let longestBytes):
            self.init(
                longestBytes > 128 << 10
                    ? "cannot execute \(path): \(longest) is \(longestBytes) bytes long; the kernel's limit for one is "
                        + "131072"
                    : "cannot execute \(path): its arguments and environment are \(bytes) bytes, more than the kernel "
                        + "accepts",
                hint: longestBytes > 128 << 10
                    ? "pass the data in a file"
                    : "the limit is a quarter of the stack limit and 6 MiB at most: ulimit -s, or fewer variables "
                        + "(--dry-run "
                        + "lists them)", status: .cannotExecute)
        case .wrongArchitecture(let path, let machine):
            self.init(
                "cannot execute \(path): it is for \(Self.machine(machine)), not for this host",
                hint: "pull the image for this host's architecture: --platform linux/amd64 or linux/arm64",
                status: .cannotExecute)
        case .unknownFormat(let path):
            self.init(
                "cannot execute \(path): neither a program nor a script that names its interpreter",
                hint: "start the script with a line such as #!/bin/sh, or run it with its interpreter",
                status: .cannotExecute)
        case .isDirectory(let path):
            self.init(
                "cannot execute \(path): it is a directory", hint: "name a program in it", status: .cannotExecute)
        }
    }

    /// Hints for words that only a shell understands, or that belong elsewhere on the command line.
    private static func hint(notFound name: String) -> String {
        let shell = "run it in a shell: berth run IMAGE sh -c '\(name) …'"
        if name.hasPrefix("-"), name != "-" {
            return
                "\(name) follows the image, so it is the command; write options before the image: berth run \(name) … "
                + "IMAGE"
        }
        if name.utf8.contains(where: { $0 == 0x20 || $0 == 0x09 || $0 == 0x0A }) {
            return
                "the quotes make it one word: omit them (berth run IMAGE \(name)), or run a shell: sh -c '\(name)'"
        }
        if name.contains("="), !name.hasPrefix("=") {
            return "set variables before the image: berth run -e \(name) IMAGE"
        }
        switch name {
        case "cd": return "cd is built into the shell; --workdir DIRECTORY sets the working directory"
        case "export", "set", "declare", "unset":
            return "\(name) is built into the shell; -e NAME=VALUE sets a variable"
        case "ulimit": return "ulimit is built into the shell; --ulimit NAME=VALUE sets a limit"
        case "source", ".":
            return "\(name) is built into the shell; run it in one: berth run IMAGE sh -c '. FILE && COMMAND'"
        case "alias", "bg", "builtin", "command", "eval", "exec", "exit", "fg", "hash", "jobs", "local", "pushd",
            "popd",
            "read", "return", "shift", "shopt", "times", "trap", "type", "typeset", "umask", "unalias", "wait", ":",
            "if",
            "for", "while", "until", "case", "function", "!", "[[", "{", "(":
            return "\(name) is built into the shell; \(shell)"
        case "module", "ml":
            return "\(name) is a function of the host's shell; the software must be in the image"
        default: return "check the spelling, and that the image contains it"
        }
    }

    /// `e_machine` of elf(5).
    private static func machine(_ number: UInt16) -> String {
        switch number {
        case 3: "x86 (32 bits)"
        case 21: "ppc64"
        case 40: "arm"
        case 62: "x86_64 (linux/amd64)"
        case 183: "aarch64 (linux/arm64)"
        case 243: "riscv64"
        default: "machine \(number)"
        }
    }
}

extension Report {
    package init(_ error: RendezvousError) {
        switch error {
        case .system(let cause):
            self.init(
                "cannot connect to the other tasks of this step: \(cause.call) \(cause.subject): "
                    + "\(cause.sentence)")
        case .builderFailed(let localID):
            self.init("no container: task \(localID) on this node failed to create the container; see its error above")
        case .otherVersion:
            self.init(
                "another task of this step runs another version of Berth",
                hint:
                    "Berth was replaced while the step started: start it again, with the same version on all nodes"
            )
        case .noPlace(let places):
            self.init(
                "cannot create a directory for the tasks of this step",
                details: places.map {
                    "\($0.path): "
                        + ($0.error.errno == Errno.EPERM
                            ? "owned by another user, or in a directory without the sticky bit"
                            : "\($0.error.call): \($0.error.sentence)")
                }, hint: "you must be able to write to one of these directories, such as /dev/shm")
        }
    }
}
