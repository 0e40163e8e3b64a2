internal import FoundationEssentials
internal import ImageSpec
internal import NIOHTTP1

/// Exchanges credentials, if any, for a bearer token.
///
/// https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/
struct TokenService: Sendable {
    struct Request: Sendable {
        let realm: WebURL
        let reach: Reach
        let service: String
        let scopes: [String]
        let credential: Credential?
    }

    let transport: HTTPTransport
    let retry: RetryPolicy
    let limit: Duration
    static let maximumAnswer: Int64 = 1 << 20
    private static let clientID = "berth"

    func fetch(_ request: Request) async throws(RegistryError) -> BearerToken {
        try await withinLimit(
            limit, host: request.realm.origin.authority, subject: request.scopes.joined(separator: " ")
        ) { note throws(RegistryError) in
            try await fetch(request, note)
        }
    }

    private func fetch(_ request: Request, _ note: FailureNote) async throws(RegistryError) -> BearerToken {
        if case .identityToken(_, let refreshToken)? = request.credential?.secret {
            // A form has one field for all scopes (RFC 6749, section 3.3); a query repeats the parameter.
            let form =
                service(request) + [("scope", request.scopes.joined(separator: " "))] + [
                    ("grant_type", "refresh_token"), ("client_id", Self.clientID), ("refresh_token", refreshToken),
                ]
            var headers = HTTPHeaders()
            headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
            let answer = try await send(
                HTTPTransport.Request(
                    method: .POST, url: request.realm, reach: request.reach, headers: headers,
                    body: Array(Self.encoded(form).utf8)),
                request, note)
            // Services that predate the OAuth form support only GET.
            if ![404, 405].contains(answer.status) { return try token(answer, request) }
        }
        var headers = HTTPHeaders()
        switch request.credential?.secret {
        case .password(let user, let password), .identityToken(let user, let password):
            headers.add(name: "Authorization", value: Self.basic(user: user, password: password))
        case .registryToken, nil: break
        }
        let query = Self.encoded(service(request) + request.scopes.map { ("scope", $0) })
        let separator = request.realm.target.contains("?") ? "&" : "?"
        let url = WebURL(origin: request.realm.origin, target: request.realm.target + separator + query)
        let message = HTTPTransport.Request(method: .GET, url: url, reach: request.reach, headers: headers)
        return try token(try await send(message, request, note), request)
    }

    private struct Answer {
        let status: Int
        let body: [UInt8]
    }

    private func send(
        _ message: HTTPTransport.Request, _ request: Request, _ note: FailureNote
    ) async throws(RegistryError) -> Answer {
        let subject = request.scopes.joined(separator: " ")
        var attempts = Attempts(retry)
        while true {
            var wait: Duration
            do throws(RegistryError) {
                let response = try await transport.send(message, subject: subject)
                let body = try await response.collect(upTo: Self.maximumAnswer)
                // Never follow a redirect, because both the request and its answer contain secrets.
                if 300..<400 ~= response.status {
                    throw failure(.refusedRealm(.redirected, realm: message.url.origin.description), request)
                }
                let asked = response.retryAfter ?? .zero
                guard RetryPolicy.isTransient(response.status), asked <= retry.longestRetryAfter,
                    let pause = attempts.next(after: nil, heard: transport.hasHeard(from: response.host))
                else {
                    if response.status == 429 || RetryPolicy.isTransient(response.status) && asked > .zero {
                        throw failure(.tooManyRequests(retryAfter: response.retryAfter), request)
                    }
                    return Answer(status: response.status, body: body)
                }
                wait = max(pause, asked)
                note.set(failure(.unexpectedStatus(response.status, message: nil), request))
            } catch {
                // The connection broke; try again.
                guard error.mayPass,
                    let pause = attempts.next(after: error, heard: transport.hasHeard(from: error.host))
                else { throw error }
                wait = pause
                note.set(error)
            }
            try await transport.pause(wait, subject: subject)
        }
    }

    private func token(_ answer: Answer, _ request: Request) throws(RegistryError) -> BearerToken {
        let message = ServerErrors(body: answer.body).message
        switch answer.status {
        case 200..<300:
            do throws(DocumentFault) { _ = try DocumentScanner.check(answer.body, as: .any) } catch {
                if case .repeatedKey = error.reason {
                    throw failure(.malformed(.token, detail: RegistryError.clean(error.description)), request)
                }
            }
            guard let token = BearerToken(answer: answer.body, now: .now) else {
                throw failure(.malformed(.token, detail: "no token in the answer"), request)
            }
            return token
        case 400, 401: throw failure(.unauthorized(request.credential?.origin, message: message), request)
        case 403: throw failure(.denied(request.credential?.origin, message: message), request)
        default: throw failure(.unexpectedStatus(answer.status, message: message), request)
        }
    }

    private func failure(_ reason: RegistryError.Reason, _ request: Request) -> RegistryError {
        RegistryError(
            host: request.realm.origin.authority, subject: request.scopes.joined(separator: " "), reason: reason)
    }

    private func service(_ request: Request) -> [(String, String)] {
        request.service.isEmpty ? [] : [("service", request.service)]
    }

    static func basic(user: String, password: String) -> String {
        "Basic \(Data("\(user):\(password)".utf8).base64EncodedString())"
    }

    static func encoded(_ parameters: [(String, String)]) -> String {
        func escaped(_ text: String) -> String {
            var result: [UInt8] = []
            for byte in text.utf8 {
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                    UInt8(ascii: "~"):
                    result.append(byte)
                default:
                    let digits = Array("0123456789ABCDEF".utf8)
                    result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
                }
            }
            return String(decoding: result, as: UTF8.self)
        }
        return parameters.map { "\($0.0)=\(escaped($0.1))" }.joined(separator: "&")
    }
}
