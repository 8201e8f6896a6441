"""Serves one page on loopback: serve.py PORT HTML."""

import http.server
import sys


class Page(http.server.BaseHTTPRequestHandler):
    """Responds to every GET request with the page."""

    def do_GET(self) -> None:
        """Sends the page."""
        body = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
