import Foundation
import TestSupport
import Testing

/// A site's set-up end to end, in which only the token service is simulated: Debian's docker-registry with TLS by the
/// site's own authority, tokens, all sources of credentials, and a proxy. Private/private-registry.sh has the cases.
@Suite(.enabled(if: PrivateRegistry.canRun)) struct PrivateRegistryTests {
    @Test func everyCaseOfTheScriptHolds() throws {
        let place = try TemporaryDirectory()
        let ended = try Command(
            ["unshare", "-rnm", "bash", PrivateRegistry.script, PrivateRegistry.program, place.path],
            secondsAllowed: 500
        ).run()
        let held = ended.output.split(separator: "\n").filter { $0.hasPrefix("ok ") }
        #expect(ended.status == 0 && held.count == 29, "\(ended.output)\n\(ended.errors)")
        #expect(!ended.output.contains("not ok"), "\(ended.output)")
    }
}

enum PrivateRegistry {
    static let script = packageRoot(#filePath) + "/Tests/RegistryTests/Private/private-registry.sh"
    static let program =
        ProcessInfo.processInfo.environment["BERTH_IMAGE_BIN"]
        ?? packageRoot(#filePath) + "/build/libexec/berth/berth-image"

    static let canRun: Bool = {
        let tools = ["docker-registry", "openssl", "python3", "ip"].map { "/usr/bin/" + $0 }
        var missing = ([program] + tools).filter { !FileManager.default.isExecutableFile(atPath: $0) }
        let tried = try? Command(["unshare", "-rnm", "true"]).run()  // no unshare(1): skipped
        if tried?.status != 0 { missing.append("namespaces for ordinary users") }
        if !missing.isEmpty {
            let why = "SKIPPED: the private registry, for want of \(missing.joined(separator: ", "))\n"
            FileHandle.standardError.write(Data(why.utf8))
        }
        return missing.isEmpty
    }()
}
