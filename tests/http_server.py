"""The outside world's HTTP servers, in threads of the test's own process."""

import ssl
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._tls = tls

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection, so that a handshake that hangs keeps nobody else waiting."""
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        with suppress(OSError), self._tls.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that hang up are what tests are about.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def http_server(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    """A server that listens on a port of its own until it is shut down. tls: what it identifies itself with."""
    server = _Server(handler, tls)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
