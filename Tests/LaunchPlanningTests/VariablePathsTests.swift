import LaunchPlanning
import Testing

@Suite struct VariablePathsTests {
    @Test(
        arguments: [
            ("", []), ("1", []), ("/", []), ("gcc/12.2:mpi/4", []), ("and/or", []), ("s/a/b/", []), ("a=b", []),
            ("/opt/x", ["/opt/x"]), ("/a:/b/c", ["/a", "/b/c"]), (":/a::/b:", ["/a", "/b"]),
            ("-I/opt/include -O2", ["/opt/include"]),
            ("--require=/opt/hook.js", ["/opt/hook.js"]), ("-javaagent:/opt/a.jar=/etc/x", ["/opt/a.jar", "/etc/x"]),
            ("FILE:/tmp/krb5cc", ["/tmp/krb5cc"]), ("| /usr/bin/lesspipe %s", ["/usr/bin/lesspipe"]),
            ("http://host:3128/path", []), ("https://u:p@host/a,/opt", ["/opt"]), ("unix:///run/s", ["/run/s"]),
            ("unix:path=/run/user/1/bus", ["/run/user/1/bus"]), ("tcp://10.0.0.1:443", []),
            ("a;tcp4://127.0.0.1:45", []),
            ("/data/*.tar", ["/data"]), ("/data/shard-{0..9}.tar", ["/data"]), ("/d/day=1/x", ["/d/day=1/x"]),
            ("/*", []),
            ("() {  . /etc/functions; echo $1/x\n}", ["/etc/functions"]), ("'/a b'", ["/a"]), ("/à/é", ["/à/é"]),
            ("/a:\u{301}/b", ["/a"]),
            ("host:/export/x", []), ("user@login-1.example.org:/data -v", []), ("lib:/a:/b", ["/a", "/b"]),
            ("/a,/b", ["/a", "/b"]), ("see @/x", []), ("[/a]", ["/a"]), ("[\"/a\", \"/b\"]", ["/a", "/b"]),
            ("{/a}", ["/a"]),
        ] as [(String, [String])]) func pathsAreFoundInValues(_ value: String, _ paths: [String])
    {
        #expect(VariablePaths.paths(in: value) == paths)
    }

    /// What passes of the host's variables where these paths exist inside.
    static func passed(_ variables: [String], existing: Set<String> = []) throws -> [String] {
        var process = try Sample.plan(host: EnvironmentRulesTests.host(variables)).process
        process.dropVariables { existing.contains($0) }
        #expect(process.environment.count == process.environmentSources.count)
        return process.environment.filter(variables.contains)
    }

    @Test(arguments: [
        "LD_PRELOAD=/x", "PYTHONPATH=/x:/y", "CUDA_HOME=/x", "SSH_AUTH_SOCK=/x", "TMPDIR=/x", "SSL_CERT_FILE=/x",
        "REQUESTS_CA_BUNDLE=/x", "JAVA_HOME=/x", "PERL5OPT=-I/x -MA", "NODE_OPTIONS=--require /x", "BASH_ENV=/x",
        "BASH_FUNC_m%%=() { /x; }", "OMPI_MCA_mca_base_component_path=/x", "ANYTHING=/x",
    ]) func aVariablePassesIfAllItsPathsExistInside(_ entry: String) throws {
        #expect(try Self.passed([entry]) == [])
        #expect(try Self.passed([entry], existing: ["/y"]) == [])
        #expect(try Self.passed([entry], existing: ["/x", "/y"]) == [entry])
    }

    /// They are the caller's shell's, exist inside by chance, and would fill the note of what was dropped.
    @Test(arguments: ["_=/bin/x", "OLDPWD=/x", "SHLVL=3"]) func theStateOfTheShellStaysOutside(_ entry: String) throws {
        #expect(try Self.passed([entry], existing: ["/x", "/bin/x"]) == [])
        var process = try Sample.plan(host: EnvironmentRulesTests.host([entry])).process
        process.dropVariables { _ in false }
        #expect(process.noteOfDroppedVariables(option: "-e NAME") == nil)
    }

    @Test func whatHoldsNoPathOrIsSlurmsPasses() throws {
        let variables = ["A=1", "SLURM_SUBMIT_DIR=/home/a", "SLURMD_X=/y", "LOADEDMODULES=gcc/12", "P=http://p/x"]
        #expect(try Self.passed(variables) == variables)
        #expect(try Self.passed(["ONE=/a b,c"], existing: ["/a b,c"]) == ["ONE=/a b,c"])
    }

    @Test func theImagesVariablesAndTheOptionsAreNotJudged() throws {
        var image = Sample.image
        image.environment.append("JAVA_HOME=/absent")
        var process = try Sample.plan(image: image, host: EnvironmentRulesTests.host(["P=/absent", "Q=/absent"])) {
            $0.variables = [.fromHost(name: "P")]
        }.process
        process.dropVariables { _ in false }
        #expect(process.environment.contains("JAVA_HOME=/absent") && process.environment.contains("P=/absent"))
        #expect(process.dropped.map(\.name) == ["Q"] && process.dropped.map(\.path) == ["/absent"])
        let note = try #require(process.noteOfDroppedVariables(option: "-e NAME"))
        #expect(note.contains("Q (/absent)") && note.contains("-e NAME"))
    }

    @Test func theMountedHomeIsTheOneThatHomeNames() throws {
        func home(_ variable: String, root: Bool = false, host: HostFacts = Sample.host) throws -> String {
            var host = host
            host.environment.append(variable)
            let plan = try Sample.plan(host: host) { options in
                options.home = true
                options.root = root
            }
            let mounts = plan.steps.compactMap { step in
                if case .bind(let bind) = step.action, step.origin == .option("--home") {
                    "\(bind.source) on \(bind.target)"
                } else {
                    nil
                }
            }
            return mounts.joined() + " " + (plan.process.environment.last { $0.hasPrefix("HOME=") } ?? "")
        }
        #expect(try home("A=") == "/home/ada on /home/ada HOME=/home/ada")
        #expect(try home("HOME=/tmp") == "/tmp on /tmp HOME=/tmp")
        #expect(try home("HOME=/tmp", root: true) == "/tmp on /root HOME=/root")
        #expect(try home("HOME=relative") == "/home/ada on /home/ada HOME=/home/ada")
        #expect(try home("HOME=/home/mallory", host: Sample.root) == "/root on /root HOME=/root")
    }

    /// The user did not ask for the directory that HOME names.
    @Test func theSitesHomeFallsBackToTheAccounts() throws {
        var host = Sample.host
        host.environment.append("HOME=/nowhere")
        var site = SitePolicy()
        site.mountHome = true
        func home(isThere: Bool, asked: Bool? = nil) throws -> [String] {
            host.hasHome = isThere
            return try Sample.plan(site: site, host: host) { $0.home = asked }.steps.compactMap { step in
                guard case .bind(let bind) = step.action, ["/nowhere", "/home/ada"].contains(bind.source) else {
                    return nil
                }
                return bind.source
            }
        }
        #expect(try home(isThere: true) == ["/nowhere"])
        #expect(try home(isThere: false) == ["/home/ada"])
        #expect(try home(isThere: false, asked: true) == ["/nowhere"])
    }

    @Test func theSiteMakesOrdinaryUsersRootUnlessTheySayOtherwise() throws {
        func root(_ words: [String], user: UInt32 = 1001) throws -> Bool {
            var options = try LaunchOptions(parsing: words + ["debian"], workingDirectory: "/")
            try options.settleUser(userID: user, groupID: 2001, isRoot: user == 0)
            options.settleRoot(siteDefault: true, isRoot: user == 0)
            return options.root
        }
        #expect(try root([]))
        #expect(try !root(["--no-root"]))
        #expect(try !root(["--user", "1001"]))
        #expect(try !root([], user: 0))
        // An empty user is root, as Docker reads it.
        #expect(try root(["--user", ":"]))
        #expect(try root(["--user", ":0"]))
        #expect(throws: OptionError.self) { try root(["--user", ":2001"]) }
        for words in [["--root", "--no-root"], ["--no-root", "--root"], ["--no-root", "--user", "0"]] {
            #expect(throws: OptionError.self) { try root(words) }
        }
    }

    @Test func aptStaysRootForAUserWhoIsRootInside() throws {
        var image = Sample.image
        image.usesAPT = true
        func writes(_ change: (inout LaunchOptions) -> Void, _ host: HostFacts = Sample.host) throws -> Bool {
            try Sample.plan(image: image, host: host, change).steps.contains { step in
                if case .file(_, "/etc/apt/apt.conf.d/99berth-root") = step.action { true } else { false }
            }
        }
        #expect(try writes { $0.root = true })
        #expect(try !writes { _ in })
        #expect(try !writes({ $0.root = true }, Sample.root))
    }

    @Test func aCommandIsNotNeededWhereSlurmExecutesIt() throws {
        var image = Sample.image
        image.command = []
        let without = image
        #expect(throws: PlanError.noCommand(image: "debian:12")) { try Sample.plan(image: without) }
        let plan = try Sample.plan(image: without) { $0.commandIsSlurms = true }
        #expect(plan.process.arguments == [])
    }
}
