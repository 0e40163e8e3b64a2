import Devices
import LaunchPlanning
import LinuxKernel
import Testing

/// Options that people know from Docker and Apptainer.
@Suite struct ForeignOptionTests {
    static func parse(_ arguments: [String]) throws(OptionError) -> LaunchOptions {
        try LaunchOptions(parsing: arguments + ["img"], workingDirectory: "/home/u/dir")
    }

    /// `docker run` 27's own list, without `--help`.
    static let dockers = """
        add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile \
        cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems \
        detach detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops \
        disable-content-trust dns dns-option dns-search domainname entrypoint env env-file expose gpus group-add \
        health-cmd health-interval health-retries health-start-interval health-start-period health-timeout hostname init \
        interactive io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label label-file link link-local-ip \
        log-driver log-opt mac-address memory memory-reservation memory-swap memory-swappiness mount name network \
        network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged publish publish-all \
        pull quiet read-only restart rm runtime security-opt shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl \
        tmpfs tty ulimit user userns uts volume volume-driver volumes-from workdir
        """.split(separator: " ").map(String.init)

    @Test func everyOptionOfDockerRunHasAnAnswerAndASentence() {
        for name in Self.dockers {
            guard let option = RunOption.named(name) else {
                Issue.record("--\(name) is unknown")
                continue
            }
            #expect(option.origin == .docker && !option.meaning.isEmpty, "--\(name)")
            #expect(!option.meaning.hasSuffix("."), "--\(name)")
            #expect(option.answer != .refused || !option.remedy.isEmpty, "--\(name)")
        }
        #expect(Set(RunOption.table.map(\.name)).count == RunOption.table.count)
        let letters = RunOption.table.compactMap(\.short)
        #expect(Set(letters).count == letters.count)
    }

    static let letters: [Character: String] = [
        "a": "attach", "c": "cpu-shares", "d": "detach", "e": "env", "h": "hostname", "i": "interactive", "l": "label",
        "m": "memory", "p": "publish", "P": "publish-all", "q": "quiet", "t": "tty", "u": "user", "v": "volume",
        "w": "workdir",
    ]

    @Test func lettersAreDockers() {
        for (letter, name) in Self.letters { #expect(RunOption.lettered(letter)?.name == name) }
    }

    /// Without a value they may be wrong, but they are never unknown, nor a crash.
    @Test func everyOptionIsReadOrRefused() {
        for option in RunOption.table where option.name != "here" {
            let words = option.argument == .one ? ["--\(option.name)", "1"] : ["--\(option.name)"]
            do throws(OptionError) {
                let read = try Self.parse(words)
                #expect(option.answer != .refused, "--\(option.name)")
                if option.answer == .accepted, option.argument == .none {
                    #expect(read.notes.count == 1, "--\(option.name): \(read.notes)")
                }
                #expect(read.image == "img")
            } catch {
                switch error {
                case .refused(let named, let reason, let remedy):
                    #expect(named.hasPrefix("--\(option.name)") && !reason.isEmpty && !remedy.isEmpty)
                case .badValue, .namedVolume: #expect(option.answer != .refused)
                default: Issue.record("--\(option.name): \(error)")
                }
            }
        }
    }

    @Test func nvidiasLineIsReadAsItIs() throws {
        let line =
            "--gpus all --rm -it --ipc=host --shm-size=16g --ulimit memlock=-1 --ulimit stack=67108864 "
            + "-v /home/u/dir:/workspace -w /workspace"
        let options = try Self.parse(line.split(separator: " ").map(String.init))
        #expect(options.gpus == .all && options.workingDirectory == "/workspace")
        #expect(options.mounts.map(\.target) == ["/workspace"])
        #expect(options.notes.count == 1 && options.notes[0].hasPrefix("note: --shm-size: /dev/shm is the host's"))
        var host = Sample.host
        host.grantedGPUs = ["/dev/nvidia0"]
        let plan = try LaunchPlan(options: options, image: Sample.image, site: SitePolicy(), host: host)
        #expect(plan.notes.count == 2 && plan.notes[1].hasPrefix("warning: --ulimit memlock=unlimited"))
        #expect(plan.process.limits.first { $0.limit == .stack }?.to == LimitValues(soft: 67_108_864, hard: 67_108_864))
    }

    @Test(arguments: [
        ["--init", "--pid", "host"], ["--label", "a=b", "-l", "c"], ["--privileged"],
        ["--runtime=nvidia"],
        ["-m", "8g"],
        ["--cpus", "4"], ["-p", "8080:8080"], ["-p", "80"], ["-p", "0.0.0.0:80:80/tcp"], ["-P"], ["--restart=always"],
        ["--shm-size", "1g"], ["--userns=host"], ["--sig-proxy=false"], ["--cgroupns", "private"],
        ["-v", "/a:/b:rshared"],
        ["--security-opt", "systempaths=unconfined"],
    ]) func whatChangesNothingIsOneLine(_ words: [String]) throws {
        let options = try Self.parse(words)
        #expect(options.notes.count == 1, "\(options.notes)")
        #expect(options.notes.allSatisfy { $0.hasPrefix("note: ") && !$0.contains("\n") })
    }

    @Test(arguments: [
        ["--nv"], ["--rocm"], ["--writable-tmpfs"], ["--no-healthcheck"], ["--restart=no"], ["--sig-proxy"],
        ["--sig-proxy=true"], ["--init=false"], ["--privileged=0"], ["--disable-content-trust"],
        ["--userns", "keep-id"],
        ["--detach=false"], ["--isolation=default"], ["--cgroupns=host"],
    ]) func whatIsSoInAnyCaseIsSilent(_ words: [String]) throws {
        #expect(try Self.parse(words).notes.isEmpty)
    }

    @Test(arguments: [
        ["-d"], ["-dit"], ["--detach"], ["-p", "8080:80"], ["-p", "127.0.0.1:80:80"], ["-p", "127.0.0.1::80"],
        ["--runtime", "runsc"], ["--security-opt", "apparmor=strict"],
        ["--security-opt=label=type:svirt_t"], ["--disable-content-trust=false"], ["--sysctl", "net.core.somaxconn=1"],
        ["--volumes-from", "x"], ["--ip=10.0.0.2"], ["--cidfile", "f"], ["--containall"], ["-C"], ["--writable"],
        ["--isolation", "hyperv"], ["--cgroup-parent", "/x"],
    ]) func whatWouldBeUnsafeOrWrongIsRefused(_ words: [String]) {
        #expect {
            try Self.parse(words)
        } throws: { error in
            guard case .refused(_, let reason, let remedy)? = error as? OptionError else { return false }
            return !reason.isEmpty && !remedy.isEmpty
        }
    }

    @Test func apptainersWordsMeanTheSame() throws {
        func mounts(_ words: [String]) throws -> [MountRequest] { try Self.parse(words).mounts }
        #expect(try mounts(["--bind", "/a:/b:ro,/c"]) == mounts(["-v", "/a:/b:ro", "-v", "/c"]))
        #expect(try mounts(["-B", "data:/d"]) == mounts(["-v", "./data:/d"]))
        #expect(try Self.parse(["--pwd", "/x"]).workingDirectory == "/x")
        #expect(try Self.parse(["--cwd=/x"]).workingDirectory == "/x")
        #expect(try Self.parse(["--fakeroot"]).root)
        #expect(try Self.parse(["--cleanenv"]).cleansEnvironment)
    }

    @Test func propagationAndAttributesOfMounts() throws {
        let volume = try Self.parse(["-v", "/a:/b:ro,rslave,noexec"]).mounts
        let mount = try Self.parse(["--mount", "src=/a,dst=/b,ro,bind-propagation=rslave,noexec"]).mounts
        #expect(volume == mount)
        #expect(volume[0].propagation == [.isSlave, .recursive] && volume[0].attributes == [.noExecution])
        #expect(
            try Self.parse(["--mount", "src=/a,dst=/b,bind-recursive=readonly,ro,consistency=cached"]).mounts[0]
                .readOnly)
        #expect(try Self.parse(["--mount", "type=tmpfs,dst=/b,noexec"]).mounts[0].attributes == [.noExecution])
    }
}

/// What may be done to the process, beyond capabilities.
@Suite struct SecurityOptionTests {
    private func parse(_ words: [String]) throws(OptionError) -> LaunchOptions {
        try LaunchOptions(parsing: words + ["image"], workingDirectory: "/work")
    }

    @Test func aFilterIsANameOrAPath() throws {
        #expect(try parse([]).seccomp == nil)
        #expect(try parse(["--seccomp", "none"]).seccomp == SeccompChoice.none)
        #expect(try parse(["--security-opt", "seccomp=unconfined"]).seccomp == SeccompChoice.none)
        #expect(try parse(["--seccomp=default"]).seccomp == .builtIn(.standard))
        #expect(try parse(["--security-opt", "seccomp=builtin"]).seccomp == .builtIn(.standard))
        #expect(try parse(["--seccomp", "./p.json"]).seccomp == .file("/work/p.json"))
        #expect(try parse(["--security-opt", "seccomp:p.json"]).seccomp == .file("/work/p.json"))
        #expect(throws: OptionError.self) { try parse(["--seccomp", "strict"]) }
        #expect(throws: OptionError.self) { try parse(["--seccomp", ""]) }
    }

    @Test func newPrivilegesAreAllowedByName() throws {
        #expect(try !parse(["--security-opt", "no-new-privileges"]).allowsNewPrivileges)
        #expect(try parse(["--security-opt", "no-new-privileges=false"]).allowsNewPrivileges)
    }

    @Test func privilegedIsAllCapabilitiesAndNoFilter() throws {
        let options = try parse(["--privileged"])
        #expect(options.capabilities.addsAll && options.seccomp == SeccompChoice.none && options.notes.count == 1)
        #expect(options.containerCapabilities(isRoot: true).count == Capabilities.names.count)
    }

    @Test func privilegedPromisesAnOrdinaryUserNothing() throws {
        let options = try parse(["--privileged"])
        let none = try Sample.plan { $0 = options }
        #expect(none.notes.count == 1 && none.notes[0].contains("an ordinary user's command has no capabilities"))
        let root = try Sample.plan(host: Sample.root) { $0 = options }
        #expect(root.notes.count == 1 && root.notes[0].contains("all capabilities"))
    }

    @Test func capabilitiesOfProfilesAreTheContainers() throws {
        #expect(try parse([]).containerCapabilities(isRoot: false).isEmpty)
        #expect(try parse(["--root"]).containerCapabilities(isRoot: false).contains("CAP_SYS_ADMIN"))
        #expect(
            try !parse(["--root", "--cap-drop", "SYS_ADMIN"]).containerCapabilities(isRoot: false).contains(
                "CAP_SYS_ADMIN"))
        #expect(try !parse([]).containerCapabilities(isRoot: true).contains("CAP_SYS_ADMIN"))
        #expect(try parse(["--cap-add", "sys_admin"]).containerCapabilities(isRoot: true).contains("CAP_SYS_ADMIN"))
    }
}
