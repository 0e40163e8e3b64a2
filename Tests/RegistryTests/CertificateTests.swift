@testable import Distribution
import Foundation
import NIOSSL
import Testing

/// Trust in certificates, from the directories of Docker and containers.
@Suite struct CertificateTests {
    @Test func certificatesAreFoundByHost() throws {
        let base = NSTemporaryDirectory() + "berth-certs-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: base) }
        func write(_ name: String, _ text: String) throws {
            let path = "\(base)/\(name)"
            try FileManager.default.createDirectory(
                atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        }
        try write("r.example/ca.crt", Self.certificate)
        try write("r.example/client.cert", Self.certificate)
        try write("r.example/client.key", Self.key)
        try write("spelled.example:443/ca.crt", Self.certificate)
        try write("broken.example/ca.crt", "none")

        var configuration = RegistryConfiguration(environment: ["SSL_CERT_FILE": "/site.pem"])
        configuration.certificateDirectories = ["\(base)/absent", base]
        configuration.insecureRegistries = ["open.example:5000"]
        let certificates = Certificates(configuration: configuration)
        func tls(_ host: String, port: Int? = nil) throws -> TLSConfiguration {
            try certificates.configuration(for: Origin(scheme: .https, host: host, port: port))
        }

        let found = try tls("r.example")
        #expect(found.additionalTrustRoots.count == 1)
        #expect(found.certificateChain.count == 1)
        #expect(found.privateKey != nil)
        #expect(found.certificateVerification == .fullVerification)
        #expect(found.trustRoots == .file("/site.pem"))
        #expect(try tls("spelled.example").additionalTrustRoots.count == 1)
        #expect(try tls("r.example", port: 5000).additionalTrustRoots.isEmpty)
        #expect(try tls("open.example", port: 5000).certificateVerification == .none)
        #expect(try tls("open.example").certificateVerification == .fullVerification)
        #expect(try tls("localhost", port: 5000).certificateVerification == .none)
        #expect(throws: CertificateFileError(file: "\(base)/broken.example/ca.crt")) { try tls("broken.example") }
    }

    // Created for this test and not trusted: openssl req -x509 -newkey ec -subj /CN=berth-test.
    static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBgTCCASegAwIBAgIUHRRq8WZdEyFelXhedd6Mw952d7owCgYIKoZIzj0EAwIw
        FTETMBEGA1UEAwwKYmVydGgtdGVzdDAgFw0yNjExMjEwMzIxNThaGA8yMTI2MTAy
        ODAzMjE1OFowFTETMBEGA1UEAwwKYmVydGgtdGVzdDBZMBMGByqGSM49AgEGCCqG
        SM49AwEHA0IABMr5E+GuhqN3ss8Y4cqfWNR9zmfhKFT46SFxeX1IQqA+2fKhFrHL
        XjmqHNkmRMMWjnWAGnRrcn61n57P5DxqLLWjUzBRMB0GA1UdDgQWBBQImLJquer9
        TjPLgoOogntY4qDMnTAfBgNVHSMEGDAWgBQImLJquer9TjPLgoOogntY4qDMnTAP
        BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIAmwmnZVaF70NWhuxI64
        s6NPXXjb1dCvSdbE2uNK5RGGAiEAnZq0Yfukythy3U4oEiGfievDxZnhGLKeToaw
        TiaQFw4=
        -----END CERTIFICATE-----
        """

    static let key = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgST2PS6UKn4bm9ZQk
        QVchDhVRokMHQbecEo8E363O8lihRANCAATK+RPhroajd7LPGOHKn1jUfc5n4ShU
        +OkhcXl9SEKgPtnyoRaxy145qhzZJkTDFo51gBp0a3J+tZ+ez+Q8aiy1
        -----END PRIVATE KEY-----
        """
}
