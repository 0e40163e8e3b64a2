internal import FoundationEssentials
internal import Glibc
internal import ImageSpec

/// Runs `docker-credential-NAME get`.
///
/// https://github.com/docker/docker-credential-helpers#usage
struct CredentialHelper: Sendable {
    /// Replaces the user's name if the secret is an identity token.
    static let tokenUser = "<token>"
    /// The name of Docker Hub in helpers.
    static let dockerHubServer = "https://index.docker.io/v1/"

    let name: String
    let file: String
    let environment: [String: String]
    let timeout: Duration

    private struct Answer: Decodable {
        let Username: String?
        let Secret: String?
    }

    func get(registry: String) async throws(CredentialError) -> Credential? {
        // The name comes from a file that may have been copied from elsewhere, and becomes part of a path.
        let isName =
            !name.isEmpty
            && name.utf8.allSatisfy { byte in
                UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte | 0x20 || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
                    || "-_.".utf8.contains(byte)
            }
        guard isName else { throw .malformed(file: file, detail: "a helper's name that is not a name") }
        let program = "docker-credential-\(name)"
        guard let path = HelperProcess.path(of: program, in: environment["PATH"] ?? "") else {
            throw .helperNotFound(program, file: file)
        }
        let server = registry == Reference.dockerHub ? Self.dockerHubServer : registry
        let result = await HelperProcess.run(
            path, ["get"], environment: HelperProcess.environment(from: environment), input: server + "\n",
            timeout: timeout)
        switch result {
        case .timedOut:
            throw .helperTimedOut(program, file: file)
        case .failed(let code):
            throw .helperFailed(program, file: file, status: 127, message: String(cString: strerror(code)))
        case .ended(let status, let output, let errors):
            guard status == 0 else {
                // The protocol reports a missing entry only by this sentence on standard output.
                let text = String(decoding: output, as: UTF8.self) + String(decoding: errors, as: UTF8.self)
                if text.lowercased().contains("credentials not found") { return nil }
                let message = RegistryError.clean(String(decoding: errors, as: UTF8.self))
                throw .helperFailed(program, file: file, status: status, message: message)
            }
            return try credential(from: output, program: program)
        }
    }

    private func credential(from output: Data, program: String) throws(CredentialError) -> Credential? {
        do throws(DocumentFault) { _ = try DocumentScanner.check(Array(output), as: .any) } catch {
            if case .repeatedKey = error.reason {
                throw .helperFailed(
                    program, file: file, status: 0, message: "its answer: " + RegistryError.clean(error.description))
            }
        }
        let answer: Answer
        do {
            answer = try JSONDecoder().decode(Answer.self, from: output)
        } catch {
            throw .helperFailed(program, file: file, status: 0, message: "its answer is not the protocol's JSON")
        }
        guard let secret = answer.Secret, !secret.isEmpty else { return nil }
        let origin = CredentialOrigin.helper(program, file: file)
        let user = answer.Username ?? ""
        return user == Self.tokenUser
            ? Credential(secret: .identityToken(user: "", token: secret), origin: origin)
            : Credential(secret: .password(user: user, password: secret), origin: origin)
    }
}
