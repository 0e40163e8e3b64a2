package import ImageSpec
package import LaunchPlanning
internal import LinuxKernel
package import SiteConfig

extension Report {
    package init(_ error: OptionError) {
        let help = "`berth run --help` lists the options"
        switch error {
        case .unknown(let option): self.init("unknown option \(option)", hint: Self.instead(of: option) ?? help)
        case .missingValue(let option): self.init("option \(option) needs a value", hint: help)
        case .missingImage:
            self.init(
                "no image given",
                hint: "berth run [OPTIONS] IMAGE [--] [COMMAND…], for example: berth run debian:12 -- id")
        case .badValue(let option, let value, let expected):
            self.init("option \(option) cannot be \"\(value)\"", hint: "it takes \(expected)")
        case .refused(let option, let reason, let remedy):
            self.init("\(option) cannot be honoured: \(reason)", hint: remedy)
        case .hidesImage(let path):
            self.init(
                "--here cannot mount \(path): it would hide files of the image",
                hint: "change to a directory of your own first, or mount a directory elsewhere: -v \(path):/mnt -w /mnt"
            )
        case .namedVolume(let name) where name.hasPrefix("~"):
            self.init(
                "\"\(name)\" is not a path: the shell expands ~ only at the start of a word",
                hint: "write \"$HOME\" instead")
        case .namedVolume(let name):
            self.init(
                "\"\(name)\" is not a path: Berth does not support named volumes",
                hint: "mount a directory of the host: -v /absolute/\(name):/inside, or ./\(name):/inside")
        case .contradiction(let one, let other):
            self.init("\(one) and \(other) contradict each other", hint: "use only one of them")
        case .environmentFile(let path, let line, let name):
            self.init(
                name.isEmpty
                    ? "\(path), line \(line): the name before the = is missing"
                    : "\(path), line \(line): a variable cannot be named \"\(name)\"",
                hint: "a line of an --env-file is NAME=VALUE or NAME, without `export`, quotes or blanks in the name")
        case .environmentFileBytes(let path, let line):
            self.init(
                "\(path), line \(line): the line contains a NUL byte or invalid UTF-8",
                hint: "an --env-file is a text file; set other bytes with --env \"NAME=$VALUE\"")
        case .otherUser(let user, let userID, let groupID):
            self.init(
                "--user \(user): an ordinary user can only be uid \(userID) or 0 inside",
                hint: "omit it, or write --user \(userID):\(groupID); --root and --user 0 make you uid 0 in the "
                    + "container")
        case .noWorkingDirectory(let path):
            self.init(
                "cannot resolve the relative path \(path): the current directory no longer exists",
                hint: "cd to a directory that exists, or write an absolute path")
        case .helpRequested: self.init("help was requested", hint: help)
        }
    }

    package init(_ error: ConfigurationError) {
        let place = error.line > 0 ? "\(error.file), line \(error.line)" : error.file
        switch error.reason {
        case .unreadable(let cause):
            self.init(
                "cannot read the configuration \(error.file): \(cause.sentence)",
                hint: cause.errno == Errno.ENOENT
                    ? "correct or unset BERTH_CONFIG; BERTH_CONFIG=/dev/null uses no file"
                    : error.file.hasSuffix("/.config/berth/berth.conf")
                        ? "it is a user's configuration: check that HOME is your home directory"
                        : "make it readable for all users, or set BERTH_CONFIG to another file")
        case .untrusted(let fault, let isOwn):
            self.init(
                refusing: "configuration", error.file, fault,
                hint: isOwn
                    ? "set HOME to your own home directory (with sudo: `sudo -H`), or change the file's owner"
                    : "root must own the site's configuration: chown root \(fault.path)")
        case .unknownName(let name):
            self.init(
                "\(place): unknown setting \"\(name)\"",
                hint: Self.nearest(to: name, among: SiteConfiguration.names).map { "did you mean \($0)?" }
                    ?? "berth.conf(5) lists all settings")
        case .badValue(let name, let value, let expected):
            self.init("\(place): \(name) cannot be \"\(value)\"", hint: "it takes \(expected)")
        case .unsetVariable(let setting, let variable):
            self.init(
                "\(place): \(setting) uses \(variable), which is not set or not valid in a path",
                hint: variable.hasPrefix("$SLURM")
                    ? "run this in a Slurm job"
                        + (setting == "mount" ? ", or add nofail to the mount's options" : "")
                    : "berth config show \(setting) prints the line")
        case .notText:
            self.init(
                "\(place): the file contains a NUL byte", hint: "save the configuration as UTF-8 text")
        case .notAFile:
            self.init(
                "cannot read the configuration \(error.file): it is not a regular file",
                hint: "set BERTH_CONFIG to a file, to /dev/null for none, or to a shell's <(COMMAND)")
        case .notAnAssignment: self.init("\(place): not of the form name = value", hint: "start a comment with #")
        }
    }

    package init(_ refusal: RegistryPolicy.Refusal) {
        let places = Set(refusal.rules.map(\.place)).sorted().joined(separator: ", ")
        let prefixes = refusal.rules.map(\.prefix)
        if refusal.rules.contains(where: { !$0.isAllowed }) {
            self.init(
                "images of \(refusal.name) are not permitted: registries = deny \(prefixes.joined(separator: " ")) "
                    + "(\(places))",
                hint: "choose another image, or ask the administrator; `berth config show registries` lists the rules")
        } else {
            let shown = prefixes.prefix(6).joined(separator: ", ") + (prefixes.count > 6 ? ", ..." : "")
            self.init(
                "images of \(refusal.name) are not permitted: no prefix of registries = allow matches (\(places))",
                hint: "permitted: \(shown)")
        }
    }

    package init(_ error: PlatformError) {
        self.init(
            "\"\(error.text)\" is not a platform",
            hint: "write OS/ARCHITECTURE[/VARIANT], for example "
                + "linux/arm64")
    }

    package init(_ error: PlanError) {
        switch error {
        case .noCommand(let image, entrypointIsDropped: true):
            self.init(
                "no command: --entrypoint \"\" removes the ENTRYPOINT and CMD of the image \(image)",
                hint: "write a command after the image: berth run --entrypoint \"\" \(image) -- COMMAND")
        case .noCommand(let image, _):
            self.init(
                "no command: the image \(image) has neither ENTRYPOINT nor CMD",
                hint: "write a command after the image: berth run \(image) -- COMMAND")
        case .gpuNotGranted(let position, let granted):
            self.init(
                "GPU \(position) is not among the \(granted) granted here",
                hint: granted == 0
                    ? "request GPUs from the scheduler (--gres=gpu:N), or run with --gpus none"
                    : "--gpus device=INDEX counts the granted GPUs from 0, as CUDA does: use 0 to \(granted - 1)")
        case .tooFewGPUs(let requested, let granted):
            self.init(
                "--gpus \(requested) asks for \(requested) GPUs, but \(granted) \(granted == 1 ? "is" : "are") granted "
                    + "here",
                hint:
                    "request more from the scheduler (--gres=gpu:\(requested)); --gpus N is a count, --gpus device=N "
                    + "an index"
            )
        case .noGPUs:
            self.init(
                "--gpus all, but no GPU can be opened here",
                hint: "request GPUs from the scheduler (--gres=gpu:N); --gpus granted uses the granted GPUs, if any")
        case .relativeWorkingDirectory(let path):
            self.init(
                "the image's WORKDIR \"\(path)\" is not absolute", hint: "choose a directory with --workdir /PATH")
        case .unresolvedVariable(let name, let text, .unset(let missing)):
            self.init(
                "cannot set the variable \(name) to \"\(text)\": \(missing) is set neither in the image nor on the host",
                hint: "set \(missing), or write a default: ${\(missing):-DEFAULT}")
        case .unresolvedVariable(let name, let text, .malformed(let reference)):
            self.init(
                "cannot set the variable \(name) to \"\(text)\": \"\(reference)\" is no reference to a variable",
                hint: "write ${NAME} or ${NAME:-DEFAULT}, and $$ for a dollar sign")
        case .enforcementNeedsRoot:
            self.init(
                "--enforce needs root: ordinary users cannot change cgroup limits",
                hint:
                    "under Slurm, set ConstrainDevices=yes in cgroup.conf, or call `berth confine` in a privileged hook"
            )
        case .unmet(let requirements): self.init(unmet: requirements)
        }
    }

    /// `8 MiB`, `3.9 GiB`; cut off, so that it never says more than there is.
    static func size(_ bytes: UInt64) -> String {
        if bytes == .max { return "unlimited" }
        let units: [(String, UInt64)] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        guard let (unit, shift) = units.first(where: { bytes >> $0.1 > 0 }) else { return "\(bytes) bytes" }
        let tenths = (bytes & (1 << shift - 1)) >> (shift - 10) * 10 >> 10
        return "\(bytes >> shift)\(tenths > 0 ? ".\(tenths)" : "") \(unit)"
    }

    package init(_ error: ImageSourceError) {
        switch error {
        case .empty: self.init("the image's name is empty")
        case .pathWithoutScheme(let path):
            self.init(
                "\"\(path)\" is a path, but its image type is not specified",
                hint: "add a prefix: dir:\(path) for a root file system, oci:\(path) for an OCI layout, "
                    + "oci-archive:\(path) or docker-archive:\(path) for a tar file")
        case .imageFile(let path, let kind):
            let name = kind == .squashfs ? "squashfs" : "SIF"
            self.init(
                "\(path) is a \(name) file, which only `berth run` and the Slurm plugin accept",
                hint:
                    "run it directly: berth run \(path.hasPrefix("/") || path.hasPrefix(".") ? path : "./" + path) -- "
                    + "COMMAND"
            )
        case .unsupportedScheme(let scheme, let rest)
        where ["oci", "oci-archive", "docker-archive", "dir"].contains(scheme):
            self.init(
                "\(scheme)://\(rest) is not a path",
                hint:
                    "write \(scheme):PATH or \(scheme):///ABSOLUTE/PATH; for an image in a registry, write "
                    + "docker://NAME"
            )
        case .unsupportedScheme(let scheme, let rest):
            self.init(
                "images of type \"\(scheme)\" are not supported",
                hint: ["dockerd", "podman", "docker-daemon", "containers-storage"].contains(scheme)
                    ? "save it first: `docker save -o image.tar \(rest)`, then use docker-archive:image.tar"
                    : "use docker://, oci:, oci-archive:, docker-archive: or dir:")
        case .nothingAfterScheme("docker"):
            self.init("the image name after docker:// is missing", hint: "for example: docker://debian:12")
        case .nothingAfterScheme(let scheme):
            self.init("the path after \(scheme): is missing", hint: "write \(scheme):PATH")
        case .emptyTag(let path):
            self.init("the tag after \(path): is empty", hint: "omit the colon, or write a tag")
        case .reference(let error): self.init(error)
        }
    }

    package init(_ error: ReferenceError) {
        let what =
            "\"\(error.text)\" is not an image name: the \(error.part.rawValue), at character \(error.position + 1), "
        switch error.reason {
        case .empty: self.init(what + "is empty")
        case .tooLong(let maximum): self.init(what + "is longer than \(maximum) characters")
        case .uppercase:
            self.init(what + "has upper-case letters", hint: "repositories are lower-case; only tags may have capitals")
        case .unexpected:
            self.init(
                what + "has an invalid character", hint: "write [REGISTRY/]REPOSITORY[:TAG][@DIGEST]")
        case .portOutOfRange: self.init(what + "is not between 1 and 65535")
        case .notADigest(let digest):
            self.init(what + Self.reason(digest), hint: "a digest is sha256: and 64 lower-case hexadecimal digits")
        case .imageID:
            self.init(
                what + "looks like a Docker image ID, which registries do not know",
                hint: "use the image's name, or NAME@sha256:…")
        }
    }

    private static func reason(_ error: DigestError) -> String {
        switch error.reason {
        case .noAlgorithm: "has no algorithm"
        case .unsupportedAlgorithm(let name): "uses \(name), which Berth cannot verify"
        case .notLowercaseHex: "is not lower-case hexadecimal"
        case .wrongLength(let expected, let found): "has \(found) digits instead of \(expected)"
        }
    }
}
