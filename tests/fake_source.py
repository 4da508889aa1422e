"""A programmable HTTP server in the place of the outside world: real sockets, invented answers."""

import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.http_server import http_server

Query = dict[str, str]

# So that the reader has got what was sent before.
_RESET_SECONDS = 0.05


@dataclass
class Answer:
    """body: bytes as they are, an iterator of bytes, or something to be sent as JSON.

    declared_length: a Content-Length that may lie; an iterator's body has none and ends with the connection, unless
    this says so. reset: the connection is torn down (RST) behind the body.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"
    declared_length: int | None = None
    wait_seconds: float = 0
    drip_seconds: float = 0
    reset: bool = False

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Responder = Callable[[str, Query], Answer]


class FakeSource:
    """``respond`` decides what a path and query are answered with; ``requests`` holds what was asked.

    when_asked, when_answered: called before and after an answer is sent, with the port of whoever asked.
    tls: what it identifies itself with, at an https address.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.respond: Responder = lambda path, query: Answer({"message": "nothing is programmed"}, status=404)
        self.requests: list[tuple[str, Query]] = []
        self.headers: list[Mapping[str, str]] = []
        self.when_asked: Callable[[int], None] = lambda port: None
        self.when_answered: Callable[[int], None] = lambda port: None
        self._closing = threading.Event()
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = dict(parse_qsl(parts.query))
                source.requests.append((parts.path, query))
                source.headers.append(dict(self.headers))
                source.when_asked(self.client_address[1])
                source._send(self, source.respond(parts.path, query))
                source.when_answered(self.client_address[1])

            def log_message(self, *_: object) -> None:
                pass

        self._tls = tls
        self._server = http_server(Handler, tls)

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.base_url}/users"

    def answer(self, body: Any, **details: Any) -> None:
        """The same answer to whatever is asked."""
        self.respond = lambda path, query: Answer(body, **details)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        self._closing.wait(answer.wait_seconds)
        content = answer.body if isinstance(answer.body, Iterator) else answer.content()
        whole = len(content) if isinstance(content, bytes) else None
        length = whole if answer.declared_length is None else answer.declared_length
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Type": answer.content_type, **answer.headers}.items():
                handler.send_header(name, value)
            if length is not None:
                handler.send_header("Content-Length", str(length))
            handler.end_headers()
            self._send_body(handler, content, answer.drip_seconds)
            if whole is None or length != whole:
                handler.close_connection = True
            if answer.reset:
                self._closing.wait(_RESET_SECONDS)
                handler.close_connection = True
                _reset(handler.connection)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            handler.close_connection = True

    def _send_body(
        self, handler: BaseHTTPRequestHandler, content: bytes | Iterator[bytes], drip_seconds: float
    ) -> None:
        if isinstance(content, bytes) and not drip_seconds:
            handler.wfile.write(content)
            return
        for piece in content:
            handler.wfile.write(bytes([piece]) if isinstance(piece, int) else piece)
            handler.wfile.flush()
            if self._closing.wait(drip_seconds):
                break


def _reset(connection: socket.socket) -> None:
    """Closes a connection as a machine does that knows nothing of it: no FIN, but RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


class DummyJsonLike:
    """A responder with users like DummyJSON's, whose records and answers tests may spoil.

    users: by id. spoiled: what ``/users/{id}`` answers instead. Pages hold the users in the order of their ids.
    """

    def __init__(self, users: Mapping[int, Mapping[str, Any]]) -> None:
        self.users = {number: dict(user) for number, user in users.items()}
        self.spoiled: dict[int, Answer] = {}

    def __call__(self, path: str, query: Query) -> Answer:
        last = path.rsplit("/", 1)[1]
        if last.isdigit():
            return self._one(int(last))
        limit, skip = int(query.get("limit", 30)), int(query.get("skip", 0))
        numbers = sorted(self.users)[skip:][: limit or None]
        if any(number in self.spoiled for number in numbers) and limit > 1:
            return Answer(b"the page cannot be made", status=500, content_type="text/plain")
        page = [self.users[number] for number in numbers]
        return Answer({"users": page, "total": len(self.users), "skip": skip, "limit": len(page)})

    def _one(self, number: int) -> Answer:
        if number in self.spoiled:
            return self.spoiled[number]
        if number not in self.users:
            return Answer({"message": f"User with id '{number}' not found"}, status=404)
        return Answer(self.users[number])
