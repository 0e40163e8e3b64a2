// The network modules take minutes to build, so they are included only with BERTH_FUZZ=all.
#if BERTH_FUZZ_ALL
@testable import Distribution
import Foundation
import Hashing
import ImagePull
import ImageSpec
import Layers
import TestSupport

/// `manifest.json` of a `docker save` archive: yields an image or an error. The image's layers must be those of its
/// configuration.
func readDockerArchive(_ bytes: [UInt8]) {
    let layer = archive([.file("f", "x")])
    let config =
        #"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["\#(Digest(hashing: layer, with: .sha256))"]}}"#
    var writer = TarWriter()
    for (name, content) in [("manifest.json", bytes), ("c.json", Array(config.utf8)), ("l.tar", layer)] {
        writer.add(.init(name: Array(name.utf8), size: Int64(content.count)), content)
    }
    writer.end()
    let path = placePath + "/archive.tar"
    guard FileManager.default.createFile(atPath: path, contents: Data(writer.bytes)) else {
        fatalError("cannot write \(path)")
    }
    let done = DispatchSemaphore(value: 0)
    Task.detached {
        defer { done.signal() }
        do throws(PullError) {
            let origin = try DockerArchiveOrigin(path, tag: nil)
            _ = try await origin.resolve(for: Platform(os: "linux", architecture: "amd64"))
        } catch {}  // rejected: fine
    }
    done.wait()
}

/// Parses a registry's challenges and the redirects in it.
func readChallenges(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    let registry = WebURL(parsing: "https://r.io/")
    for challenge in AuthenticationChallenge.parse(text.split(separator: "\n").map(String.init)) {
        let parameters = challenge.parameters.sorted { $0.key < $1.key }.map { name, value -> String in
            // Compare bytes, because a quote followed by a combining mark is another character.
            let escaped = value.utf8.flatMap { [UInt8(ascii: "\\"), UInt8(ascii: "\"")].contains($0) ? [UInt8(ascii: "\\"), $0] : [$0] }
            return name + "=\"" + String(decoding: escaped, as: UTF8.self) + "\""
        }
        let line = challenge.scheme + " " + parameters.joined(separator: ", ")
        precondition(AuthenticationChallenge.parse([line]) == [challenge], "\(challenge) is not what \(line) says")
        guard let registry, let realm = challenge.parameters["realm"] else { continue }
        if case .success(let url) = Realm.url(realm, askedBy: registry.origin) {
            precondition(url.origin.scheme == .https, "\(realm): a token service without TLS")
        }
    }
    if let url = WebURL(parsing: text) {
        precondition(WebURL(parsing: url.text) == url, "\(text) is not \(url.text)")
    }
    if let url = registry?.resolving(text) {
        precondition(WebURL(parsing: url.text) == url, "\(text) is not \(url.text)")
    }
}
#else
func readDockerArchive(_ bytes: [UInt8]) { fatalError("built without what reads archives: BERTH_FUZZ=all") }

func readChallenges(_ bytes: [UInt8]) { fatalError("built without what reads challenges: BERTH_FUZZ=all") }
#endif
