import Foundation
import TestSupport

/// The declarations of Package.swift, as SwiftPM parses them.
struct Manifest: Decodable {
    let targets: [Target]
    let dependencies: [Dependency]

    struct Target: Decodable {
        let name: String
        let type: String
        /// The packages that provide a system library.
        let providers: [Provider]?
        let dependencies: [Reference]

        /// The modules that the target declares: other targets and products of packages.
        var modules: Set<String> { Set(dependencies.compactMap { ($0.byName ?? $0.product)?.first ?? nil }) }
    }

    struct Reference: Decodable {
        let byName: [String?]?
        let product: [String?]?

        private enum CodingKeys: String, CodingKey { case byName, product }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            // The name, then the package, aliases and conditions, which are objects.
            byName = try container.decodeIfPresent([OptionalString].self, forKey: .byName)?.map(\.value)
            product = try container.decodeIfPresent([OptionalString].self, forKey: .product)?.map(\.value)
        }
    }

    private struct OptionalString: Decodable {
        let value: String?

        init(from decoder: any Decoder) throws {
            value = try? decoder.singleValueContainer().decode(String.self)  // null or an object: ignored
        }
    }

    struct Provider: Decodable { let apt: [[String]]? }

    struct Dependency: Decodable {
        let sourceControl: [Package]
        struct Package: Decodable { let identity: String }
    }

    /// All targets, even if this test was built without external packages.
    static let shared = Result<Manifest, any Error> {
        let environment = ProcessInfo.processInfo.environment.filter { ["PATH", "HOME"].contains($0.key) }
        let scratch = try TemporaryDirectory()
        let dump = try Command(
            [
                "swift", "package", "--package-path", packageRoot(), "--scratch-path", scratch.path, "dump-package",
            ], environment: environment
        ).run()
        guard dump.status == 0 else { throw TestSupportError("swift package dump-package: \(dump)") }
        return try JSONDecoder().decode(Manifest.self, from: Data(dump.output.utf8))
    }

    /// The Debian packages of the system libraries.
    var debianPackages: [String] {
        // toml++ has headers only, so no target stands for it.
        targets.flatMap { $0.providers ?? [] }.flatMap { $0.apt ?? [] }.flatMap { $0 } + ["libtomlplusplus-dev"]
    }

    /// The targets of the product.
    var sources: [Target] { targets.filter { $0.type != "test" && $0.name != "TestSupport" } }

    /// A target and its transitive dependencies.
    func closure(of name: String) -> Set<String> {
        var found: Set<String> = []
        var waiting = [name]
        while let next = waiting.popLast() {
            guard found.insert(next).inserted, let target = targets.first(where: { $0.name == next }) else { continue }
            waiting += target.modules
        }
        return found
    }
}
