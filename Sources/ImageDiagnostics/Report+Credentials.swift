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
                hint: "fix the file, or move it away and log in again")
        case .helperNotFound(let program, let file):
            self.init(
                "the credential helper \(program), configured in \(file), is not in PATH",
                hint: "install it on this node, too, or log in without a helper and set REGISTRY_AUTH_FILE to the "
                    + "resulting "
                    + "file")
        case .helperFailed(let program, let file, let status, let message):
            self.init(
                "the credential helper \(program) failed with status \(status)"
                    + (message.isEmpty ? "" : ": \(message)"),
                details: ["configured in \(file)"],
                hint: "try it: echo REGISTRY | \(program) get; helpers that need a desktop do not work on compute nodes"
            )
        case .helperTimedOut(let program, let file):
            self.init(
                "the credential helper \(program) did not answer in time", details: ["configured in \(file)"],
                hint: "helpers that ask on a terminal or desktop do not work on compute nodes; use a file")
        case .commandNotAllowed(let file, let line):
            self.init(
                "the password in \(file), line \(line), is a command, which Berth does not run by default",
                hint: "if only you can write to the file, allow it with BERTH_CREDENTIAL_COMMANDS=yes")
        case .commandFailed(let file, let line, let status):
            self.init("the command for the password in \(file), line \(line), failed with status \(status)")
        case .undefinedVariable(let name, let file, let line):
            self.init(
                "the password in \(file), line \(line), uses the variable \(name), which is not set",
                hint: "export \(name), or write the password into the file")
        }
    }
}

/// The C library's message for an `errno` value without a call.
enum SystemErrorText {
    static func sentence(_ code: Int32) -> String { SystemError(call: "", errno: code, subject: "").sentence }
}
