internal import FoundationEssentials

/// A registry's error body.
///
/// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
struct ServerErrors: Sendable {
    private(set) var codes: [String] = []
    /// The server's message, made safe for a terminal; `nil` if there is none.
    private(set) var message: String?

    private struct Body: Decodable {
        struct Entry: Decodable {
            let code: String?
            let message: String?
        }

        let errors: [Entry]?
        /// The format of token services.
        let details: String?
        let error_description: String?
        let message: String?
    }

    init(body: [UInt8]) {
        guard let body = try? JSONDecoder().decode(Body.self, from: Data(body)) else { return }  // not JSON
        codes = body.errors?.compactMap(\.code) ?? []
        let texts =
            (body.errors?.compactMap(\.message) ?? [])
            + [body.details, body.error_description, body.message].compactMap(\.self)
        message = texts.first { !$0.isEmpty }.map { RegistryError.clean($0) }
    }
}
