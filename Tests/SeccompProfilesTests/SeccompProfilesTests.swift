import Foundation
import LaunchPlanning
import LinuxKernel
import SeccompProfiles
import TestSupport
import Testing

@Suite struct SeccompProfilesTests {
    static func profile(_ name: String) throws -> SeccompProfile {
        try SeccompProfile(try contents(of: packageRoot() + "/Seccomp/\(name).json"))
    }

    static func machine(
        _ profile: SeccompProfile, _ architecture: SeccompArchitecture? = SeccompArchitecture("x86_64"),
        capabilities: Set<String> = [], release: String = "6.1.0"
    ) throws -> FilterMachine {
        let compiler = SeccompCompiler(
            architecture: try #require(architecture), capabilities: capabilities, release: release)
        return FilterMachine(try compiler.compile(profile, name: "").instructions)
    }

    static func machine(json: String, capabilities: Set<String> = [], release: String = "6.1.0") throws -> FilterMachine
    {
        try machine(try SeccompProfile(Array(json.utf8)), capabilities: capabilities, release: release)
    }

    // Numbers of x86-64, i386 and aarch64.
    private static let pretended = FilterMachine.refuses(with: 0)

    @Test func fakerootPretendsInEveryWayOfCalling() throws {
        let machine = try Self.machine(try Self.profile("fakeroot"))
        // chown fchown lchown fchownat; setuid setgid setreuid setregid setgroups setresuid setresgid setfsuid setfsgid
        for number in [92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123] {
            #expect(machine.answer(number) == Self.pretended, "\(number)")
            #expect(machine.answer(number | 0x4000_0000) == Self.pretended, "x32 \(number)")
        }
        // i386: lchown setuid fchown, chown32 setuid32 setgroups32 fchownat
        for number in [16, 23, 95, 212, 213, 206, 298] {
            #expect(machine.answer(number, architecture: FilterMachine.i386) == Self.pretended, "i386 \(number)")
        }
        // read chmod fchmodat mount unshare execve getuid
        for number in [0, 90, 268, 165, 272, 59, 102] {
            #expect(machine.answer(number) == FilterMachine.allow, "\(number)")
        }
    }

    @Test func fakerootMakesFilesThatAreNoDevices() throws {
        let machine = try Self.machine(try Self.profile("fakeroot"))
        let device: [UInt64] = [0o020666, 0o060600], file: [UInt64] = [0o010644, 0o100600, 0o140755, 0o644]
        for mode in device {
            #expect(machine.answer(133, [1, mode]) == Self.pretended)
            #expect(machine.answer(259, [1, 2, mode]) == Self.pretended)
            #expect(machine.answer(14, [1, mode], architecture: FilterMachine.i386) == Self.pretended)
        }
        for mode in file {
            #expect(machine.answer(133, [1, mode]) == FilterMachine.allow)
            #expect(machine.answer(259, [1, 2, mode]) == FilterMachine.allow)
        }
    }

    @Test func builtInProfilesAreMadeForOtherProcessorsAsWell() throws {
        let fakeroot = try Self.machine(try Self.profile("fakeroot"), SeccompArchitecture("aarch64"))
        // fchownat setuid; read
        #expect(fakeroot.answer(54, architecture: FilterMachine.aarch64) == Self.pretended)
        #expect(fakeroot.answer(146, architecture: FilterMachine.aarch64) == Self.pretended)
        #expect(fakeroot.answer(63, architecture: FilterMachine.aarch64) == FilterMachine.allow)
        let standard = try Self.machine(try Self.profile("default"), SeccompArchitecture("aarch64"))
        #expect(standard.answer(105, architecture: FilterMachine.aarch64) == FilterMachine.refuses(with: 1))
    }

    @Test func defaultRefusesWhatTrainingDoesWithout() throws {
        let machine = try Self.machine(try Self.profile("default"))
        // init_module kexec_load add_key keyctl open_by_handle_at clock_settime swapon acct bpf userfaultfd finit_module
        for number in [175, 246, 248, 250, 304, 227, 167, 163, 321, 323, 313] {
            #expect(machine.answer(number) == FilterMachine.refuses(with: 1), "\(number)")
        }
        #expect(machine.answer(139 /* sysfs */) == FilterMachine.refuses(with: 38))
        #expect(machine.answer(16, [0, 0x5412 /* TIOCSTI */]) == FilterMachine.refuses(with: 1))
        // The kernel takes the lower half of the number.
        #expect(machine.answer(16, [0, 0x1_0000_5412]) == FilterMachine.refuses(with: 1))
        #expect(machine.answer(16, [0, 0x5413]) == FilterMachine.allow)
        // ptrace process_vm_readv perf_event_open io_uring_setup unshare mount setns move_pages kcmp pidfd_getfd clone3
        for number in [101, 310, 298, 425, 272, 165, 308, 279, 312, 438, 435] {
            #expect(machine.answer(number) == FilterMachine.allow, "\(number)")
        }
    }

    /// Docker and Podman ignore the case of keys, so such a profile would mean different things.
    @Test(arguments: [
        #"{"defaultAction":"SCMP_ACT_ERRNO","DefaultAction":"SCMP_ACT_ALLOW"}"#,
        #"{"defaultAction":"SCMP_ACT_ERRNO","Syscalls":[]}"#,
        #"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["bpf"],"action":"SCMP_ACT_ERRNO","ACTION":"SCMP_ACT_ALLOW"}]}"#,
        #"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"Caps":[]}}]}"#,
    ])
    func keysThatDifferOnlyInCaseAreRefused(_ text: String) {
        #expect {
            try SeccompProfile(Array(text.utf8))
        } throws: { error in
            guard case .notReadable(let reason)? = error as? SeccompProfileError else { return false }
            return reason.contains("only in case")
        }
    }

    @Test func conditionsAreThoseOfTheContainer() throws {
        let rule = { (condition: String) in
            #"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["bpf"],"action":"SCMP_ACT_ERRNO",\#(condition)}]}"#
        }
        func refuses(_ condition: String, _ capabilities: Set<String> = [], _ release: String = "6.1.0") throws -> Bool
        {
            try Self.machine(json: rule(condition), capabilities: capabilities, release: release).answer(321)
                != FilterMachine.allow
        }
        #expect(try refuses(#""includes":{"caps":["CAP_BPF"]}"#, ["CAP_BPF"]))
        #expect(try !refuses(#""includes":{"caps":["CAP_BPF"]}"#))
        #expect(try !refuses(#""excludes":{"caps":["CAP_BPF","CAP_SYS_ADMIN"]}"#, ["CAP_SYS_ADMIN"]))
        #expect(try refuses(#""includes":{"arches":["amd64"]}"#))
        #expect(try !refuses(#""includes":{"arches":["arm64"]}"#))
        #expect(try refuses(#""includes":{"minKernel":"4.8"}"#, [], "6.1.0-18-amd64"))
        #expect(try !refuses(#""includes":{"minKernel":"4.18"}"#, [], "4.8.0"))
        #expect(try refuses(#""excludes":{"minKernel":"6.2"}"#))
    }

    @Test func twoConditionsOnOneArgumentAreAlternatives() throws {
        let machine = try Self.machine(
            json: """
                {"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[{"names":["personality"],\
                "action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"},\
                {"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}
                """)
        #expect(machine.answer(135, [0]) == FilterMachine.allow)
        #expect(machine.answer(135, [8]) == FilterMachine.allow)
        #expect(machine.answer(135, [4]) == FilterMachine.refuses(with: 38))
    }

    @Test(arguments: [
        (
            #"{"defaultAction":"SCMP_ACT_ALOW"}"#,
            SeccompProfileError.unknownWord(field: "defaultAction", "SCMP_ACT_ALOW")
        ),
        (#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, .needsSupervisor("SCMP_ACT_NOTIFY")),
        (#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#, .unknownWord(field: "flags", "X")),
        (
            #"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"a"}]}"#,
            .bothArchitectures
        ),
        (
            #"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_PDP11"]}"#,
            .unknownWord(field: "architectures", "SCMP_ARCH_PDP11")
        ),
    ])
    func profilesThatCannotHoldAreRefused(_ json: String, _ expected: SeccompProfileError) throws {
        #expect(throws: expected) { try Self.machine(json: json) }
    }

    @Test func documentsThatReadersUnderstandDifferentlyAreRefused() {
        for json in [
            #"{"defaultAction":"SCMP_ACT_ALLOW","defaultAction":"SCMP_ACT_ERRNO"}"#, "[]", "{}", "",
            #"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":"bpf","action":"SCMP_ACT_ERRNO"}]}"#,
        ] {
            #expect(throws: SeccompProfileError.self, "\(json)") { try Self.machine(json: json) }
        }
    }

    @Test func recordsHoldForTheirKeyAndWhole() throws {
        let filter = try SeccompCompiler(capabilities: [], release: "6.1").compile(Self.profile("fakeroot"), name: "f")
        let record = filter.encoded(key: "a;b\nc")
        #expect(SeccompFilter(decoding: record, key: "a;b\nc", name: "f") == filter)
        #expect(SeccompFilter(decoding: record, key: "other", name: "f") == nil)
        #expect(SeccompFilter(decoding: record.dropLast(), key: "a;b\nc", name: "f") == nil)
        #expect(SeccompFilter(decoding: [], key: "", name: "f") == nil)
    }

    // MARK: Beside crun

    static let podmans = "/usr/share/containers/seccomp.json"
    static let crun = "/usr/bin/crun"
    static var canCompare: Bool {
        geteuid() == 0 && [crun, podmans].allSatisfy { FileManager.default.fileExists(atPath: $0) }
    }

    /// Arguments that the conditions of these profiles tell apart.
    private static let arguments: [[UInt64]] =
        [0, 1, 2, 8, 9, 16, 38, 40, 0x5412, 0x541C, 0x1_0000_5412, 0o020666, 0o060600, 0o010644, 0x20000, 0x20008]
        .flatMap { value in (0..<4).map { index in (0..<4).map { $0 == index ? value : 0 } } }
        + [[0xFFFF_FFFF], [0x7E02_0000], [16, 0, 9], [16, 3, 9], [2, 1, 9], [UInt64.max]]

    /// Of every system call, with each of those arguments, as x86-64, x32 and i386 make it.
    @Test(
        .enabled(if: canCompare, "needs root, crun and golang-github-containers-common"),
        arguments: ["default", "fakeroot", "podman", "podman with all capabilities"])
    func theDecisionsAreCruns(_ name: String) throws {
        let profile =
            name.hasPrefix("podman") ? try SeccompProfile(try contents(of: Self.podmans)) : try Self.profile(name)
        let compiler = SeccompCompiler(
            capabilities: name.hasSuffix("all capabilities") ? Set(Capabilities.names) : [], release: "6.1.0")
        let filter = try compiler.compile(profile, name: name)
        let (ours, cruns) = (FilterMachine(filter.instructions), FilterMachine(try Self.compiledByCrun(filter)))
        // ioctl personality socket clone mknod mknodat, and the same of i386
        let conditional: Set = [16, 135, 41, 56, 133, 259, 54, 136, 359, 120, 14, 297]
        var asked = 0
        for number in (0...470).flatMap({ [$0, $0 | 0x4000_0000] }) {
            for architecture in [FilterMachine.x86_64, FilterMachine.i386] {
                for arguments in conditional.contains(number & 0xFFFF)
                    ? Self.arguments : Array(Self.arguments.prefix(4))
                {
                    asked += 1
                    let (own, other) = (
                        ours.answer(number, arguments, architecture: architecture),
                        cruns.answer(number, arguments, architecture: architecture)
                    )
                    if own == nil || own != other {
                        Issue.record("\(number) \(arguments) \(architecture): \(own ?? 0), crun \(other ?? 0)")
                        return
                    }
                }
            }
        }
        #expect(asked > 9_000)
    }

    /// crun leaves what it has compiled in its state directory.
    private static func compiledByCrun(_ filter: SeccompFilter) throws -> [UInt8] {
        let place = try TemporaryDirectory()
        for name in ["proc", "dev", "sys"] { try place.makeDirectory("rootfs/" + name) }
        try FileManager.default.copyItem(atPath: "/bin/busybox", toPath: place.path + "/rootfs/true")
        try place.write(
            """
            {"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"args":["/true"],"cwd":"/"},"root":{"path":"rootfs"},"mounts":[],
            "linux":{"namespaces":[{"type":"mount"}],"seccomp":\(filter.configuration)}}
            """, to: "config.json")
        let script = """
            mount --make-rprivate /
            [ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 none /sys/fs/cgroup
            crun --root $1/state --cgroup-manager=disabled create --pid-file $1/pid --bundle $1 berth-test-$$ \
                </dev/null >$1/output 2>&1
            cp $1/state/berth-test-$$/seccomp.bpf $1/filter || cat $1/output
            kill -KILL $(cat $1/pid)
            crun --root $1/state delete -f berth-test-$$
            """
        // What waits in the container must not hold a pipe of this process.
        let ended = try Command(["unshare", "-m", "sh", "-c", script, "sh", place.path]).run()
        guard FileManager.default.fileExists(atPath: place.path + "/filter") else { throw TestSupportError("\(ended)") }
        return try contents(of: place.path + "/filter")
    }
}
