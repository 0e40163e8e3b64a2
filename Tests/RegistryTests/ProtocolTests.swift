@testable import Distribution
import Testing

/// Parsing of texts from the network.
@Suite struct ProtocolTests {
    static let challenges: [([String], [AuthenticationChallenge])] = [
        ([], []),
        (["Basic"], [.init(scheme: "basic")]),
        ([#"Basic realm="a b""#], [.init(scheme: "basic", parameters: ["realm": "a b"])]),
        (
            [#"Bearer realm="https://auth.example/t",service="s",scope="repository:a:pull,push repository:b:pull""#],
            [
                .init(
                    scheme: "bearer",
                    parameters: [
                        "realm": "https://auth.example/t", "service": "s",
                        "scope": "repository:a:pull,push repository:b:pull",
                    ])
            ]
        ),
        (
            [#"Negotiate, BASIC realm=x, bEaReR Realm = "y" , Service=z"#],
            [
                .init(scheme: "negotiate"), .init(scheme: "basic", parameters: ["realm": "x"]),
                .init(scheme: "bearer", parameters: ["realm": "y", "service": "z"]),
            ]
        ),
        (
            ["Negotiate YIIabc==, Basic realm=\"x\"", #"Bearer realm="q\"uote\\""#],
            [
                .init(scheme: "negotiate"), .init(scheme: "basic", parameters: ["realm": "x"]),
                .init(scheme: "bearer", parameters: ["realm": #"q"uote\"#]),
            ]
        ),
        ([#"Bearer realm="first",realm="second""#], [.init(scheme: "bearer", parameters: ["realm": "first"])]),
        (["Bearer realm=https://r.io/token"], [.init(scheme: "bearer", parameters: ["realm": "https://r.io/token"])]),
        ([#"Bearer realm="open"#], [.init(scheme: "bearer")]),
        ([",, ,"], []),
    ]

    @Test(arguments: challenges.indices) func readsChallenges(index: Int) {
        #expect(AuthenticationChallenge.parse(Self.challenges[index].0) == Self.challenges[index].1)
    }

    /// CVE-2019-10214: a token service without TLS, and those that only the client's network can reach.
    @Test(
        arguments: [
            ("https://r.io/", "https://auth.r.io/token", nil),
            ("https://r.io/", "https://203.0.113.7/token", nil),
            ("https://r.io/", "http://auth.r.io/token", .plaintext),
            ("https://r.io/", "https://127.0.0.1/token", .localAddress),
            ("https://r.io/", "https://localhost/token", .localAddress),
            ("https://r.io/", "https://10.0.0.1/token", .localAddress),
            ("https://r.io/", "https://169.254.169.254/latest/meta-data", .localAddress),
            ("https://r.io/", "https://2852039166/latest/meta-data", .localAddress),
            ("https://r.io/", "https://[fe80::1]/token", .localAddress),
            ("https://r.io/", "https://[::ffff:169.254.169.254]/", .localAddress),
            ("https://r.io/", "https://[fd00::1]/token", .localAddress),
            ("https://r.io/", "https://0.0.0.0/token", .localAddress),
            ("https://10.0.0.1/", "https://10.0.0.1:443/token", nil),
            ("https://10.0.0.1/", "https://10.0.0.1:8443/token", .localAddress),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", nil),
            ("http://127.0.0.1:5000/", "http://169.254.169.254/", .localAddress),
            ("http://r.io/", "http://auth.r.io/", nil),
            ("https://r.io/", "file:///etc/passwd", .notHTTP),
            ("https://r.io/", "https://user@r.io/token", .notHTTP),
            ("https://r.io/", #"https://r.io\@evil.example/"#, .notHTTP),
            ("https://r.io/", "", .notHTTP),
        ] as [(String, String, RegistryError.RealmFault?)])
    func allowsRealms(registry: String, realm: String, fault: RegistryError.RealmFault?) throws {
        let origin = try #require(WebURL(parsing: registry)).origin
        switch Realm.url(realm, askedBy: origin) {
        case .success: #expect(fault == nil)
        case .failure(let refusal): #expect(refusal.fault == fault)
        }
    }

    @Test func originsAreCanonical() throws {
        let implied = try #require(WebURL(parsing: "HTTPS://Example.COM/x"))
        let spelled = try #require(WebURL(parsing: "https://example.com:443/x"))
        #expect(implied == spelled)
        #expect(implied.text == "https://example.com/x")
        #expect(WebURL(parsing: "http://example.com/")?.origin != WebURL(parsing: "https://example.com/")?.origin)
        #expect(WebURL(parsing: "https://a/?q#f")?.target == "/?q")
        for bad in ["https://", "https://a b/", "https://a:99999/", "https://a:b/", "ftp://a/", "https://[::1/", "/x"] {
            #expect(WebURL(parsing: bad) == nil, "\(bad)")
        }
    }

    @Test(
        arguments: [
            ("https://b.example/y?z", "https://b.example/y?z"), ("//b.example/y", "https://b.example/y"),
            ("/y", "https://a.example/y"), ("y?z", "https://a.example/v2/y?z"), ("javascript:x", nil), ("/a\r\nb", nil),
        ] as [(String, String?)])
    func resolvesLocations(location: String, target: String?) throws {
        let base = try #require(WebURL(parsing: "https://a.example/v2/x?q=/1"))
        #expect(base.resolving(location)?.text == target)
    }

    @Test func readsRetryAfter() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT"
        #expect(RetryPolicy.secondsSinceEpoch(date) == 784_111_777)
        #expect(RetryPolicy.retryAfter("120", date: nil) == .seconds(120))
        #expect(RetryPolicy.retryAfter("Sun, 06 Nov 1994 08:50:07 GMT", date: date) == .seconds(30))
        #expect(RetryPolicy.retryAfter(date, date: nil) == .zero)
        #expect(RetryPolicy.retryAfter("-5", date: nil) == nil)
        #expect(RetryPolicy.retryAfter("soon", date: nil) == nil)
        for attempt in 1...40 { #expect(RetryPolicy().delay(before: attempt) <= .seconds(20)) }
    }

    @Test func tokensLiveAtLeastAMinute() throws {
        let now = ContinuousClock.now
        func token(_ text: String) -> BearerToken? { BearerToken(answer: Array(text.utf8), now: now) }
        #expect(try #require(token(#"{"token":"a"}"#)).isFresh(at: now + .seconds(40)))
        #expect(try !#require(token(#"{"token":"a","expires_in":1}"#)).isFresh(at: now + .seconds(60)))
        #expect(try #require(token(#"{"access_token":"a","expires_in":300}"#)).isFresh(at: now + .seconds(280)))
        #expect(try #require(token(#"{"token":"a","expires_in":1e300}"#)).isFresh(at: now + .seconds(3600)))
        for bad in ["", "{}", #"{"token":""}"#, #"{"token":"a\r\nX: y"}"#, "[]"] { #expect(token(bad) == nil) }
        #expect(String(describing: token(#"{"token":"hidden"}"#)).contains("hidden") == false)
    }

    static let proxies: [(String, [String: String], String?)] = [
        ("http://a.example", ["http_proxy": "http://p:3128"], "p:3128"),
        ("https://a.example", ["http_proxy": "http://p:3128"], nil),
        ("https://a.example", ["HTTPS_PROXY": "p:3128"], "p:3128"),
        ("https://a.example", ["all_proxy": "http://u:pw@p"], "p:80"),
        ("http://a.example", ["HTTP_PROXY": "p:1", "REQUEST_METHOD": "GET"], nil),
        ("https://a.example", ["https_proxy": "p:1", "no_proxy": "example"], nil),
        ("https://a.example", ["https_proxy": "p:1", "no_proxy": ".example"], nil),
        ("https://a.example", ["https_proxy": "p:1", "no_proxy": "*.example"], nil),
        ("https://aexample", ["https_proxy": "p:1", "no_proxy": "example"], "p:1"),
        ("https://a.example", ["https_proxy": "p:1", "no_proxy": "a.example:5000"], "p:1"),
        ("https://a.example:5000", ["https_proxy": "p:1", "no_proxy": "x, a.example:5000"], nil),
        ("https://a.example", ["https_proxy": "p:1", "no_proxy": "*"], nil),
        ("https://10.1.2.3", ["https_proxy": "p:1", "no_proxy": "10.0.0.0/8"], nil),
        ("https://11.1.2.3", ["https_proxy": "p:1", "no_proxy": "10.0.0.0/8"], "p:1"),
        ("https://[2001:db8::1]", ["https_proxy": "p:1", "no_proxy": "2001:db8::/32"], nil),
        ("https://127.0.0.1:5000", ["https_proxy": "p:1"], nil),
        ("http://localhost:5000", ["http_proxy": "p:1"], nil),
    ]

    @Test(arguments: proxies.indices) func choosesProxies(index: Int) throws {
        let (url, environment, expected) = Self.proxies[index]
        let origin = try #require(WebURL(parsing: url)).origin
        switch ProxyRules(environment: environment).choice(for: origin) {
        case .through(let proxy): #expect("\(proxy.host):\(proxy.port)" == expected)
        case .direct: #expect(expected == nil)
        case .invalid: Issue.record("invalid")
        }
    }

    @Test func aProxyThatIsNoneIsNamed() throws {
        let origin = try #require(WebURL(parsing: "https://a.example")).origin
        #expect(
            ProxyRules(environment: ["https_proxy": "socks5://p:1"]).choice(for: origin)
                == .invalid(variable: "https_proxy"))
    }
}
