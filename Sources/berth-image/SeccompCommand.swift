internal import ArgumentParser
internal import Diagnostics
internal import ImageDiagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import SeccompProfiles

/// `berth seccomp`
struct SeccompCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "seccomp",
        abstract: "Check a seccomp profile, and print what of it applies here.",
        usage: "berth seccomp PROFILE.json [--capability NAME]...",
        discussion: """
            Prints the profile as `linux.seccomp` of the OCI runtime-spec: without what is for other architectures, other \
            kernels, or capabilities that the container does not have.

            Example:
              berth seccomp /usr/share/containers/seccomp.json --capability CAP_SYS_ADMIN
            """)

    @Argument(help: "The profile: JSON as Docker and Podman have it.", completion: .file(extensions: ["json"]))
    var profile: String

    @Option(help: ArgumentHelp("A capability that the container has; none without.", valueName: "name"))
    var capability: [String] = []

    @Option(help: ArgumentHelp("Write the record that the launcher reads.", visibility: .hidden))
    var record: String?

    func run() throws {
        let bytes = try reporting({ (error: SystemError) in
            Report(
                "cannot read the seccomp profile \(profile): \(error.sentence)",
                hint: error.isAbsence ? "check the path" : Report.hint(for: error))
        }) { () throws(SystemError) in try contents(of: profile, limit: 1 << 20) }
        let release = (try? contents(of: "/proc/sys/kernel/osrelease", limit: 256)) ?? []  // without /proc: conditions do not hold
        let filter = try reporting({ (error: SeccompProfileError) in
            Report("cannot use the seccomp profile \(profile): \(error.text)", hint: error.hint)
        }) { () throws(SeccompProfileError) in
            try SeccompCompiler(capabilities: Set(capability), release: RawText.string(release[...]))
                .compile(try SeccompProfile(bytes), name: profile)
        }
        if let record {
            filter.encoded(key: record).withUnsafeBytes { Printed.bytes($0) }
        } else {
            Printed.line(filter.configuration)
        }
    }
}
