internal import FoundationEssentials
internal import NIOSSL

/// The trusted authorities and the client certificate for a host, from the directories of Docker and containers.
///
/// https://docs.docker.com/engine/security/certificates/
struct Certificates: Sendable {
    let configuration: RegistryConfiguration

    func configuration(for origin: Origin) throws(CertificateFileError) -> TLSConfiguration {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.applicationProtocols = ["http/1.1"]
        if let file = configuration.certificateFile { tls.trustRoots = .file(file) }
        if configuration.isInsecure(origin) { tls.certificateVerification = .none }
        for base in configuration.certificateDirectories {
            // The directory's name may include the default port.
            for name in Set([origin.authority, "\(origin.host):\(origin.port)"]).sorted() {
                try add("\(base)/\(name)", to: &tls)
            }
        }
        return tls
    }

    private func add(_ directory: String, to tls: inout TLSConfiguration) throws(CertificateFileError) {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []  // usually absent
        for file in files.sorted() where file.hasSuffix(".crt") {
            tls.additionalTrustRoots.append(.certificates(try certificates("\(directory)/\(file)")))
        }
        guard let certificate = files.sorted().first(where: { $0.hasSuffix(".cert") }) else { return }
        let key = "\(directory)/\(certificate.dropLast(5)).key"
        tls.certificateChain = try certificates("\(directory)/\(certificate)").map { .certificate($0) }
        do {
            tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: key, format: .pem))
        } catch {
            throw CertificateFileError(file: key)
        }
    }

    private func certificates(_ file: String) throws(CertificateFileError) -> [NIOSSLCertificate] {
        do {
            return try NIOSSLCertificate.fromPEMFile(file)
        } catch {
            throw CertificateFileError(file: file)
        }
    }
}

/// A file in certs.d without a certificate or key.
struct CertificateFileError: Error, Equatable {
    let file: String
}
