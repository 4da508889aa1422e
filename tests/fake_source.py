"""A programmable HTTP server in the place of the outside world: real sockets, invented answers."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.http_server import http_server

Query = dict[str, str]


@dataclass
class Answer:
    """body: bytes as they are, or something to be sent as JSON. declared_length: a Content-Length that may lie."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"
    declared_length: int | None = None
    wait_seconds: float = 0
    drip_seconds: float = 0

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Responder = Callable[[str, Query], Answer]


class FakeSource:
    """``respond`` decides what a path and query are answered with; ``requests`` holds what was asked."""

    def __init__(self) -> None:
        self.respond: Responder = lambda path, query: Answer({"message": "nothing is programmed"}, status=404)
        self.requests: list[tuple[str, Query]] = []
        self._closing = threading.Event()
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = dict(parse_qsl(parts.query))
                source.requests.append((parts.path, query))
                source._send(self, source.respond(parts.path, query))

            def log_message(self, *_: object) -> None:
                pass

        self._server = http_server(Handler)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

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
        content = answer.content()
        length = len(content) if answer.declared_length is None else answer.declared_length
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Type": answer.content_type, **answer.headers}.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(length))
            handler.end_headers()
            if not answer.drip_seconds:
                handler.wfile.write(content)
            else:
                for byte in content:
                    handler.wfile.write(bytes([byte]))
                    handler.wfile.flush()
                    if self._closing.wait(answer.drip_seconds):
                        break
            if length != len(content):
                handler.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True


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
