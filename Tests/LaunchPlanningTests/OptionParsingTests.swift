import Devices
import LaunchPlanning
import LinuxKernel
import Testing

/// The options of `berth run`, in every spelling that `docker run` takes.
@Suite struct OptionParsingTests {
    static func parse(_ arguments: [String]) throws(OptionError) -> LaunchOptions {
        try LaunchOptions(parsing: arguments, workingDirectory: "/home/u/dir")
    }

    static func options(_ change: (inout LaunchOptions) -> Void) -> LaunchOptions {
        var options = LaunchOptions()
        options.image = "img"
        change(&options)
        return options
    }

    static func bind(_ source: String, _ target: String, readOnly: Bool = false, recursive: Bool = true) -> MountRequest
    {
        MountRequest(kind: .bind(source: source, recursive: recursive), target: target, readOnly: readOnly)
    }

    struct Spelling: Sendable, CustomTestStringConvertible {
        let words: [String]
        let means: LaunchOptions
        init(_ words: String..., means change: (inout LaunchOptions) -> Void) {
            self.words = words
            means = OptionParsingTests.options(change)
        }
        var testDescription: String { words.joined(separator: " ") }
    }

    static let spellings: [Spelling] = [
        Spelling("--volume", "/a:/b", means: { $0.mounts = [bind("/a", "/b")] }),
        Spelling("--volume=/a:/b:ro", means: { $0.mounts = [bind("/a", "/b", readOnly: true)] }),
        Spelling("-v", "/a:/b", means: { $0.mounts = [bind("/a", "/b")] }),
        Spelling("-v/a:/b", means: { $0.mounts = [bind("/a", "/b")] }),
        Spelling("-v=/a:/b", means: { $0.mounts = [bind("/a", "/b")] }),
        Spelling("-v", "/a:/b", "-v", "/c", means: { $0.mounts = [bind("/a", "/b"), bind("/c", "/c")] }),
        Spelling("-v", "./a:/b", means: { $0.mounts = [bind("/home/u/dir/a", "/b")] }),
        Spelling("--mount", "type=bind,source=/a,target=/b", means: { $0.mounts = [bind("/a", "/b")] }),
        Spelling(
            "-v", "/1:/1", "--mount", "src=/2,dst=/2", "-v", "/3:/3",
            means: { $0.mounts = [bind("/1", "/1"), bind("/2", "/2"), bind("/3", "/3")] }),
        Spelling("--env", "A=1", means: { $0.variables = [.set(name: "A", value: "1")] }),
        Spelling(
            "-e", "A=1", "-e", "B", means: { $0.variables = [.set(name: "A", value: "1"), .fromHost(name: "B")] }),
        Spelling("-eA=1=2", means: { $0.variables = [.set(name: "A", value: "1=2")] }),
        Spelling("-e", "A=", means: { $0.variables = [.set(name: "A", value: "")] }),
        Spelling("--env=A=b c", means: { $0.variables = [.set(name: "A", value: "b c")] }),
        Spelling("--env-file", "f", "--env-file=g", means: { $0.environmentFiles = ["f", "g"] }),
        Spelling(
            "--expand-env", "A=${B}:x", "--unsetenv=C",
            means: { $0.variables = [.expanded(name: "A", text: "${B}:x"), .unset(name: "C")] }),
        Spelling("--workdir", "/w", means: { $0.workingDirectory = "/w" }),
        Spelling("-w", "/w", "-w/x", means: { $0.workingDirectory = "/x" }),
        Spelling("--entrypoint", "/e", means: { $0.entrypoint = "/e" }),
        Spelling("--entrypoint=", means: { $0.entrypoint = "" }),
        Spelling("--gpus", "all", means: { $0.gpus = .all }),
        Spelling("--gpus=none", means: { $0.gpus = .none }),
        Spelling("--gpus", "granted", means: { $0.gpus = .granted }),
        Spelling("--gpus", "0,2", means: { $0.gpus = .positions([0, 2]) }),
        Spelling("--gpus", "2", means: { $0.gpus = .count(2) }),
        Spelling("--gpus=count=2", means: { $0.gpus = .count(2) }),
        Spelling("--gpus", "device=0,2", means: { $0.gpus = .positions([0, 2]) }),
        Spelling("--gpus", "device=0", means: { $0.gpus = .positions([0]) }),
        Spelling("--gpus", "GPU-1a", means: { $0.gpus = .names(["GPU-1a"]) }),
        Spelling("--gpus", "device=GPU-1a,GPU-2b", means: { $0.gpus = .names(["GPU-1a", "GPU-2b"]) }),
        Spelling(
            "--gpus", "all,capabilities=utility",
            means: {
                $0.gpus = .all
                $0.variables = [.set(name: "NVIDIA_DRIVER_CAPABILITIES", value: "utility")]
            }),
        Spelling(
            "-e", "A=1", "--gpus", "2,\"capabilities=compute,utility\"",
            means: {
                $0.gpus = .count(2)
                $0.variables = [
                    .set(name: "NVIDIA_DRIVER_CAPABILITIES", value: "compute,utility"), .set(name: "A", value: "1"),
                ]
            }),
        Spelling(
            "--gpus", "\"device=0,1\",capabilities=video",
            means: {
                $0.gpus = .positions([0, 1])
                $0.variables = [.set(name: "NVIDIA_DRIVER_CAPABILITIES", value: "video")]
            }),
        Spelling("--gpus", "driver=nvidia,capabilities=gpu", means: { $0.gpus = .count(1) }),
        Spelling("--gpus", "device=1", means: { $0.gpus = .positions([1]) }),
        Spelling("--gpus", "\"device=1,0\"", means: { $0.gpus = .positions([1, 0]) }),
        Spelling("--gpus", "0,GPU-1a", means: { $0.gpus = .names(["0", "GPU-1a"]) }),
        Spelling("--gpus=device=MIG-1", means: { $0.gpus = .names(["MIG-1"]) }),
        Spelling(
            "--device", "nvidia.com/gpu=1:0",
            means: {
                $0.cdiDevices = [try! QualifiedName(parsing: "nvidia.com/gpu=1:0")]  // a good name
            }),
        Spelling("--fabric", "efa", means: { $0.fabric = .efa }),
        Spelling("--fabric=none", means: { $0.fabric = Fabric.none }),
        Spelling("--profile", "pytorch", means: { $0.profile = .pytorch }),
        Spelling("--profile=none", means: { $0.profile = LaunchProfile.none }),
        Spelling("--slurm", means: { $0.slurm = true }),
        Spelling(
            "--device", "/dev/fuse",
            means: { $0.devices = [DeviceRequest(hostPath: "/dev/fuse", containerPath: "/dev/fuse")] }),
        Spelling(
            "--device", "/dev/fuse:/dev/x:rwm",
            means: { $0.devices = [DeviceRequest(hostPath: "/dev/fuse", containerPath: "/dev/x")] }),
        Spelling("--ulimit", "nofile=1:2", means: { $0.limits = [.init(limit: .openFiles, soft: 1, hard: 2)] }),
        Spelling("--require", "gpu=2,rdma", means: { $0.requirements = [.gpu(count: 2), .fabric(.rdma)] }),
        Spelling(
            "--enforce", "devices,pids=9",
            means: {
                var request = EnforcementRequest()
                request.devices = true
                request.processes = 9
                $0.enforcement = request
            }),
        Spelling("--ulimit=memlock=-1", means: { $0.limits = [.init(limit: .lockedMemory, soft: .max, hard: nil)] }),
        Spelling(
            "--ulimit", "nofile=1", "--ulimit", "core=0", "--ulimit", "nofile=2",
            means: {
                $0.limits = [.init(limit: .core, soft: 0, hard: nil), .init(limit: .openFiles, soft: 2, hard: nil)]
            }),
        Spelling(
            "--tmpfs", "/t:size=1m,mode=700,ro", "--tmpfs=/u",
            means: {
                $0.mounts = [
                    MountRequest(kind: .tmpfs(size: 1 << 20, mode: 0o700), target: "/t", readOnly: true),
                    MountRequest(kind: .tmpfs(size: nil, mode: 0o1777), target: "/u"),
                ]
            }),
        Spelling("--here", means: { $0.here = "/home/u/dir" }),
        Spelling("--cleanenv", means: { $0.cleansEnvironment = true }),
        Spelling(
            "--cap-add", "SYS_PTRACE", "--cap-add=cap_sys_nice", "--cap-drop", "ALL",
            means: {
                $0.capabilities.added = [19, 23]
                $0.capabilities.dropsAll = true
            }),
        Spelling(
            "--group-add", "video", "--group-add=44", "--group-add", "keep-groups",
            means: { $0.groups = ["video", "44"] }),
        Spelling(
            "--add-host", "db:10.0.0.7", "--add-host=six=[2001:db8::7]", "--add-host", "self:host-gateway",
            means: { $0.hosts = "10.0.0.7 db\n2001:db8::7 six\n127.0.0.1 self\n" }),
        Spelling(
            "--dns", "10.0.0.1", "--dns=::1", "--dns-search", "example.com", "--dns-option", "ndots:2",
            "--dns-opt=rotate",
            means: {
                $0.resolver.nameServers = ["10.0.0.1", "::1"]
                $0.resolver.searchDomains = ["example.com"]
                $0.resolver.resolverOptions = ["ndots:2", "rotate"]
            }),
        Spelling(
            "--shm-size=16g", "--ipc", "private",
            means: {
                $0.sharedMemorySize = 16 << 30
                $0.unshare = [.ipc]
            }),
        Spelling(
            "--security-opt", "no-new-privileges", "--security-opt=no-new-privileges:true", "--security-opt",
            "seccomp=unconfined", "--security-opt=apparmor=unconfined", "--security-opt", "label=disable",
            means: { $0.seccomp = SeccompChoice.none }),
        Spelling("--seccomp=default", means: { $0.seccomp = .builtIn(.standard) }),
        Spelling("--pid", "private", means: { $0.unshare = [.process] }),
        Spelling("--unshare=pid", means: { $0.unshare = [.process] }),
        Spelling(
            "--init",
            means: {
                $0.usesInit = true
                $0.unshare = [.process]
            }),
        Spelling("--pull", "newer", means: { $0.pull = .newer }),
        Spelling("--user", "1:2", means: { $0.user = "1:2" }),
        Spelling("-u", "web", means: { $0.user = "web" }),
        Spelling("--network", "host", "--ipc=host", "--pid=host", "--uts", "host", means: { _ in }),
        Spelling("--net=none", means: { $0.unshare = [.network] }),
        Spelling("--ipc=private", means: { $0.unshare = [.ipc] }),
        Spelling("--rm", "-it", means: { _ in }),
        Spelling("--name", "n", means: { $0.name = "n" }),
        Spelling("--interactive", "--tty=false", means: { _ in }),
        Spelling("--read-only=true", "--root=false", "--quiet=0", means: { $0.readOnly = true }),
        Spelling("--read-only", means: { $0.readOnly = true }),
        Spelling("--root", means: { $0.root = true }),
        Spelling("--no-root", means: { $0.deniesRoot = true }),
        Spelling("--home", means: { $0.home = true }),
        Spelling("--no-home", means: { $0.home = false }),
        Spelling("--preserve-fds", "2", means: { $0.preservedDescriptors = 2 }),
        Spelling("--hostname", "h", means: { $0.hostname = "h" }),
        Spelling("-h", "h", means: { $0.hostname = "h" }),
        Spelling("--unshare", "net,uts", means: { $0.unshare = [.network, .hostname] }),
        Spelling("--pull", "always", means: { $0.pull = .always }),
        Spelling("--pull=never", means: { $0.pull = .never }),
        Spelling("--pull=missing", means: { $0.pull = .missing }),
        Spelling("--platform", "linux/arm64", means: { $0.platform = "linux/arm64" }),
        Spelling("--store", "/s", means: { $0.store = "/s" }),
        Spelling("--store", "s", means: { $0.store = "/home/u/dir/s" }),
        Spelling("--dry-run", means: { $0.dryRun = .text }),
        Spelling("--dry-run=text", means: { $0.dryRun = .text }),
        Spelling("--dry-run=oci", means: { $0.dryRun = .oci }),
        Spelling(
            "--privileged",
            means: {
                $0.capabilities.addsAll = true
                $0.capabilities.isPrivileged = true
                $0.seccomp = SeccompChoice.none
                $0.notes = [
                    "note: --privileged: all capabilities, no seccomp filter; devices stay those that were granted, /sys "
                        + "read-only"
                ]
            }),
        Spelling("--quiet", means: { $0.quiet = true }),
        Spelling("-q", means: { $0.quiet = true }),
        Spelling("--verbose", means: { $0.verbose = true }),
        Spelling(
            "-qe", "A=1",
            means: {
                $0.quiet = true; $0.variables = [.set(name: "A", value: "1")]
            }),
        Spelling(
            "-qeA=1",
            means: {
                $0.quiet = true; $0.variables = [.set(name: "A", value: "1")]
            }),
    ]

    @Test(arguments: spellings) func meansTheSameAsWithDocker(_ spelling: Spelling) throws {
        #expect(try Self.parse(spelling.words + ["img"]) == spelling.means)
    }

    /// With an experiment file, what stands behind the options may be the command alone.
    @Test func fileKeepsWhatStandsBehindTheOptions() throws {
        let words = ["-q", "--file", "a", "-e", "--file=no", "--file=b", "--", "python", "--", "-c"]
        let options = try Self.parse(words)
        #expect(options.files == ["a", "b"] && options.operands == ["python", "--", "-c"])
        #expect(options.ownWords(of: words) == ["-q", "-e", "--file=no"])
        #expect(try Self.parse(["--file", "a"]).image == "")
        #expect(throws: OptionError.missingImage) { try Self.parse(["-q"]) }
    }

    @Test func everyOptionOfTheTableIsInTheTableOfSpellings() {
        let long = Set(
            Self.spellings.flatMap(\.words).filter { $0.hasPrefix("--") }.map { $0.dropFirst(2).prefix { $0 != "=" } })
        for option in RunOption.all where option.name != "file" {
            #expect(long.contains(option.name[...]), "no spelling of --\(option.name) is tested")
        }
    }

    @Test func namesOfTheTableAreUnique() {
        #expect(Set(RunOption.all.map(\.name)).count == RunOption.all.count)
        let letters = RunOption.all.compactMap(\.short)
        #expect(Set(letters).count == letters.count)
    }

    /// A new option must be read too: the table and the reader are two places.
    @Test(arguments: RunOption.all.map(\.name)) func everyOptionIsReadOnceItHasWhatItWants(_ name: String) throws {
        let option = try #require(RunOption.all.first { $0.name == name })
        switch option.argument {
        case .none:
            #expect(throws: Self.noBoolean("--\(name)", "x")) {
                try Self.parse(["--\(name)=x", "img"])
            }
            #expect(throws: Never.self) { try Self.parse(["--\(name)", "img"]) }
        case .optional:
            // The next word is never its value.
            #expect(try Self.parse(["--\(name)", "img"]).image == "img")
        case .one:
            #expect(throws: OptionError.missingValue(option: "--\(name)")) { try Self.parse(["--\(name)"]) }
            if let letter = option.short {
                let error = letter == "h" ? OptionError.helpRequested : .missingValue(option: "-\(letter)")
                #expect(throws: error) { try Self.parse(["-\(letter)"]) }
            }
        }
    }

    @Test(arguments: [
        (["img"], []), (["img", "a", "b"], ["a", "b"]), (["img", "--", "a"], ["a"]), (["--", "img", "a"], ["a"]),
        (["--", "img", "--", "a"], ["a"]), (["img", "a", "--", "b"], ["a", "--", "b"]),
        (["img", "--", "--", "a"], ["--", "a"]),
        (["img", "-v", "/a:/b", "--gpus", "x"], ["-v", "/a:/b", "--gpus", "x"]),
        (["img", "--", "--help"], ["--help"]), (["img", "--help"], ["--help"]), (["img", ""], [""]),
        (["-q", "img", "-q"], ["-q"]),
    ]) func optionsEndAtTheImageAndTheRestIsTheCommand(_ words: [String], _ command: [String]) throws {
        let options = try Self.parse(words)
        #expect(options.image == "img")
        #expect(options.command == command)
    }

    static let refusals: [([String], OptionError)] = [
        ([], .missingImage),
        (["--quiet"], .missingImage),
        (["--"], .missingImage),
        ([""], .missingImage),
        (["--gpu", "all", "img"], .unknown(option: "--gpu")),
        (["--priviledged", "img"], .unknown(option: "--priviledged")),
        (["--=x", "img"], .unknown(option: "--")),
        (["-x", "img"], .unknown(option: "-x")),
        (["-qx", "img"], .unknown(option: "-x")),
        (["-q=yes", "img"], noBoolean("-q", "yes")),
        (["--Quiet", "img"], .unknown(option: "--Quiet")),
        (["--home", "--no-home", "img"], .contradiction("--home", "--no-home")),
        (["--no-home", "--home", "img"], .contradiction("--home", "--no-home")),
        (["--help"], .helpRequested),
        (["-q", "--help", "img"], .helpRequested),
        (["-v", "data:/b", "img"], .namedVolume("data")),
        (["--mount", "source=data,target=/b", "img"], .namedVolume("data")),
        (["--read-only=maybe", "img"], noBoolean("--read-only", "maybe")),
        (["-it=maybe", "img"], noBoolean("-t", "maybe")),
    ]

    static func noBoolean(_ option: String, _ value: String) -> OptionError {
        .badValue(option: option, value: value, expected: "true or false, or no value")
    }

    /// What strconv.ParseBool of Go takes; the last one of a flag counts.
    @Test(arguments: ["1", "t", "T", "TRUE", "true", "True"], ["0", "f", "F", "FALSE", "false", "False"])
    func flagsTakeDockersBooleans(_ on: String, _ off: String) throws {
        let plain = try Self.parse(["img"])
        for option in RunOption.table where option.argument == .none {
            var spellings = ["--\(option.name)"]
            if let letter = option.short { spellings.append("-\(letter)") }
            for spelling in spellings {
                #expect(try Self.parse([spelling + "=" + off, "img"]) == plain, "\(spelling)=\(off)")
                if option.answer == .refused { continue }
                let set = try Self.parse([spelling, "img"])
                #expect(try Self.parse([spelling + "=" + on, "img"]) == set, "\(spelling)=\(on)")
                #expect(try Self.parse([spelling, spelling + "=" + off, "img"]) == plain, "\(spelling) \(spelling)=\(off)")
            }
        }
        #expect(try Self.parse(["-it=" + off, "-d=" + off, "--sig-proxy=" + on, "img"]) == plain)
        #expect(throws: (any Error).self) { try Self.parse(["-d=" + on, "img"]) }
    }

    @Test(arguments: [["-v", "./a:/b"], ["--mount", "src=.,dst=/b"], ["--store", "s"]])
    func aRelativePathNeedsADirectoryToBeRelativeTo(_ words: [String]) {
        let path = words == ["-v", "./a:/b"] ? "./a" : words[0] == "--store" ? "s" : "."
        #expect(throws: OptionError.noWorkingDirectory(path)) {
            try LaunchOptions(parsing: words + ["img"], workingDirectory: "")
        }
    }

    /// Who the option names, what becomes of it for uid 5 and gid 6, and for root.
    @Test(
        arguments: [
            ("5", "", ""), ("5:6", "", ""), ("0", "root", "root"), ("root:root", "root", "root"),
            ("0:0", "root", "root"),
            ("5:7", nil, "5:7"), ("web", nil, "web"), ("0:6", nil, "0:6"), ("05", "", "05"), (":", "root", "root"),
            ("5:", "", "5:"), (":6", nil, ":6"), (":7", nil, ":7"), ("00", "root", "root"), ("-5", nil, "-5"),
        ] as [(String, String?, String)])
    func anOrdinaryUserIsHimselfOrRoot(_ text: String, _ ordinary: String?, _ asRoot: String) throws {
        func settled(_ userID: UInt32, _ groupID: UInt32) throws(OptionError) -> String {
            var options = try Self.parse(["--user", text, "img"])
            try options.settleUser(userID: userID, groupID: groupID, isRoot: userID == 0)
            return options.root ? "root" : options.user ?? ""
        }
        if text == "-5" {
            #expect(throws: OptionError.self) { try settled(0, 0) }
            return
        }
        if let ordinary {
            #expect(try settled(5, 6) == ordinary)
        } else {
            #expect(throws: OptionError.otherUser(text, userID: 5, groupID: 6)) { try settled(5, 6) }
        }
        #expect(try settled(0, 0) == (asRoot.isEmpty ? text : asRoot))
    }

    @Test(arguments: refusals) func whatCanNotBeReadIsNamed(_ words: [String], _ error: OptionError) {
        #expect(throws: error) { try Self.parse(words) }
    }

    static let badValues: [(String, String)] = [
        ("--volume", ""), ("--volume", ":/b"), ("--volume", "/a:b"), ("--volume", "/a:"), ("--volume", "/a:/b:rx"),
        ("--volume", "/a:/b:ro:x"), ("--volume", "/a:/b:"), ("--volume", "/a:/b:ro,"),
        ("--volume", "/a:/b:ro,rw"), ("--volume", "/a:/b:rw,ro"), ("--volume", "/a:/b:bind,rbind"),
        ("--mount", "src=/a,dst=/b,bind-recursive=no"), ("--mount", "src=/a,dst=/b,tmpfs-size=1m"),
        ("--mount", "src=/a,dst=/b,tmpfs-mode=700"), ("--mount", "type=tmpfs,dst=/b,bind-recursive=disabled"),
        ("--mount", ""), ("--mount", "source=/a"), ("--mount", "target=/b"), ("--mount", "source=/a,target=b"),
        ("--mount", "type=volume,source=/a,target=/b"), ("--mount", "type=,source=/a,target=/b"),
        ("--mount", "source=/a,target=/b,consistency=never"), ("--mount", "source=/a,target=/b,ro=maybe"),
        ("--mount", "source=/a,target=/b,bind-propagation=up"),
        ("--mount", "type=tmpfs,target=/b,bind-propagation=slave"),
        ("--mount", "source=/a,target=/b,bind-recursive=writable"), ("--mount", "source=/a,target=/b,noexec=2"),
        ("--volume", "/a:/b:rslave,rprivate"), ("--volume", "/a:/b:U"), ("--bind", ""),
        ("--pwd", "x"), ("--add-host", "db"), ("--add-host", "db:"), ("--add-host", "db:10.0.0"),
        ("--add-host", ":10.0.0.1"),
        ("--add-host", "a b:10.0.0.1"), ("--add-host", "db:1:2"), ("--dns", "resolver"), ("--dns", "10.0.0.256"),
        ("--dns", "1::2::3"), ("--dns", ""), ("--dns-search", "a b"), ("--dns-option", ""), ("--shm-size", "0"),
        ("--shm-size", "big"), ("--cap-add", "SYS_FOO"), ("--cap-drop", ""), ("--group-add", ""), ("--group-add", "-1"),
        ("--security-opt", ""), ("--security-opt", "seccomp"), ("--security-opt", "mode=strict"), ("--userns", "auto"),
        ("--cgroupns", "own"), ("--publish", "http"), ("--publish", ""), ("--publish", "80:http"),
        ("--mount", "type=tmpfs,source=/a,target=/b"), ("--mount", "type=tmpfs,target=/b,tmpfs-size=big"),
        ("--mount", "type=tmpfs,target=/b,tmpfs-mode=9"), ("--mount", "type=tmpfs,target=/b,tmpfs-mode=4777"),
        ("--tmpfs", ""), ("--tmpfs", "t"), ("--tmpfs", "/t:"), ("--tmpfs", "/t:size=x"), ("--tmpfs", "/t:mode=9"),
        ("--tmpfs", "/t:size"), ("--tmpfs", "/t:huge=always"),
        ("--network", "bridge"), ("--ipc", "container:x"), ("--pid", "container:x"), ("--seccomp", "strict"),
        ("--uts", ""), ("--user", ""),
        ("--env", ""), ("--env", "=x"),
        ("--workdir", "relative"), ("--workdir", ""), ("--workdir", "./x"),
        ("--gpus", ""), ("--gpus", "two"), ("--gpus", "-1"), ("--gpus", "0,"), ("--gpus", "0,0"), ("--gpus", "device="),
        ("--device", "fuse"), ("--device", "/etc/passwd"), ("--device", "/dev/fuse:x"),
        ("--device", "/dev/fuse:/dev/x:rwx"), ("--device", "/dev/fuse:/dev/x:é"), ("--device", "/dev/fuse:/dev/x:\r\n"),
        ("--device", "/dev/fuse:/dev/x:r:w"), ("--device", ""),
        ("--device", "nvidia.com/gpu"), ("--device", "nvidia.com/gpu="), ("--device", "1vendor/gpu=0"),
        ("--gpus", "GPU-1,GPU-1"), ("--gpus", "0"), ("--gpus", "count=0"), ("--gpus", "2,count=3"),
        ("--gpus", "count=1,device=0"), ("--gpus", "all,capabilities=sound"), ("--gpus", "\"device=0"),
        ("--gpus", "all,driver=intel"), ("--gpus", "all,options=x"), ("--gpus", "all,0"), ("--gpus", "2,all"),
        ("--gpus", "0,GPU-1,0"), ("--fabric", ""), ("--fabric", "EFA"), ("--profile", "tensorflow"), ("--profile", ""),
        ("--ulimit", ""), ("--ulimit", "nofile"), ("--ulimit", "nofile="), ("--ulimit", "files=1"),
        ("--ulimit", "nofile=x"), ("--require", ""), ("--require", "tcp"),
        ("--ulimit", "nofile=1:2:3"), ("--ulimit", "nofile=2:1"), ("--ulimit", "nofile=-2"), ("--ulimit", "nofile=1:"),
        ("--ulimit", "nofile=unlimited:1"),
        ("--hostname", "a b"), ("--hostname", "a/b"), ("--hostname", "a\n127.0.0.1 b"), ("--store", ""),
        ("--preserve-fds", "-1"), ("--preserve-fds", "x"), ("--preserve-fds", ""), ("--hostname", ""),
        ("--hostname", String(repeating: "h", count: 65)),
        ("--hostname", String(repeating: "é", count: 33)),
        ("--pull", ""), ("--pull", "Always"), ("--pull", "sometimes"),
    ]

    @Test(arguments: badValues) func aValueOfTheWrongFormIsRefusedWithOptionAndValue(_ option: String, _ value: String)
    {
        #expect {
            try Self.parse([option, value, "img"])
        } throws: { error in
            guard case .badValue(let named, let given, let expected)? = error as? OptionError else { return false }
            return named == option && given == value && !expected.isEmpty
        }
    }

    @Test func helpIsAlsoTheShortOptionWithoutAValue() throws {
        #expect(throws: OptionError.helpRequested) { try Self.parse(["-h"]) }
        #expect(throws: OptionError.helpRequested) { try Self.parse(["-qh"]) }
        #expect(try Self.parse(["-h", "name", "img"]).hostname == "name")
    }

    @Test(arguments: ["env", "gpus", "volume", "user", "workdir", "home"]) func aLongOptionWithOneDashIsRefused(
        _ name: String
    ) {
        #expect(throws: OptionError.unknown(option: "-" + name)) { try Self.parse(["-" + name, "x", "img"]) }
        #expect(throws: OptionError.unknown(option: "-" + name)) { try Self.parse(["-\(name)=x", "img"]) }
    }

    @Test func separatorsOfOptionsAreBytes() throws {
        #expect(try Self.parse(["-v", "/a:/\u{301}x", "img"]).mounts == [Self.bind("/a", "/\u{301}x")])
        #expect(try Self.parse(["-v/a:/b", "--env=A=\u{301}", "img"]).variables == [.set(name: "A", value: "\u{301}")])
        #expect(try Self.parse(["-e\u{301}=1", "img"]).variables == [.set(name: "\u{301}", value: "1")])
        #expect(
            try Self.parse(["--mount", "src=/\u{301},dst=/\u{FE0F}", "img"]).mounts == [
                Self.bind("/\u{301}", "/\u{FE0F}")
            ])
    }
}
