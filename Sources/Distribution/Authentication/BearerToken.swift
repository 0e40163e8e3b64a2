internal import FoundationEssentials

/// The answer of a token service, and its expiry.
///
/// https://distribution.github.io/distribution/spec/auth/token/
struct BearerToken: Sendable, Equatable {
    let value: String
    let refreshAt: ContinuousClock.Instant

    /// The specification's minimum lifetime, which replaces shorter ones.
    static let minimumLifetime = Duration.seconds(60)

    private struct Answer: Decodable {
        let token: String?
        let access_token: String?
        let expires_in: Double?
    }

    init?(answer: [UInt8], now: ContinuousClock.Instant) {
        guard let answer = try? JSONDecoder().decode(Answer.self, from: Data(answer)),  // invalid: no token
            let value = [answer.token, answer.access_token].compactMap(\.self).first(where: { !$0.isEmpty }),
            // The value must not be able to end the header.
            value.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
        else { return nil }
        let seconds = min(max(answer.expires_in ?? 0, 0), 86400 * 365)
        let lifetime = max(Duration.seconds(seconds), Self.minimumLifetime)
        self.value = value
        // Refresh early, so that a token does not expire during a request. The service's clock is not used.
        refreshAt = now + lifetime - min(.seconds(15), lifetime / 4)
    }

    func isFresh(at now: ContinuousClock.Instant) -> Bool { now < refreshAt }
}

extension BearerToken: CustomStringConvertible, CustomReflectable {
    var description: String { "(token)" }
    var customMirror: Mirror { Mirror(self, children: []) }
}
