internal import LaunchPlanning
internal import LinuxKernel
internal import SeccompProfiles

// compile-seccomp PROFILE ARCHITECTURE RECORD: run by Scripts/build for the profiles that Berth comes with, whose records
// the launcher reads. They have no conditions: the same filter holds for every kernel and every container.
let words = CommandLine.arguments
guard words.count == 4, let architecture = SeccompArchitecture(words[2]) else {
    fatalError("usage: compile-seccomp PROFILE x86_64|aarch64 RECORD")  // a tool of the build
}
let name = words[1].split(separator: "/").last?.split(separator: ".").first.map(String.init) ?? ""
let filter = try SeccompCompiler(architecture: architecture, capabilities: [], release: "0.0")
    .compile(try SeccompProfile(try contents(of: words[1])), name: name)
try OwnedFileDescriptor(opening: words[3], .writeOnly | .create | .truncate, mode: 0o644)
    .writeAll(filter.encoded(key: name))
