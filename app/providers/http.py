"""HTTP to the sources: one session a process, every wait bounded, every failure one of ours."""

import json
import os
import re
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

import requests
from opentelemetry.trace import SpanKind
from pydantic_core import from_json
from requests import exceptions
from requests.utils import get_environ_proxies
from urllib3.exceptions import DecodeError, HTTPError, LocationParseError

from app import tracing
from app.errors import ProviderError, ProviderNotFound, ProviderRefused, ProviderUnavailable
from app.metrics import JobMetrics
from app.providers.deadline import DeadlineAdapter, finish
from app.utils.masking import redact

_TRANSIENT = frozenset({408, 425, 429})
_NOT_FOUND = frozenset({404, 410})
_MAX_REDIRECTS = 3
_READ_BYTES = 65_536
# The longest number of seconds worth reading: more is some other number.
_RETRY_AFTER_DIGITS = 9
_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")

Params = dict[str, str | int]


class HttpClient:
    """Reads JSON. Making one connects to nothing; a child process does not share its parent's connections.

    timeout_seconds bounds the whole answer, redirects included, not only the wait for its next byte.
    """

    def __init__(
        self,
        *,
        connect_timeout_seconds: float,
        timeout_seconds: float,
        max_body_bytes: int,
        connections: int,
        metrics: JobMetrics,
    ) -> None:
        self._timeout = (connect_timeout_seconds, timeout_seconds)
        self._max_body_bytes = max_body_bytes
        self._connections = connections
        self._metrics = metrics
        self._session: requests.Session | None = None
        self._pid = 0

    def get_json(self, url: str, params: Params | None = None, *, source: str = "auto") -> Any:
        """The JSON that the URL answers with. source: whose request is counted, ``auto`` while that is to be found out.

        Raises ProviderNotFound, ProviderUnavailable, or ProviderError for all else. None of them carries the error
        that it stands for: those quote what was received, which may be card numbers and passwords.
        """
        began = time.perf_counter()
        outcome = "ok"
        shown = redact(url)
        try:
            with tracing.span(
                "GET", SpanKind.CLIENT, http__request__method="GET", url__full=shown, synergyway__source=source
            ):
                return self._get_json(url, params)
        except ProviderError as error:
            outcome = _outcome(error)
            raise
        finally:
            self._metrics.provider_requests.labels(source, outcome).inc()
            self._metrics.provider_duration.labels(source).observe(time.perf_counter() - began)

    def _get_json(self, url: str, params: Params | None) -> Any:
        where = redact(url)
        deadline = time.monotonic() + self._timeout[1]
        failure: ProviderError
        try:
            response = self._get(url, where, params, deadline)
            try:
                _check_status(response, where)
                return _parse(self._read(response, where, deadline), response.headers.get("Content-Type", ""), where)
            finally:
                finish(response.raw)
                response.close()
        except ProviderError:
            raise
        except (exceptions.InvalidURL, LocationParseError, UnicodeError):
            failure = ProviderError(f"{where} redirects to an address that is none")
        except (exceptions.SSLError, exceptions.InvalidSchema) as error:
            failure = _tls_failure(error, where)
        except DecodeError:
            failure = ProviderError(f"{where} answered with a body that is not packed as it says")
        except exceptions.Timeout:
            failure = ProviderUnavailable(f"{where} did not answer within {self._timeout[1]:g} s")
        except (exceptions.RequestException, HTTPError, OSError) as error:
            late = time.monotonic() > deadline
            reason = f"is out of reach: {_told(_innermost(error))}"
            problem = f"did not answer within {self._timeout[1]:g} s" if late else reason
            failure = ProviderUnavailable(f"{where} {problem}")
        except ValueError:
            failure = ProviderError(f"{where} redirects to an address that is none")
        raise failure

    def _get(self, url: str, where: str, params: Params | None, deadline: float) -> requests.Response:
        """The answer with its body unread, after some redirects, whose bodies are not read at all."""
        session = self._open_session()
        for _ in range(1 + _MAX_REDIRECTS):
            left = max(deadline - time.monotonic(), 0.001)
            response = session.get(
                url,
                params=params,
                timeout=(self._timeout[0], left),
                stream=True,
                allow_redirects=False,
                proxies=_proxies(url),
            )
            if not response.is_redirect:
                return response
            finish(response.raw)
            response.close()
            url, params = urljoin(url, response.headers["Location"]), None
        raise ProviderError(f"{where} redirects more than {_MAX_REDIRECTS} times")

    def _open_session(self) -> requests.Session:
        if self._session is None or self._pid != os.getpid():
            session = requests.Session()
            # What it would read from the environment at every request is read once: see _proxies.
            session.trust_env = False
            session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
            session.headers.update({"Accept": "application/json", "User-Agent": "synergyway"})
            for scheme in ("http://", "https://"):
                session.mount(scheme, DeadlineAdapter(pool_connections=4, pool_maxsize=self._connections))
            self._session, self._pid = session, os.getpid()
        return self._session

    def _read(self, response: requests.Response, where: str, deadline: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        # read1 returns what has come; read would wait for all of it, however slowly it drips.
        while part := response.raw.read1(_READ_BYTES, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > self._max_body_bytes:
                raise ProviderError(f"{where} answered with more than {self._max_body_bytes} bytes")
            if time.monotonic() > deadline:
                break
        # A body without a length looks whole when its connection was closed for being late.
        if time.monotonic() > deadline:
            raise ProviderUnavailable(f"{where} did not finish its answer within {self._timeout[1]:g} s")
        return b"".join(parts)


def _outcome(error: ProviderError) -> str:
    if isinstance(error, ProviderNotFound):
        return "not_found"
    if isinstance(error, ProviderRefused):
        return "refused"
    if isinstance(error, ProviderUnavailable):
        return "throttled" if error.throttled else "unavailable"
    return "unusable"


def _proxies(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return _proxies_of(f"{parts.scheme}://{parts.netloc}")


@cache
def _proxies_of(origin: str) -> dict[str, str]:
    return get_environ_proxies(origin)


def _tls_failure(error: exceptions.RequestException, where: str) -> ProviderError:
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        # Hung up on in the handshake, as by a server that is just being restarted.
        return ProviderUnavailable(f"{where} is out of reach: {_told(cause)}")
    return ProviderError(f"{where} cannot be read: {_told(cause)}")


def _innermost(error: BaseException) -> BaseException:
    """What is at the bottom of a chain of errors."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            return error
        error = inner


def _told(error: BaseException) -> str:
    """What kind of error it is; an operating system's error with its own words."""
    words = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__} ({words})" if isinstance(words, str) else type(error).__name__


def _check_status(response: requests.Response, where: str) -> None:
    status = response.status_code
    tracing.annotate(http__response__status_code=status)
    if status == 200:
        return
    message = f"{where} answered {status} {response.reason or ''}".rstrip()
    if status in _NOT_FOUND:
        raise ProviderNotFound(message)
    if status in _TRANSIENT or status >= 500:
        retry_after = _retry_after_seconds(response.headers.get("Retry-After"))
        raise ProviderUnavailable(message, retry_after=retry_after, throttled=status == 429)
    raise ProviderRefused(message)


def _retry_after_seconds(header: str | None) -> float | None:
    """Retry-After in seconds from now, given as seconds or as a date (RFC 9110, 10.2.3); None when it is neither."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_RETRY_AFTER_DIGITS])
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def _parse(body: bytes, content_type: str, where: str) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        problem = "it is HTML" if "html" in content_type.lower() else str(error)
    if _HALF_A_PAIR.search(body):
        # JSON's grammar allows half a surrogate pair, and from_json does not: it must not cost the other records.
        with suppress(ValueError, RecursionError):
            return json.loads(body.decode(), parse_constant=_refuse)
    raise ProviderError(f"{where} answered with something that is not JSON: {problem}")


def _refuse(constant: str) -> NoReturn:
    """NaN and infinity, which JSON does not have."""
    raise ValueError(constant)
