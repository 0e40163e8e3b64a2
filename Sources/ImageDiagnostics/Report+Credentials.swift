package import Diagnostics
package import Distribution
internal import LinuxKernel

extension Report {
    package init(_ error: CredentialError) {
        switch error {
        case .unreadable(let file, let code):
            self.init("cannot read the credentials in \(file): \(SystemErrorText.sentence(code))")
        case .malformed(let file, let detail):
            self.init(
                "cannot read the credentials in \(file): \(detail)",
                hint: "mend the file, or move it away and log in again")
        case .helperNotFound(let program, let file):
            self.init(
                "the credential helper \(program), which \(file) names, is not in PATH",
                hint: "install it on this node too, or log in without a helper into another file and name it with "
                    + "REGISTRY_AUTH_FILE")
        case .helperFailed(let program, let file, let status, let message):
            self.init(
                "the credential helper \(program) failed with status \(status)"
                    + (message.isEmpty ? "" : ": \(message)"),
                details: ["it is named in \(file)"],
                hint: "try it: echo REGISTRY | \(program) get; helpers that need a desktop do not work on compute nodes"
            )
        case .helperTimedOut(let program, let file):
            self.init(
                "the credential helper \(program) did not answer in time", details: ["it is named in \(file)"],
                hint: "helpers that ask on a terminal or desktop do not work on compute nodes; use a file")
        case .commandNotAllowed(let file, let line):
            self.init(
                "the password in \(file), line \(line), is a command, and running commands from there is not allowed",
                hint: "if the file is yours alone, allow it with BERTH_CREDENTIAL_COMMANDS=yes")
        case .commandFailed(let file, let line, let status):
            self.init("the command for the password in \(file), line \(line), failed with status \(status)")
        case .undefinedVariable(let name, let file, let line):
            self.init(
                "the password in \(file), line \(line), is the variable \(name), which is not set",
                hint: "export \(name), or write the password itself")
        }
    }
}

/// The C library's words for an `errno` value that came without a call.
enum SystemErrorText {
    static func sentence(_ code: Int32) -> String { SystemError(call: "", errno: code, subject: "").sentence }
}
