"""The outside world's HTTP servers, in threads of the test's own process."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def http_server(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server that listens on a port of its own until it is shut down."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
