import AsyncHTTPClient
@testable import Distribution
import Foundation
import Hashing
import ImageSpec
import NIOCore
import NIOHTTP1
import Testing

/// Debian's `docker-registry` on a free loopback port with a separate directory.
final class DockerRegistry: @unchecked Sendable {  // only one test uses the process
    static let program = "/usr/bin/docker-registry"

    static var isInstalled: Bool {
        let found = FileManager.default.isExecutableFile(atPath: program)
        if !found {
            FileHandle.standardError.write(Data("SKIPPED: no \(program); apt-get install docker-registry\n".utf8))
        }
        return found
    }

    let directory: String
    let port: Int
    private let process = Process()
    private let user: (name: String, password: String)?

    var authority: String { "127.0.0.1:\(port)" }

    /// - Parameter user: Requires Basic authentication as this user. The registry needs a bcrypt hash.
    init(user: (name: String, password: String, bcrypt: String)? = nil) async throws {
        directory = NSTemporaryDirectory() + "berth-registry-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        // Find a free port first, because the registry cannot report one that it has chosen.
        let probe = try await FaultyServer { _ in .status(.ok) }
        port = probe.port
        await probe.stop()
        self.user = user.map { ($0.name, $0.password) }
        var auth = ""
        if let user {
            try Data("\(user.name):\(user.bcrypt)\n".utf8).write(to: URL(fileURLWithPath: "\(directory)/htpasswd"))
            auth = "auth:\n  htpasswd:\n    realm: test\n    path: \(directory)/htpasswd\n"
        }
        let configuration = """
            version: 0.1
            log:
              level: error
              accesslog:
                disabled: true
            storage:
              filesystem:
                rootdirectory: \(directory)
            http:
              addr: 127.0.0.1:\(port)
            \(auth)
            """
        try Data(configuration.utf8).write(to: URL(fileURLWithPath: "\(directory)/config.yml"))
        process.executableURL = URL(fileURLWithPath: Self.program)
        process.arguments = ["serve", "\(directory)/config.yml"]
        process.environment = ["PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        for _ in 0..<1200 {
            if (try? await send(.GET, "/v2/")) != nil { return }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw StartError()
    }

    struct StartError: Error {}
    struct PushError: Error { let status: UInt }

    func stop() {
        process.terminate()
        process.waitUntilExit()
        try? FileManager.default.removeItem(atPath: directory)
    }

    @discardableResult
    private func send(
        _ method: HTTPMethod, _ path: String, type: String = "application/octet-stream", _ body: [UInt8] = []
    ) async throws -> HTTPHeaders {
        var request = HTTPClientRequest(url: path.hasPrefix("http") ? path : "http://\(authority)\(path)")
        request.method = method
        request.headers.add(name: "Content-Type", value: type)
        if let user { request.setBasicAuth(username: user.name, password: user.password) }
        if method != .GET { request.body = .bytes(body) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
        _ = try await response.body.collect(upTo: 1 << 20)
        guard 200..<300 ~= response.status.code else { throw PushError(status: response.status.code) }
        return response.headers
    }

    func push(_ image: SampleImage, tag: String = "1.0") async throws {
        let name = "/v2/\(SampleImage.repository)"
        for blob in [image.layer, image.config] {
            let headers = try await send(.POST, "\(name)/blobs/uploads/")
            let location = try #require(headers.first(name: "Location"))
            let digest = Digest(hashing: blob, with: .sha256)
            try await send(.PUT, location + (location.contains("?") ? "&" : "?") + "digest=\(digest)", blob)
        }
        try await send(.PUT, "\(name)/manifests/\(tag)", type: MediaType.ociManifest.rawValue, image.manifest)
    }

    func push(index: [UInt8], tag: String) async throws {
        try await send(
            .PUT, "/v2/\(SampleImage.repository)/manifests/\(tag)", type: MediaType.ociIndex.rawValue, index)
    }
}
