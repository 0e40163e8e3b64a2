import ArgumentParser
import Diagnostics
import Distribution
import ImageDiagnostics
import ImagePull
import ImageSpec
import Testing

@testable import berth_image

/// Error messages.
@Suite struct ReportTests {
    @Test func aRefusalNamesTheFileAndTheRemedy() {
        let report = Report(
            RegistryError(
                host: "r.io", subject: "r.io/x:1",
                reason: .unauthorized(.file("/home/me/.docker/config.json"), message: "no")))
        #expect(report.text.hasPrefix("berth: cannot pull r.io/x:1: r.io answered 401 Unauthorized (\"no\")\n"))
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
            .notARegistry, .speaksHTTP, .untrustedCertificate, .tooSlow(limit: .seconds(120)),
            .slowTransfer(least: 1000), .contentEncoding("gzip"), .tooLarge(limit: 1),
            .unexpectedStatus(502, message: nil),
        ] as [RegistryError.Reason])
    func everyFailureHasARemedy(reason: RegistryError.Reason) {
        let report = Report(RegistryError(host: "r.io", subject: "r.io/x:1", reason: reason))
        #expect(report.hint?.isEmpty == false)
        #expect(!report.summary.hasSuffix("."))
    }

    @Test(arguments: [
        ("docker.io/myregistry/team/img:1", "myregistry.DOMAIN/team/img:1 or myregistry:PORT/team/img:1"),
        ("repository:myregistry/team/img:pull", "Docker Hub was asked"),
        ("docker.io/library/debain:1", "Docker Hub was asked"),
    ]) func whatWasAskedOfDockerHubIsSaid(subject: String, words: String) {
        for reason in [RegistryError.Reason.unauthorized(nil, message: nil), .manifestUnknown, .unreachable(.timedOut)]
        {
            let report = Report(RegistryError(host: "registry-1.docker.io", subject: subject, reason: reason))
            #expect(report.text.contains(words), "\(report.text)")
        }
        let other = Report(RegistryError(host: "ghcr.io", subject: "ghcr.io/a/b:1", reason: .manifestUnknown))
        #expect(!other.text.contains("Docker Hub"))
        #expect(other.hint?.contains("check the name and the tag") == true)
    }

    @Test(arguments: [
        (["pull", "--nonsense", "x"], "--nonsense", "`berth pull --help` lists the options"),
        (["pull", "--quite", "x"], "--quite", "did you mean --quiet? `berth pull --help` lists the options"),
        (
            ["pull", "--platfrom=linux/arm64", "x"], "--platfrom",
            "did you mean --platform? `berth pull --help` lists the options"
        ),
        (["pull", "-Q", "x"], "-Q", "did you mean -q? `berth pull --help` lists the options"),
        (["images", "--jso"], "--jso", "did you mean --json? `berth images --help` lists the options"),
        (["prune", "-A"], "-A", "did you mean -a? `berth prune --help` lists the options"),
        (
            ["rmi", "--volume", "x"], "--volume",
            "--volume is an option of `berth run`. `berth rmi --help` lists the options"
        ),
    ])
    func anUnknownOptionGetsASuggestion(_ arguments: [String], _ option: String, _ hint: String) {
        do {
            _ = try Berth.parseAsRoot(arguments)
            Issue.record("took it")
        } catch {
            let report = CommandLineRun.report(for: error, arguments)
            #expect(report.summary == "unknown option \"\(option)\" of `berth \(arguments[0])`")
            #expect(report.hint == hint)
        }
    }

    @Test(arguments: [
        (["pull"], "no image given", "berth pull [OPTIONS] IMAGE"),
        (["rmi"], "no images given", "berth rmi [OPTIONS] IMAGE..."),
        (["containers", "rm"], "no names given", "berth containers rm [OPTIONS] NAME..."),
        (["history", "show"], "no run given", "berth history show [OPTIONS] RUN"),
        (["pull", "--quite"], "unknown option \"--quite\" of `berth pull`", "did you mean --quiet? `berth pull --help` lists the options"),
        (
            ["containers", "prune", "--al"], "unknown option \"--al\" of `berth containers prune`",
            "did you mean --all? `berth containers prune --help` lists the options"
        ),
        (["history", "--nonsense"], "unknown option \"--nonsense\" of `berth history`", "`berth history --help` lists the options"),
    ])
    func aMissingArgumentGetsTheUsageAndAMistypedOptionComesFirst(_ arguments: [String], _ what: String, _ hint: String) {
        do {
            _ = try Berth.parseAsRoot(arguments)
            Issue.record("took it")
        } catch {
            let report = CommandLineRun.report(for: error, arguments)
            #expect(report.summary == what)
            #expect(report.hint == hint)
        }
    }

    @Test func anErrorOfSeveralLinesKeepsItsLines() {
        let arguments = ["--generate-completion-script", "ksh"]
        do {
            _ = try Berth.parseAsRoot(arguments)
            Issue.record("took it")
        } catch {
            let report = CommandLineRun.report(for: error, arguments)
            #expect(!report.text.contains("\u{FFFD}"), "\(report.text)")
            #expect(report.text.contains("bash"), "\(report.text)")
        }
    }

    @Test func anAmbiguousPathIsNamedWithItsPrefix() throws {
        let error = PullError.local(.unknownTag(nil, present: ["mine", "other"]), path: "/home/me/images")
        let report = Report(error, source: .ociLayout(path: "/home/me/images", tag: nil))
        #expect(report.hint == "write a tag after the path: oci:/home/me/images:mine")
    }

    @Test func inAStepOfSeveralNodesAPullNamesItsNode() {
        #expect(PullCommand.node(["SLURM_STEP_NUM_NODES": "2", "SLURMD_NODENAME": "n1"]) == "n1: ")
        #expect(PullCommand.node(["SLURM_STEP_NUM_NODES": "1", "SLURMD_NODENAME": "n1"]) == "")
        #expect(PullCommand.node([:]) == "")
    }

    @Test(arguments: ["debian", "out.tar", "/tmp/x", "./x", "registry.example.org/team/image:1", "localhost:5000/x"])
    func anExportNamesTheKindOfItsDestination(_ word: String) {
        #expect(!ExportCommand.hasScheme(word))
        let report = Report.destinationWithoutScheme(word)
        #expect(report.hint?.contains("oci-archive:\(word)") == true)
    }

    @Test(arguments: ["docker://r.io/x", "oci:x", "oci-archive:/x.tar", "docker-archive:x", "dir:/x", "podman://x"])
    func aDestinationWithASchemeIsLookedAt(_ word: String) {
        #expect(ExportCommand.hasScheme(word))
    }

    @Test(arguments: [
        ("pul", "did you mean `berth pull`?"), ("imgaes", "did you mean `berth images`?"),
        ("attach", "berth exec"), ("stop", "berth ps"), ("version", "berth --version"), ("debian", "berth run debian"),
        ("rn", "did you mean `berth run`?"),
        ("PULL", "did you mean `berth pull`?"), ("prefecth", "did you mean `berth prefetch`?"),
        ("doc", "did you mean `berth doctor`?"), ("x", "berth run x"), ("tag", "berth export IMAGE"),
        ("create", "berth run IMAGE"), ("top", "berth ps"), ("info", "berth doctor"), ("list", "berth images"),
        ("cp", "berth run -v"), ("completion", "--generate-completion-script"),
    ]) func aVerbThatIsNoneGetsAWord(_ name: String, _ word: String) {
        let report = CommandLineRun.report(for: CancellationError(), [name])
        #expect(report.summary == "there is no command \"\(name)\"")
        #expect(report.hint?.contains(word) == true, "\(report)")
    }
}
