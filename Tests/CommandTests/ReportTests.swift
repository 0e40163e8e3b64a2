import ArgumentParser
import Diagnostics
import Distribution
import ImageDiagnostics
import ImageSpec
import Testing

@testable import berth_image

/// What people are told.
@Suite struct ReportTests {
    @Test func aRefusalNamesTheFileAndTheRemedy() {
        let report = Report(
            RegistryError(
                host: "r.io", subject: "r.io/x:1",
                reason: .unauthorized(.file("/home/me/.docker/config.json"), message: "no")))
        #expect(report.text.hasPrefix("berth: r.io refuses r.io/x:1 (\"no\") with these credentials\n"))
        #expect(report.text.contains("  credentials from /home/me/.docker/config.json\n"))
        #expect(report.text.contains("  hint: "))
        #expect(report.status == .ownFailure)
    }

    @Test(
        arguments: [
            .manifestUnknown, .nameUnknown, .blobUnknown, .tooManyRequests(retryAfter: .seconds(7200)),
            .unreachable(.refused), .unreachable(.nameNotFound), .tls("expired"), .certificateName,
            .truncated(received: 1, expected: 2), .schema1, .unsupportedMediaType(.ociEmpty), .proxy("https_proxy"),
            .refusedRealm(.plaintext, realm: "http://x"),
            .refusedRedirect(.tooMany, to: "https://x"), .mediaTypeMismatch(header: .ociIndex, body: .ociManifest),
            .credentials(.helperNotFound("docker-credential-x", file: "/f")),
            .pushUnauthorized(nil, message: nil), .pushUnauthorized(.file("/f"), message: "no"),
            .pushDenied(nil, message: "quota"), .readOnly(message: nil), .noRoom(status: 413, message: nil),
            .noRoom(status: 507, message: nil), .uploadCorrupted(message: nil), .noUploadLocation,
        ] as [RegistryError.Reason])
    func everyFailureHasARemedy(reason: RegistryError.Reason) {
        let report = Report(RegistryError(host: "r.io", subject: "r.io/x:1", reason: reason))
        #expect(report.hint?.isEmpty == false)
        #expect(!report.what.hasSuffix("."))
    }

    @Test func optionErrorsHaveTheHousesForm() {
        let arguments = ["pull", "--nonsense", "x"]
        do {
            _ = try Berth.parseAsRoot(arguments)
            Issue.record("took it")
        } catch {
            let report = CommandLineRun.report(for: error, arguments)
            #expect(report.what.hasPrefix("unknown option '--nonsense'"))
            #expect(report.hint == "`berth pull --help` shows what can be given")
        }
    }

    @Test(arguments: [
        ("pul", "did you mean `berth pull`?"), ("imgaes", "did you mean `berth images`?"),
        ("exec", "nsenter"), ("version", "berth --version"), ("debian", "berth run debian"), ("rn", "berth run rn"),
    ]) func aVerbThatIsNoneGetsAWord(_ name: String, _ word: String) {
        let report = CommandLineRun.report(for: CancellationError(), [name])
        #expect(report.what == "there is no command \"\(name)\"")
        #expect(report.hint?.contains(word) == true, "\(report)")
    }
}
