import Devices
import LaunchPlanning
import LinuxKernel
import Testing

@Suite struct CommandRulesTests {
    struct Rule: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let imageEntrypoint, imageCommand: [String]
        let entrypoint: String?
        let command: [String]
        /// `nil`: there is no command.
        let runs: [String]?
    }

    /// https://docs.docker.com/reference/dockerfile/#understand-how-cmd-and-entrypoint-interact and `docker run`'s
    /// --entrypoint, which drops the image's CMD.
    static let rules: [Rule] = [
        Rule(
            testDescription: "nothing anywhere", imageEntrypoint: [], imageCommand: [], entrypoint: nil, command: [],
            runs: nil),
        Rule(
            testDescription: "CMD", imageEntrypoint: [], imageCommand: ["c"], entrypoint: nil, command: [], runs: ["c"]),
        Rule(
            testDescription: "CMD replaced", imageEntrypoint: [], imageCommand: ["c"], entrypoint: nil, command: ["x"],
            runs: ["x"]),
        Rule(
            testDescription: "ENTRYPOINT", imageEntrypoint: ["e"], imageCommand: [], entrypoint: nil, command: [],
            runs: ["e"]),
        Rule(
            testDescription: "ENTRYPOINT and CMD", imageEntrypoint: ["e", "f"], imageCommand: ["c"], entrypoint: nil,
            command: [], runs: ["e", "f", "c"]),
        Rule(
            testDescription: "ENTRYPOINT, CMD replaced", imageEntrypoint: ["e"], imageCommand: ["c"], entrypoint: nil,
            command: ["x", "y"], runs: ["e", "x", "y"]),
        Rule(
            testDescription: "--entrypoint drops CMD", imageEntrypoint: ["e"], imageCommand: ["c"], entrypoint: "n",
            command: [], runs: ["n"]),
        Rule(
            testDescription: "--entrypoint with a command", imageEntrypoint: ["e"], imageCommand: ["c"],
            entrypoint: "n", command: ["x"], runs: ["n", "x"]),
        Rule(
            testDescription: "--entrypoint empty, command", imageEntrypoint: ["e"], imageCommand: ["c"], entrypoint: "",
            command: ["x"], runs: ["x"]),
        Rule(
            testDescription: "--entrypoint empty, none", imageEntrypoint: ["e"], imageCommand: ["c"], entrypoint: "",
            command: [], runs: nil),
    ]

    @Test(arguments: rules) func entrypointAndCommandCombineAsInDocker(_ rule: Rule) throws {
        var image = Sample.image
        image.entrypoint = rule.imageEntrypoint
        image.command = rule.imageCommand
        let image_ = image
        func plan() throws(PlanError) -> [String] {
            try Sample.plan(image: image_) {
                $0.entrypoint = rule.entrypoint
                $0.command = rule.command
            }.process.arguments
        }
        if let runs = rule.runs {
            #expect(try plan() == runs)
        } else {
            let error = PlanError.noCommand(image: "debian:12", entrypointIsDropped: rule.entrypoint != nil)
            #expect(throws: error) { try plan() }
        }
    }

    @Test func theWorkingDirectoryIsTheOptionsThenTheImagesThenTheRoot() throws {
        var image = Sample.image
        #expect(try Sample.plan(image: image).process.workingDirectory == "/")
        image.workingDirectory = "/app"
        #expect(try Sample.plan(image: image).process.workingDirectory == "/app")
        #expect(try Sample.plan(image: image) { $0.workingDirectory = "/w" }.process.workingDirectory == "/w")
        image.workingDirectory = "app"
        let relative = image
        #expect(throws: PlanError.relativeWorkingDirectory("app")) { try Sample.plan(image: relative) }
    }

    @Test func theImagesUserCountsOnlyWhereBerthIsRootAndTheUserDoesNotWantToBe() throws {
        var image = Sample.image
        image.user = "web"
        #expect(try Sample.plan(image: image).process.user == .unchanged)
        #expect(try Sample.plan(image: image, host: Sample.root).process.user == .named("web", .image))
        #expect(try Sample.plan(image: image, host: Sample.root) { $0.root = true }.process.user == .unchanged)
        let other = try Sample.plan(image: image, host: Sample.root) { $0.user = "7:8" }
        #expect(other.process.user == .named("7:8", .option("--user")))
        image.user = ""
        #expect(try Sample.plan(image: image, host: Sample.root).process.user == .unchanged)
        let named = try Sample.plan(image: image, host: Sample.root) { $0.user = "web" }
        #expect(named.process.user == .named("web", .option("--user")))
        #expect(!named.process.environment.contains { $0.hasPrefix("HOME=") })
    }

    @Test func onlyTheHostsRootHasItsCapabilitiesCut() throws {
        #expect(try Sample.plan().process.boundingCapabilities == nil)
        let kept = try #require(try Sample.plan(host: Sample.root).process.boundingCapabilities)
        for (name, number) in [
            ("NET_RAW", 13), ("SYS_ADMIN", 21), ("SYS_PTRACE", 19), ("MKNOD", 27), ("SYS_MODULE", 16),
            ("SYS_RAWIO", 17), ("DAC_READ_SEARCH", 2), ("BPF", 39),
        ] {
            #expect(!kept.contains(number), "CAP_\(name) is kept")
        }
    }
}

@Suite struct EnvironmentRulesTests {
    static func environment(
        image: ContainerImage = Sample.image, host: HostFacts = Sample.host,
        _ change: (inout LaunchOptions) -> Void = { _ in }
    ) throws -> [String: String] {
        var result: [String: String] = [:]
        for entry in try Sample.plan(image: image, host: host, change).process.environment {
            let equals = try #require(entry.firstIndex(of: "="))
            #expect(
                result.updateValue(String(entry[entry.index(after: equals)...]), forKey: String(entry[..<equals]))
                    == nil, "\(entry) twice")
        }
        return result
    }

    static func host(_ variables: String...) -> HostFacts { host(variables) }

    static func host(_ variables: [String]) -> HostFacts {
        var host = Sample.host
        host.environment += variables
        return host
    }

    @Test(arguments: [
        "PATH=/x", "HOME=/x", "USER=x", "LOGNAME=x", "PWD=/x", "LANG=de_DE", "LANGUAGE=de", "LC_ALL=de_DE",
        "BERTH_STORE=/x",
    ]) func whatIsTrueOfTheHostAloneStaysOutside(_ entry: String) throws {
        let name = String(entry.prefix { $0 != "=" })
        #expect(try Self.environment(host: Self.host(entry))[name] != String(entry.dropFirst(name.count + 1)))
    }

    @Test(arguments: [
        "SLURM_PROCID=3", "PMI_FD=9", "PMIX_RANK=0", "CUDA_VISIBLE_DEVICES=0,1", "NCCL_DEBUG=INFO", "OMP_NUM_THREADS=4",
        "EMPTY=", "MULTI=a\nb",
        "WITH=a=b", "https_proxy=http://p", "KRB5CCNAME=x", "LD_PRELOAD=x.so", "BASH_FUNC_x%%=() { :; }", "PS1=$ ",
        "LC_CTYPE=C.UTF-8", "SHELL=/bin/sh", "PYTHONPATH=/x",
    ]) func whatTheJobAndTheUserSetGoesIn(_ entry: String) throws {
        let name = String(entry.prefix { $0 != "=" })
        #expect(try Self.environment(host: Self.host(entry))[name] == String(entry.dropFirst(name.count + 1)))
    }

    @Test func strongerSourcesWinFromHostToOption() throws {
        var image = Sample.image
        let host = Self.host("V=host")
        #expect(try Self.environment(image: image, host: host)["V"] == "host")
        image.environment.append("V=image")
        #expect(try Self.environment(image: image, host: host)["V"] == "image")
        #expect(
            try Self.environment(image: image, host: host) {
                $0.variables = [.set(name: "V", value: "a"), .set(name: "V", value: "b")]
            }["V"] == "b")
        #expect(try Self.environment(image: image, host: host) { $0.variables = [.fromHost(name: "V")] }["V"] == "host")
        #expect(try Self.environment(image: image) { $0.variables = [.fromHost(name: "V")] }["V"] == "image")
    }

    @Test func anOptionBringsEvenWhatWouldStayOutside() throws {
        let host = Self.host("LD_PRELOAD=/mine.so")
        #expect(
            try Self.environment(host: host) { $0.variables = [.fromHost(name: "LD_PRELOAD")] }["LD_PRELOAD"]
                == "/mine.so")
        #expect(try Self.environment { $0.variables = [.set(name: "PATH", value: "/p")] }["PATH"] == "/p")
    }

    @Test func thePathIsTheImagesOrTheUsual() throws {
        var image = Sample.image
        #expect(try Self.environment(image: image)["PATH"] == "/usr/bin:/bin")
        image.environment = []
        #expect(
            try Self.environment(image: image)["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        )
    }

    @Test func theCallersNameAndHomeAreThoseInside() throws {
        var image = Sample.image
        image.environment += ["HOME=/image", "USER=web"]
        let own = try Self.environment(image: image)
        #expect(own["HOME"] == "/home/ada")
        let asRoot = try Self.environment { $0.root = true }
        #expect(asRoot["HOME"] == "/root")
        #expect(asRoot["USER"] == "root")
        #expect(asRoot["LOGNAME"] == "root")
        #expect(try Self.environment(image: image, host: Sample.root)["HOME"] == "/image")
    }

    /// Who that is, only the image's own passwd tells, once the process stands in it.
    @Test func whereTheImagesUserWillRunItsNameAndHomeAreLeftToIt() throws {
        var image = Sample.image
        image.user = "web"
        let variables = try Self.environment(image: image, host: Sample.root)
        #expect(["HOME", "USER", "LOGNAME"].compactMap { variables[$0] } == [])
    }

    @Test func malformedEntriesOfHostAndImageAreDropped() throws {
        var image = Sample.image
        image.environment += ["=x", "NOVALUE", ""]
        let found = try Self.environment(image: image, host: Self.host("=y", "ALSONOT"))
        #expect(found["NOVALUE"] == nil)
        #expect(found["ALSONOT"] == nil)
        #expect(found[""] == nil)
    }

    @Test func theImageIsNamedToItsProcesses() throws {
        let found = try Self.environment()
        #expect(found["BERTH_IMAGE"] == "debian:12")
        #expect(found["BERTH_IMAGE_DIGEST"] == "sha256:00")
    }

    @Test(
        arguments: [
            ("A=1\nB=2\n", [.set(name: "A", value: "1"), .set(name: "B", value: "2")]),
            ("# comment\n\n  \n\tA=1", [.set(name: "A", value: "1")]),
            ("A='quoted'  \n", [.set(name: "A", value: "'quoted'  ")]),
            ("HOSTVALUE\n", [.fromHost(name: "HOSTVALUE")]),
            ("A=x\u{2028}y\u{0C}z\n", [.set(name: "A", value: "x\u{2028}y\u{0C}z")]),
            ("A=x#y\r\nB=z", [.set(name: "A", value: "x#y"), .set(name: "B", value: "z")]),
            ("\u{FEFF}A=1\n\u{FEFF}B=2", [.set(name: "A", value: "1"), .set(name: "\u{FEFF}B", value: "2")]),
            ("\u{FEFF}# comment", []),
            ("", []),
        ] as [(String, [LaunchOptions.Variable])]) func environmentFilesReadAsDockers(
            _ file: String, _ variables: [LaunchOptions.Variable]
        ) throws
    {
        #expect(try LaunchOptions.Variable.parse(file: Array(file.utf8), path: "f") == variables)
    }

    @Test(arguments: [[0x41, 0x3D, 0xFF], [0x41, 0x3D, 0x62, 0x00, 0x63], [0x41, 0xC3]] as [[UInt8]])
    func aLineThatIsNoTextIsRefused(_ line: [UInt8]) {
        #expect(throws: OptionError.environmentFileBytes("f", line: 2)) {
            try LaunchOptions.Variable.parse(file: Array("B=1\n".utf8) + line, path: "f")
        }
    }

    @Test func aLineWithoutANameIsRefused() {
        #expect(throws: OptionError.environmentFile("f", line: 2, name: "")) {
            try LaunchOptions.Variable.parse(file: Array("A=1\n=x\n".utf8), path: "f")
        }
        // What was written for a shell; the value is not repeated, for it may be a secret.
        #expect(throws: OptionError.environmentFile("f", line: 3, name: "export TOKEN")) {
            try LaunchOptions.Variable.parse(file: Array("# a\n\nexport TOKEN=secret\n".utf8), path: "f")
        }
        #expect(throws: OptionError.environmentFile("f", line: 1, name: "A ")) {
            try LaunchOptions.Variable.parse(file: Array("A =1".utf8), path: "f")
        }
    }
}

@Suite struct LimitRulesTests {
    static func limits(host: HostFacts = Sample.host, _ limits: LaunchOptions.Limit...) throws(PlanError)
        -> [ResourceLimit: LimitValues]
    {
        var result: [ResourceLimit: LimitValues] = [:]
        for change in try Sample.plan(host: host, { $0.limits = limits }).process.limits {
            result[change.limit] = change.to
        }
        return result
    }

    @Test func memlockStackAndOpenFilesRiseToTheHardLimitAndNothingElse() throws {
        #expect(
            try Self.limits() == [
                .lockedMemory: LimitValues(soft: 8 << 20, hard: 8 << 20), .stack: LimitValues(soft: .max, hard: .max),
                .openFiles: LimitValues(soft: 1_048_576, hard: 1_048_576),
            ])
    }

    @Test func whatIsThereAlreadyIsLeftAlone() throws {
        var host = Sample.host
        host.limits = [.lockedMemory: LimitValues(soft: .max, hard: .max)]
        #expect(try Self.limits(host: host).isEmpty)
    }

    @Test func anOptionReplacesTheDefaultForItsLimit() throws {
        let found = try Self.limits(
            .init(limit: .openFiles, soft: 64, hard: 128), .init(limit: .core, soft: 5, hard: nil))
        #expect(found[.openFiles] == LimitValues(soft: 64, hard: 128))
        #expect(found[.core] == LimitValues(soft: 5, hard: 5))
        #expect(found[.lockedMemory] != nil)
    }

    @Test func aboveTheHardLimitTheHardLimitIsSetAndALineSaysSo() throws {
        func plan(_ host: HostFacts, _ limit: LaunchOptions.Limit) throws -> LaunchPlan {
            try Sample.plan(host: host) { $0.limits = [limit] }
        }
        let memory = LaunchOptions.Limit(limit: .lockedMemory, soft: .max, hard: nil)
        let files = LaunchOptions.Limit(limit: .openFiles, soft: 5, hard: 1_048_577)
        let capped = try plan(Sample.host, memory)
        #expect(
            capped.process.limits.first { $0.limit == .lockedMemory }?.to == LimitValues(soft: 8 << 20, hard: 8 << 20))
        #expect(
            capped.notes.count == 1 && capped.notes[0].hasPrefix("warning: --ulimit memlock=unlimited is above"),
            "\(capped.notes)")
        #expect(
            try plan(Sample.host, files).process.limits.first { $0.limit == .openFiles }?.to
                == LimitValues(soft: 5, hard: 1_048_576))
        #expect(try plan(Sample.host, .init(limit: .openFiles, soft: 5, hard: 1_048_576)).notes.isEmpty)
        var root = Sample.root
        root.raisesHardLimits = true
        let raised = try plan(root, memory)
        #expect(raised.process.limits.first { $0.limit == .lockedMemory }?.to == LimitValues(soft: .max, hard: .max))
        #expect(raised.notes.isEmpty)
    }
}

@Suite struct GPURulesTests {
    static func nodes(_ request: LaunchOptions.GPURequest, granted: [DeviceNode]) throws(PlanError) -> [DeviceNode] {
        var host = Sample.host
        host.grantedGPUs = granted
        host.gpuControlNodes = granted.isEmpty ? [] : ["/dev/nvidiactl"]
        return try Sample.plan(host: host) { $0.gpus = request }.steps.compactMap { step in
            guard case .bind(let bind) = step.action, bind.target.hasPrefix("/dev/nvidia") else { return nil }
            return bind.source == bind.target ? bind.node : nil
        }
    }

    static let two: [DeviceNode] = ["/dev/nvidia3", "/dev/nvidia6"]

    @Test func grantedIsWhatTheSchedulerLetsOpen() throws {
        #expect(try Self.nodes(.granted, granted: Self.two) == Self.two + ["/dev/nvidiactl"])
        #expect(try Self.nodes(.granted, granted: []) == [])
    }

    @Test func noneShowsNoControlNodeEither() throws { #expect(try Self.nodes(.none, granted: Self.two) == []) }

    @Test func aCountTakesTheFirstGrantedOnes() throws {
        #expect(try Self.nodes(.count(1), granted: Self.two) == ["/dev/nvidia3", "/dev/nvidiactl"])
        #expect(try Self.nodes(.count(2), granted: Self.two) == Self.two + ["/dev/nvidiactl"])
        #expect(throws: PlanError.tooFewGPUs(requested: 3, granted: 2)) { try Self.nodes(.count(3), granted: Self.two) }
        #expect(throws: PlanError.tooFewGPUs(requested: 1, granted: 0)) { try Self.nodes(.count(1), granted: []) }
    }

    @Test func positionsCountWithinTheGrantAsCUDADoes() throws {
        #expect(try Self.nodes(.positions([1]), granted: Self.two) == ["/dev/nvidia6", "/dev/nvidiactl"])
        #expect(
            try Self.nodes(.positions([1, 0]), granted: Self.two) == ["/dev/nvidia6", "/dev/nvidia3", "/dev/nvidiactl"])
        #expect(throws: PlanError.gpuNotGranted(position: 2, granted: 2)) {
            try Self.nodes(.positions([0, 2]), granted: Self.two)
        }
        #expect(throws: PlanError.gpuNotGranted(position: 0, granted: 0)) {
            try Self.nodes(.positions([0]), granted: [])
        }
    }

    @Test func allAsksForAtLeastOne() throws {
        #expect(try Self.nodes(.all, granted: Self.two) == Self.two + ["/dev/nvidiactl"])
        #expect(throws: PlanError.noGPUs) { try Self.nodes(.all, granted: []) }
    }

    /// Each was looked for among all before it: 188 seconds at each launch.
    @Test func oneHundredThousandVariablesTakeLinearTime() throws {
        var image = Sample.image
        image.environment = (0..<100_000).map { "NAME_\($0)=\($0)" } + ["NAME_7=again"]
        let started = ContinuousClock.now
        let plan = try Sample.plan(image: image)
        #expect(ContinuousClock.now - started < .seconds(60), "about one in a debug build")
        #expect(plan.process.environment.count >= 100_000)
        #expect(plan.process.environment.contains("NAME_7=again") && !plan.process.environment.contains("NAME_7=7"))
    }

    @Test func namesThatLookAlikeAreTwo() throws {
        var image = Sample.image
        image.environment = ["\u{E9}=1", "e\u{301}=2", "A=\u{301}", "B=\u{200D}b"]
        let found = try Sample.plan(image: image).process.environment.map { Array($0.utf8) }
        for entry in image.environment { #expect(found.contains(Array(entry.utf8)), "\(entry)") }
    }
}
