"""A registry's token service, over TLS: token-service.py HOST PORT CERTIFICATE KEY

Signs what docker-registry verifies (https://distribution.github.io/distribution/spec/auth/jwt/). Anybody may pull below
public/; me:secret may do anything.
"""
import base64, http.server, json, ssl, subprocess, sys, time, urllib.parse

host, port, certificate, key = sys.argv[1:]


def run(*words, input=None):
    return subprocess.run(words, input=input, stdout=subprocess.PIPE, check=True).stdout


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def fixed(der):
    """ECDSA's two numbers at their full length, as JWT wants them; openssl packs them in DER."""
    numbers, at = b"", 2
    for _ in range(2):
        size = der[at + 1]
        numbers += int.from_bytes(der[at + 2:at + 2 + size], "big").to_bytes(32, "big")
        at += 2 + size
    return numbers


chain = [base64.b64encode(run("openssl", "x509", "-in", certificate, "-outform", "DER")).decode()]


def token(user, service, scopes):
    access = []
    for scope in scopes:
        kind, name, actions = scope.split(":", 2)
        granted = [a for a in actions.split(",") if user or (a == "pull" and name.startswith("public/"))]
        access += [{"type": kind, "name": name, "actions": granted}] if granted else []
    now = int(time.time())
    claims = {"iss": "lab", "sub": user, "aud": service, "exp": now + 300, "nbf": now - 60, "iat": now,
              "jti": str(time.time_ns()), "access": access}
    head = {"typ": "JWT", "alg": "ES256", "x5c": chain}
    signed = ".".join(text(json.dumps(part).encode()) for part in (head, claims))
    signature = run("openssl", "dgst", "-sha256", "-sign", key, input=signed.encode())
    return signed + "." + text(fixed(signature))


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        secret = self.headers.get("Authorization", "").removeprefix("Basic ")
        login = base64.b64decode(secret).decode()
        status, answer = 200, {}
        if login in ("", "me:secret"):
            answer = {"token": token(login and "me", query["service"][0], query.get("scope", [])), "expires_in": 300}
        else:
            status = 401
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer((host, int(port)), Service)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
