internal import LinuxKernel
package import SeccompProfiles

extension SeccompProfileError {
    /// The error, to be appended to the profile's name.
    package var text: String {
        switch self {
        case .notReadable(let problem): "it is not a profile in JSON: \(problem)"
        case .unknownWord(let field, let word): "\(field) \"\(word)\" is unknown"
        case .needsSupervisor(let word): "\(word) needs a supervisor process, and Berth has none"
        case .bothArchitectures: "it has both architectures and archMap"
        case .badArgument(let call, let problem): "the rule for \(call) has an argument with \(problem)"
        case .refused(let what, let code):
            "libseccomp refuses \(what): \(SystemError(call: "", errno: code, subject: "").reason)"
        case .tooLarge(let count): "it compiles to \(count) instructions, and the kernel accepts 4096"
        }
    }

    package var hint: String? {
        switch self {
        case .notReadable, .unknownWord:
            "the format is that of `docker run --security-opt seccomp=`; see berth-seccomp(1)"
        default: nil
        }
    }
}
