import LaunchPlanning
import LinuxKernel
import Testing

/// `--here`, and what else `docker run` can say about the inside of a container.
@Suite struct HereDirectoryTests {
    static func options(_ words: [String], in directory: String) throws(OptionError) -> LaunchOptions {
        try LaunchOptions(parsing: words + ["img"], workingDirectory: directory)
    }

    static func plan(_ words: [String], in directory: String = "/lustre/ada/run", host: HostFacts = Sample.host) throws
        -> LaunchPlan
    {
        try LaunchPlan(
            options: try options(words, in: directory), image: Sample.image, site: SitePolicy(), host: host)
    }

    @Test func theCurrentDirectoryIsMountedAtItsPlaceAndEntered() throws {
        let plan = try Self.plan(["--here"])
        let bind = PlannedStep(
            .bind(BindMount(source: "/lustre/ada/run", target: "/lustre/ada/run")), .option("--here"))
        #expect(plan.steps.contains(bind))
        #expect(
            plan.process.workingDirectory == "/lustre/ada/run"
                && plan.process.workingDirectoryOrigin == .option("--here"))
        #expect(plan.text.contains("rbind /lustre/ada/run on /lustre/ada/run  [--here]"))
        #expect(plan.text.contains("workdir /lustre/ada/run  [--here]"))
    }

    @Test func explicitOptionsWin() throws {
        let plan = try Self.plan(["--here", "-w", "/x", "-v", "/other:/lustre/ada/run:ro"])
        #expect(plan.process.workingDirectory == "/x" && plan.process.workingDirectoryOrigin == .option("--workdir"))
        let sources = plan.steps.compactMap { step -> String? in
            guard case .bind(let bind) = step.action, bind.target == "/lustre/ada/run" else { return nil }
            return bind.source
        }
        #expect(sources == ["/lustre/ada/run", "/other"], "the later mount is the one that shows")
    }

    @Test(arguments: [
        "/", "/usr", "/usr/bin", "/usr/local/lib/python3", "/bin", "/sbin", "/lib", "/lib64", "/lib/x", "/etc",
        "/etc/ssl", "/proc/1",
        "/sys", "/dev", "/dev/shm", "/dev/pts", "/var", "/var/lib", "/run", "/opt", "/boot", "/tmp/../usr", "/home/../",
        "/./usr/",
        "//usr",
    ]) func aDirectoryThatHidesTheImageIsRefused(_ directory: String) {
        #expect {
            try Self.options(["--here"], in: directory)
        } throws: { error in
            if case .hidesImage? = error as? OptionError { true } else { false }
        }
    }

    @Test(arguments: [
        "/home", "/home/ada", "/tmp", "/tmp/x", "/dev/shm/x", "/var/tmp", "/var/lib/jobs", "/run/user/1000",
        "/opt/project", "/root",
        "/usr2", "/libraries", "/data",
    ]) func othersAreMounted(_ directory: String) throws {
        #expect(try Self.options(["--here"], in: directory).here == directory)
    }

    @Test func dotsInTheNameOfTheDirectoryGo() throws {
        #expect(try Self.options(["--here"], in: "/data/x/../y/./z").here == "/data/y/z")
        #expect(throws: OptionError.noWorkingDirectory(".")) { try Self.options(["--here"], in: "") }
    }

    // MARK: Names

    @Test func hostsAndResolverAreChangedAfterTheHostsFilesAreCopied() throws {
        let plan = try Self.plan(["--add-host", "db:10.0.0.7", "--dns", "10.0.0.1", "--dns-search=a.example"])
        let actions = plan.steps.map(\.action)
        let copied = try #require(actions.firstIndex(of: .copy(source: "/etc/resolv.conf", target: "/etc/resolv.conf")))
        let hosts = try #require(actions.firstIndex(of: .append("10.0.0.7 db\n", target: "/etc/hosts")))
        var settings = ResolverSettings()
        settings.nameServers = ["10.0.0.1"]
        settings.searchDomains = ["a.example"]
        let resolver = try #require(actions.firstIndex(of: .resolver(settings)))
        #expect(copied < resolver && copied < hosts)
        #expect(
            plan.text.contains("resolver 'nameserver 10.0.0.1; search a.example' in /etc/resolv.conf  [--dns]"),
            "\(plan.text)")
    }

    @Test func linesOfTheHostStayThatNothingReplaces() {
        let file = Array(
            "# by hand\nnameserver 1.1.1.1\n  nameserver 2.2.2.2\nsearch old.example\noptions ndots:1".utf8)
        func text(_ change: (inout ResolverSettings) -> Void) -> String {
            var settings = ResolverSettings()
            change(&settings)
            return String(decoding: settings.applied(to: file), as: UTF8.self)
        }
        #expect(
            text { $0.nameServers = ["9.9.9.9"] }
                == "# by hand\nsearch old.example\noptions ndots:1\nnameserver 9.9.9.9\n")
        #expect(
            text { $0.searchDomains = ["."] }
                == "# by hand\nnameserver 1.1.1.1\n  nameserver 2.2.2.2\noptions ndots:1\n")
        #expect(text { $0.resolverOptions = ["rotate"] }.hasSuffix("search old.example\noptions rotate\n"))
    }

    // MARK: Capabilities and groups

    @Test func capabilitiesFollowDockersRules() {
        func change(_ change: (inout CapabilityChange) -> Void) -> [Int] {
            var capabilities = CapabilityChange()
            change(&capabilities)
            return capabilities.applied(to: [0, 1, 14])
        }
        #expect(change { $0.added = [19] } == [0, 1, 14, 19])
        #expect(change { $0.dropped = [1] } == [0, 14])
        #expect(change { $0.dropsAll = true } == [])
        #expect(
            change {
                $0.dropsAll = true; $0.added = [19]
            } == [19])
        #expect(
            change {
                $0.addsAll = true; $0.dropped = [21]
            } == (0...40).filter { $0 != 21 })
        #expect(
            change {
                $0.added = [1]; $0.dropped = [1]
            } == [0, 1, 14])
    }

    @Test func capabilitiesAreThoseThatTheCallerCanHave() throws {
        let root = try Self.plan(["--cap-add", "SYS_PTRACE", "--cap-drop=KILL"], host: Sample.root).process
        #expect(root.boundingCapabilities?.contains(19) == true && root.boundingCapabilities?.contains(5) == false)
        let ordinary = try Self.plan(["--cap-add", "SYS_PTRACE"])
        #expect(ordinary.process.boundingCapabilities == nil)
        #expect(ordinary.notes.count == 1 && ordinary.notes[0].contains("--root"))
        let mapped = try Self.plan(["--root", "--cap-add", "SYS_PTRACE", "--cap-drop", "SYS_ADMIN"])
        #expect(mapped.notes.isEmpty && mapped.process.boundingCapabilities == (0...40).filter { $0 != 21 })
        #expect(try Self.plan(["--root"]).process.boundingCapabilities == nil)
    }

    @Test func groupsAreAddedForRootAndKeptForOthers() throws {
        #expect(try Self.plan(["--group-add", "video"], host: Sample.root).process.namedGroups == ["video"])
        let member = try Self.plan(["--group-add", "hpc", "--group-add", "3000"])
        #expect(member.notes.isEmpty && member.process.namedGroups.isEmpty)
        let other = try Self.plan(["--group-add", "video"])
        #expect(other.notes.count == 1 && other.notes[0].hasPrefix("note: --group-add video: only root joins a group"))
    }

    @Test func sharedMemoryOfItsOwnHasTheSizeThatIsAskedFor() throws {
        let text = try Self.plan(["--ipc", "private", "--shm-size", "64m"]).text
        #expect(text.contains("mount tmpfs on /dev/shm nosuid,nodev,noexec,size=67108864,mode=1777"), "\(text)")
    }

    @Test func aCleanEnvironmentHasTheJobsVariablesAndNoOthers() throws {
        var host = Sample.host
        host.environment = [
            "SLURM_PROCID=1", "PMI_RANK=1", "CUDA_VISIBLE_DEVICES=0", "TERM=xterm", "EDITOR=vi", "NAME=x",
        ]
        let process = try Self.plan(["--cleanenv", "-e", "NAME"], host: host).process
        for entry in ["SLURM_PROCID=1", "PMI_RANK=1", "CUDA_VISIBLE_DEVICES=0", "TERM=xterm", "NAME=x"] {
            #expect(process.environment.contains(entry), "\(entry)")
        }
        #expect(!process.environment.contains("EDITOR=vi"))
    }
}
