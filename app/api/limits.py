"""What one connection may send, and how long it may take: uvicorn's httptools protocol has no limits of its own.

``uvicorn --http app.api.limits:LimitedHttpProtocol``; the image sets UVICORN_HTTP. What is over a limit is answered in
the form of the API's other errors, without asking the application, and the connection is closed.
"""

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.headers import DEFAULT_HEADERS
from app.api.refusals import count_refusal
from app.utils.log_filters import OnceAMinute

LONGEST_TARGET_BYTES = 8_192
MOST_HEADERS = 100
# Names and values of the headers together; also whatever else of a request is not its body.
LONGEST_HEAD_BYTES = 32_768
# From the first byte of a request, or from the connection's start, to its last. While more connections are open than
# are served, nobody may keep one that others need.
REQUEST_SECONDS = 20
CROWD_SECONDS = 2
# For a client to take what it has asked for, and to read why it was refused while it still sends.
TAKE_SECONDS = 20
LINGER_SECONDS = 5

# Kubernetes restarts a process that does not say that it lives, and a crowd is no reason for that.
_ALWAYS_ANSWERED = b"/healthz"

_logger = logging.getLogger(__name__)
# Each of a crowd is refused for the same reason.
_crowd_logger = logging.getLogger(f"{__name__}.crowd")
_crowd_logger.addFilter(OnceAMinute())
# What uvicorn says of everything that ends the parser; the line of ours that follows says what it was.
logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg != "Invalid HTTP request received.")


class LimitedHttpProtocol(HttpToolsProtocol):
    """Answers 431, 414, 408 and 503 where uvicorn would go on reading.

    ``--limit-concurrency`` is how many connections are served; as many again are told to come later, and may only
    stay for a moment; the next are cut off.
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
        self._ending: asyncio.TimerHandle | None = None
        self._refusal: tuple[int, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if self._most_connections is not None and len(self.connections) > 2 * self._most_connections:
            count_refusal(None)
            transport.abort()
            return
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self.resume_writing()
        if self._ending is not None:
            self._ending.cancel()
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
        elif (not self._has_begun or self._received > LONGEST_HEAD_BYTES) and self._head_bytes() > LONGEST_HEAD_BYTES:
            self._refusal = _HEAD_TOO_LONG
        is_crowded = self._is_crowded()
        if is_crowded and self._refusal is None and self.url != _ALWAYS_ANSWERED:
            self._refusal = _TOO_MANY
        if self._refusal is not None:
            raise _Refused  # ends the parser, and leads to send_400_response
        super().on_headers_complete()
        if is_crowded:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._overhead -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_receiving = False
        self._stop_deadline()
        super().on_message_complete()

    # uvicorn and the transport call these.

    def on_response_complete(self) -> None:
        was_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            self._end_within(TAKE_SECONDS)
        elif was_last and self._refusal is not None:
            self._answer_refusal(*self._refusal)

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self._refusal or (400, "This is not HTTP that can be understood.")))

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._end_within(LINGER_SECONDS)

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

    def _is_crowded(self) -> bool:
        return self._most_connections is not None and len(self.connections) > self._most_connections

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)

    def _start_deadline(self) -> None:
        seconds, refusal = (CROWD_SECONDS, _TOO_MANY) if self._is_crowded() else (REQUEST_SECONDS, _TOO_SLOW)
        self._deadline = self.loop.call_later(seconds, self._end_waiting, refusal)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_waiting(self, refusal: tuple[int, str]) -> None:
        self._deadline = None
        if self._is_receiving:
            self._refuse(*refusal)
        else:
            self.transport.close()
            self._end_within(TAKE_SECONDS)

    def _end_within(self, seconds: int) -> None:
        """Ends the connection even if the client takes nothing of what it is sent: a close alone waits for that."""
        if self._ending is not None:
            self._ending.cancel()
        self._ending = self.loop.call_later(seconds, self.transport.abort)

    def _refuse(self, status: int, sentence: str) -> None:
        """Takes in no more, and says why once the whole requests before this one are answered."""
        self._refusal = status, sentence
        count_refusal(status)
        logger = _crowd_logger if status == HTTPStatus.SERVICE_UNAVAILABLE else _logger
        logger.warning("refused a request from %s: %s", self.client and self.client[0], sentence)
        self._stop_deadline()
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer_refusal(status, sentence)
        elif self.pipeline and cycle.more_body:
            # Its body is what is refused, and nobody has looked at it.
            self.pipeline.popleft()
            self._end_within(REQUEST_SECONDS)
        elif cycle.more_body and not cycle.response_started:
            # The application waits for the rest of a body that is refused. What it would answer is not sent.
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer_refusal(status, sentence)
        else:
            self._end_within(REQUEST_SECONDS)

    def _answer_refusal(self, status: int, sentence: str) -> None:
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        body = json.dumps({"detail": sentence}, separators=(",", ":")).encode()
        is_crowd = status == HTTPStatus.SERVICE_UNAVAILABLE
        head = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *DEFAULT_HEADERS.items(),
            *([(b"retry-after", b"5")] if is_crowd else []),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in head)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            # A close while the client sends would throw away what it has not read yet.
            self.transport.write_eof()
        else:
            self.transport.close()
        self._end_within(CROWD_SECONDS if is_crowd else LINGER_SECONDS)


class _Refused(Exception):
    """Leaves the parser."""


_TARGET_TOO_LONG = 414, f"The address is longer than {LONGEST_TARGET_BYTES:,} bytes."
_HEAD_TOO_LONG = 431, f"The headers are longer than {LONGEST_HEAD_BYTES:,} bytes together."
_TOO_SLOW = 408, f"The request did not arrive within {REQUEST_SECONDS} seconds."
_TOO_MANY = 503, "Too many connections are open. Try again in a moment."
