"""How many requests a second a server answers: a few kept-alive connections, each with one request on its way.

A client of our own, since a general one takes as much of a core as the server that it measures.
"""

import asyncio
import time
from urllib.parse import urlsplit

import uvloop

_CONNECTIONS = 8


class _Client(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete. Answers have a Content-Length."""

    def __init__(self, request: bytes, deadline: float) -> None:
        self.answers = 0
        self.ended = asyncio.get_running_loop().create_future()
        self._request, self._deadline = request, deadline
        self._buffer = b""
        self._wanted = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._wanted:
            head, separator, _ = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.ended.set_exception(RuntimeError(head.decode()))
                return
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self._wanted = len(head) + len(separator) + int(length.split(b":")[1])
        if len(self._buffer) < self._wanted:
            return
        self._buffer, self._wanted = b"", 0
        self.answers += 1
        if time.monotonic() < self._deadline:
            self._transport.write(self._request)
        else:
            self._transport.close()
            self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("the server closed the connection"))


def requests_a_second(url: str, path: str, seconds: float) -> float:
    """Raises RuntimeError with the answer's head when one is not 200."""
    return uvloop.run(_load(url, path, seconds))


async def _load(url: str, path: str, seconds: float) -> float:
    parts = urlsplit(url)
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    start = time.monotonic()
    clients = []
    for _ in range(_CONNECTIONS):
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: _Client(request, start + seconds), parts.hostname, parts.port
        )
        clients.append(client)
    await asyncio.gather(*(client.ended for client in clients))
    return sum(client.answers for client in clients) / (time.monotonic() - start)
