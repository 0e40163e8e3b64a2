internal import LinuxKernel
package import SeccompProfiles

extension SeccompProfileError {
    /// What is wrong with the profile, behind its name.
    package var text: String {
        switch self {
        case .notReadable(let problem): "it is not a profile in JSON: \(problem)"
        case .unknownWord(let field, let word): "\(field) \"\(word)\" is unknown"
        case .needsSupervisor(let word): "\(word) needs a process that answers the calls, and Berth leaves none behind"
        case .bothArchitectures: "it has both architectures and archMap"
        case .badArgument(let call, let problem): "the rule for \(call) has an argument with \(problem)"
        case .refused(let what, let code):
            "libseccomp refuses \(what): \(SystemError(call: "", errno: code, subject: "").reason)"
        case .tooLarge(let count): "it makes \(count) instructions, and the kernel takes 4096"
        }
    }

    package var hint: String? {
        switch self {
        case .notReadable, .unknownWord:
            "the form is that of `docker run --security-opt seccomp=` (docs/reference/seccomp.md)"
        default: nil
        }
    }
}
