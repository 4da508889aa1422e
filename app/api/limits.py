"""What one connection may send, and how long it may take: uvicorn's httptools protocol has no limits of its own.

``uvicorn --http app.api.limits:LimitedHttpProtocol``; the image sets UVICORN_HTTP. What is over a limit is answered in
the form of the API's other errors, without asking the application, and the connection is closed.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.headers import DEFAULT_HEADERS

LONGEST_TARGET_BYTES = 8_192
MOST_HEADERS = 100
# Names and values of the headers together; also whatever else of a request is not its body.
LONGEST_HEAD_BYTES = 32_768
# From the first byte of a request, or from the connection's start, to its last.
REQUEST_SECONDS = 20
# For a client to take what it has asked for, and to read why it was refused while it still sends.
TAKE_SECONDS = 20
LINGER_SECONDS = 5

# Kubernetes restarts a process that does not say that it lives, and a crowd is no reason for that.
_ALWAYS_ANSWERED = b"/healthz"


class LimitedHttpProtocol(HttpToolsProtocol):
    """Answers 431, 414, 408 and 503 where uvicorn would go on reading.

    ``--limit-concurrency`` is how many connections are served; as many again are told to come later, and the next are
    cut off.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most_connections = self.limit_concurrency
        self.limit_concurrency = None  # uvicorn's own answer is not in the form of ours
        self._is_receiving = False
        self._has_begun = False
        self._received = 0
        self._overhead = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._refusal: tuple[int, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if self._most_connections is not None and len(self.connections) > 2 * self._most_connections:
            transport.abort()
            return
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._received = len(data)
        self._has_begun = False
        super().data_received(data)
        if self._refusal is not None:
            return
        if self._is_receiving:
            # Where in the data a request begins is not known, so that its first part is not counted here.
            self._overhead = 0 if self._has_begun else self._overhead + len(data)
            if self._overhead > LONGEST_HEAD_BYTES:
                self._refuse(*(_TARGET_TOO_LONG if len(self.url) > LONGEST_TARGET_BYTES else _HEAD_TOO_LONG))
                return
        elif self.cycle is not None and not self.cycle.response_complete:
            return  # the usual: a whole request came at once, and is being answered
        if self._deadline is None:
            self._start_deadline()

    # The parser calls these.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_receiving = self._has_begun = True
        self._overhead = 0

    def on_headers_complete(self) -> None:
        if len(self.url) > LONGEST_TARGET_BYTES:
            self._refusal = _TARGET_TOO_LONG
        elif len(self.headers) > MOST_HEADERS:
            self._refusal = 431, f"The request has more than {MOST_HEADERS} headers."
        elif self._overhead + self._received > LONGEST_HEAD_BYTES and self._head_bytes() > LONGEST_HEAD_BYTES:
            self._refusal = _HEAD_TOO_LONG
        elif (
            self._most_connections is not None
            and len(self.connections) > self._most_connections
            and self.url != _ALWAYS_ANSWERED
        ):
            self._refusal = 503, "Too many connections are open. Try again in a moment."
        if self._refusal is not None:
            raise _Refused  # ends the parser, and leads to send_400_response
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_receiving = False
        self._stop_deadline()
        super().on_message_complete()

    # uvicorn and the transport call these.

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self._refusal or (400, "This is not HTTP that can be understood.")))

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._taking is None:
            self._taking = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    # Our own.

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._end_waiting)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_waiting(self) -> None:
        self._deadline = None
        if self._is_receiving:
            self._refuse(408, f"The request did not arrive within {REQUEST_SECONDS} seconds.")
        else:
            self.transport.close()

    def _refuse(self, status: int, sentence: str) -> None:
        """Answers, unless an earlier answer is on its way, and takes in no more."""
        self._refusal = status, sentence
        self.logger.warning("refused a request from %s: %s", self.client and self.client[0], sentence)
        self._stop_deadline()
        self._unset_keepalive_if_required()
        if self.cycle is None or self.cycle.response_complete:
            body = json.dumps({"detail": sentence}, separators=(",", ":")).encode()
            head = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *DEFAULT_HEADERS.items(),
                *([(b"retry-after", b"5")] if status == 503 else []),
            ]
            lines = b"".join(b"%s: %s\r\n" % header for header in head)
            self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
            if self.transport.can_write_eof():
                # A close while the client sends would throw away what it has not read yet.
                self.transport.write_eof()
                self.loop.call_later(LINGER_SECONDS, self.transport.abort)
                return
        self.transport.close()


class _Refused(Exception):
    """Leaves the parser."""


_TARGET_TOO_LONG = 414, f"The address is longer than {LONGEST_TARGET_BYTES:,} bytes."
_HEAD_TOO_LONG = 431, f"The headers are longer than {LONGEST_HEAD_BYTES:,} bytes together."
