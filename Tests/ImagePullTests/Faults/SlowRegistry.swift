import Foundation
import TestSupport

/// A registry on loopback that serves a scene's images as `ADDRESS/TAG:1` so slowly that a test can interrupt a pull.
/// It logs requests in `requests`.
struct SlowRegistry {
    let address: String
    private let running: Running
    private let log: String

    /// - Parameter bytesPerSecond: The rate of each connection.
    init(_ scene: Scene, bytesPerSecond: Int) throws {
        log = scene.place.path + "/requests"
        let program = try scene.place.write(Self.program, to: "registry.py")
        running = try Command(
            ["python3", program, scene.layout, "\(bytesPerSecond)", log], secondsAllowed: 3600
        ).start()
        try running.until("a port") { $0.printed.hasSuffix("\n") }
        address = "127.0.0.1:" + running.printed.filter(\.isNumber)
    }

    func stop() {
        running.signal(SIGKILL)
        _ = try? running.wait()  // ended, whatever it says
    }

    /// `GET /v2/…` and similar, with the requested range, if any.
    var requests: [String] {
        let text = FileManager.default.contents(atPath: log).map { String(decoding: $0, as: UTF8.self) } ?? ""
        return text.split(separator: "\n").map(String.init)
    }

    func reference(_ tag: String) -> String { "\(address)/\(tag):1" }
    var environment: [String: String] { ["BERTH_INSECURE_REGISTRIES": address] }

    private static let program = """
        import http.server, json, os, sys, time
        layout, rate, log = sys.argv[1], int(sys.argv[2]), open(sys.argv[3], "a", buffering=1)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def log_message(self, *words): pass
            def do_HEAD(self): self.answer(False)
            def do_GET(self): self.answer(True)
            def answer(self, has_body):
                range_ = self.headers.get("Range", "")
                log.write(f"{self.command} {self.path} {range_}\\n")
                words = self.path.strip("/").split("/")
                if len(words) < 4: return self.send(200, b"{}", "application/json", has_body)
                tag, kind, name = words[1], words[2], words[3]
                try:
                    if kind == "manifests" and not name.startswith("sha256:"):
                        index = json.load(open(f"{layout}/{tag}/index.json"))
                        name = index["manifests"][0]["digest"]
                    body = open(f"{layout}/{tag}/blobs/sha256/{name.split(':')[1]}", "rb").read()
                except OSError:
                    return self.send(404, b"{}", "application/json", has_body)
                type_ = "application/octet-stream"
                if kind == "manifests": type_ = json.loads(body).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
                status, more = 200, {"Docker-Content-Digest": name}
                if range_.startswith("bytes="):
                    first = int(range_[6:].split("-")[0])
                    more["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
                    status, body = 206, body[first:]
                self.send(status, body, type_, has_body, more)
            def send(self, status, body, type_, has_body, more={}):
                self.send_response(status)
                for name, value in {"Content-Type": type_, "Content-Length": str(len(body)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                if not has_body: return
                try:
                    for start in range(0, len(body), 65536):
                        part = body[start:start + 65536]
                        self.wfile.write(part)
                        time.sleep(len(part) / rate)
                except OSError:
                    self.close_connection = True

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        print(server.server_address[1], flush=True)
        server.serve_forever()
        """
}
