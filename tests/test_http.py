"""The HTTP client against a real server: every wait bounded, every failure one of ours, no body in any of them."""

import gzip
import json
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import isfinite

import pytest
import requests

from app.errors import ProviderError, ProviderNotFound, ProviderRefused, ProviderUnavailable
from app.metrics import JobMetrics
from app.providers.http import HttpClient
from tests.conftest import PAYLOADS
from tests.fake_source import Answer, FakeSource

CARD = "4556737586899855"
WITH_CARD = json.dumps({"bank": {"cardNumber": CARD}}).encode()
TIMEOUT_SECONDS = 0.3
# What a busy machine may take on top before a wait counts as unbounded.
LENIENCE_SECONDS = 1.2
MOST_BYTES = 10_000


@pytest.fixture
def http() -> HttpClient:
    return HttpClient(
        connect_timeout_seconds=TIMEOUT_SECONDS,
        timeout_seconds=TIMEOUT_SECONDS,
        max_body_bytes=MOST_BYTES,
        connections=2,
        metrics=JobMetrics(),
    )


def everything_about(error: BaseException) -> str:
    """All that a log, a report or a debugger could take from an exception and those behind it."""
    told = traceback.format_exception(error)
    behind: list[BaseException | None] = [error]
    seen: set[int] = set()
    while behind:
        link = behind.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        behind += [link.__cause__, link.__context__]
        told += [str(link), repr(link), repr(link.args), repr(vars(link))]
        response = getattr(link, "response", None)
        if response is not None and not response.raw.closed:
            told.append(response.text)
        elif response is not None:
            told.append(str(response._content))
    return "\n".join(told)


def failure(http: HttpClient, url: str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        http.get_json(url)
    return caught.value


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


@pytest.fixture
def raw_server() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Starts servers that do with a connection what HTTP servers never would; gives their addresses."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(behave: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                try:
                    behave(connection)
                except OSError:
                    return

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/users"

    yield start
    for thread in threads:
        thread.join(5)
    for listener in listeners:
        listener.close()


# What is read


def test_the_json_of_an_answer_is_returned(http: HttpClient, source: FakeSource) -> None:
    source.answer({"users": [], "total": 0})

    assert http.get_json(source.url, {"limit": 3, "select": "id,bank"}) == {"users": [], "total": 0}
    assert source.requests == [("/users", {"limit": "3", "select": "id,bank"})]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "text/html; charset=utf-8"])
def test_json_is_read_whatever_it_is_called(http: HttpClient, source: FakeSource, content_type: str) -> None:
    source.answer(b"[1]", content_type=content_type)

    assert http.get_json(source.url) == [1]


def test_text_in_any_script_arrives_unchanged(http: HttpClient, source: FakeSource) -> None:
    content = (PAYLOADS / "names-in-any-script.json").read_bytes()
    source.answer(content)

    assert http.get_json(source.url) == json.loads(content)


def test_half_a_character_does_not_cost_the_rest_of_the_answer(http: HttpClient, source: FakeSource) -> None:
    source.answer(b'{"users": ["Ada", "\\uD83D", "\xc3\xa9\\ud83d\\ude00"]}')

    assert http.get_json(source.url) == {"users": ["Ada", "\ud83d", "é😀"]}


def test_a_packed_body_is_unpacked(http: HttpClient, source: FakeSource) -> None:
    source.answer(gzip.compress(b'{"users": []}'), headers={"Content-Encoding": "gzip"})

    assert http.get_json(source.url) == {"users": []}


def test_a_packed_body_may_come_in_small_pieces(http: HttpClient, source: FakeSource) -> None:
    source.answer(gzip.compress(b'{"users": []}'), headers={"Content-Encoding": "gzip"}, drip_seconds=0.001)

    assert http.get_json(source.url) == {"users": []}


def test_a_client_goes_on_after_a_failure(http: HttpClient, source: FakeSource) -> None:
    source.answer(b"out of order", status=500)
    failure(http, source.url)
    source.answer([1])

    assert http.get_json(source.url) == [1]


# Waits


def test_an_answer_that_does_not_come_in_time_is_unavailable(http: HttpClient, source: FakeSource) -> None:
    source.answer([], wait_seconds=5)

    with at_most(TIMEOUT_SECONDS + LENIENCE_SECONDS):
        error = failure(http, source.url)

    assert isinstance(error, ProviderUnavailable)
    assert not error.throttled


def test_a_body_that_drips_is_given_up_when_the_time_for_the_whole_answer_is_over(
    http: HttpClient, source: FakeSource
) -> None:
    source.answer([0] * 1000, drip_seconds=0.02)

    with at_most(TIMEOUT_SECONDS + LENIENCE_SECONDS):
        error = failure(http, source.url)

    assert isinstance(error, ProviderUnavailable)
    assert "within 0.3 s" in str(error)


def test_a_packed_body_that_drips_and_unpacks_to_nothing_is_given_up_in_time(
    http: HttpClient, source: FakeSource
) -> None:
    empty_block = b"\x00\x00\x00\xff\xff"
    source.answer(gzip.compress(b"")[:10] + empty_block * 25, headers={"Content-Encoding": "gzip"}, drip_seconds=0.02)

    with at_most(TIMEOUT_SECONDS + LENIENCE_SECONDS):
        error = failure(http, source.url)

    assert isinstance(error, ProviderUnavailable)


def test_headers_that_drip_are_given_up_in_time(http: HttpClient, raw_server: Callable[..., str]) -> None:
    def drip(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 60:
            connection.sendall(bytes([byte]))
            time.sleep(0.03)

    url = raw_server(drip)

    with at_most(TIMEOUT_SECONDS + LENIENCE_SECONDS):
        error = failure(http, url)

    assert isinstance(error, ProviderUnavailable)


def test_the_body_of_a_redirect_that_drips_is_given_up_in_time(http: HttpClient, source: FakeSource) -> None:
    source.respond = lambda path, query: (
        Answer(b"x" * 125, status=302, headers={"Location": "/elsewhere"}, drip_seconds=0.02)
        if path == "/users"
        else Answer([])
    )

    with at_most(TIMEOUT_SECONDS + LENIENCE_SECONDS), suppress(ProviderUnavailable):
        http.get_json(source.url)


# Bodies


def test_a_body_of_just_the_size_allowed_is_read(http: HttpClient, source: FakeSource) -> None:
    text = "x" * (MOST_BYTES - 2)
    source.answer(json.dumps(text).encode())

    assert http.get_json(source.url) == text


def test_a_body_larger_than_allowed_is_not_read(http: HttpClient, source: FakeSource) -> None:
    source.answer(json.dumps("x" * (MOST_BYTES - 1)).encode())

    error = failure(http, source.url)

    assert f"more than {MOST_BYTES} bytes" in str(error)
    assert not isinstance(error, ProviderUnavailable)


def test_the_size_allowed_is_that_of_the_unpacked_body(http: HttpClient, source: FakeSource) -> None:
    source.answer(gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"})

    assert f"more than {MOST_BYTES} bytes" in str(failure(http, source.url))


def test_a_body_that_never_ends_is_not_read_to_its_end(http: HttpClient, raw_server: Callable[..., str]) -> None:
    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        while True:
            connection.sendall(b"1," * 4096)

    url = raw_server(pour)

    with at_most(TIMEOUT_SECONDS + LENIENCE_SECONDS):
        assert f"more than {MOST_BYTES} bytes" in str(failure(http, url))


def test_a_connection_lost_in_the_middle_of_a_body_is_unavailable(http: HttpClient, source: FakeSource) -> None:
    source.answer(WITH_CARD, declared_length=len(WITH_CARD) + 100)

    error = failure(http, source.url)

    assert isinstance(error, ProviderUnavailable)
    assert CARD not in everything_about(error)


def test_html_where_json_was_due_is_named(http: HttpClient, source: FakeSource) -> None:
    content = (PAYLOADS / "html-instead-of-json.html").read_bytes()
    source.answer(content, content_type="text/html")

    error = failure(http, source.url)

    assert str(error) == f"{source.url} answered with something that is not JSON: it is HTML"
    assert not isinstance(error, ProviderUnavailable)
    assert "4556-7375-8689-9855" not in everything_about(error)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param((PAYLOADS / "truncated.json").read_bytes(), id="truncated"),
        pytest.param((PAYLOADS / "html-instead-of-json.html").read_bytes(), id="HTML that calls itself JSON"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe\x00" + CARD.encode(), id="not UTF-8"),
        pytest.param(b'{"cardNumber": %s}}' % CARD.encode(), id="something behind it"),
        pytest.param(b'{"cardNumber": "%s\n"}' % CARD.encode(), id="line break in a text"),
        pytest.param(b'{"cardNumber": 0%s}' % CARD.encode(), id="number with a leading zero"),
        pytest.param(b'["%s", NaN]' % CARD.encode(), id="NaN"),
        pytest.param(b'["%s", Infinity]' % CARD.encode(), id="infinity"),
        pytest.param(b'["%s", "\\ud83d", NaN]' % CARD.encode(), id="half a character and NaN"),
        pytest.param(b'["%s", "\\ud83d"' % CARD.encode(), id="half a character, truncated"),
        pytest.param(b'["%s", "\\ud83d", "\xff"]' % CARD.encode(), id="half a character, not UTF-8"),
        pytest.param(b'["%s", "\\ud83d", ' % CARD.encode() + b"[" * 9_000, id="half a character, too deep"),
        pytest.param(b"[" * 2000 + CARD.encode() + b"]" * 2000, id="too deep"),
        pytest.param(b"9" * 5000, id="a number of too many digits"),
    ],
)
def test_what_is_not_json_is_a_permanent_error_without_the_body(
    http: HttpClient, source: FakeSource, content: bytes
) -> None:
    source.answer(content)

    error = failure(http, source.url)

    assert "is not JSON" in str(error)
    assert not isinstance(error, ProviderUnavailable)
    told = everything_about(error)
    assert CARD not in told
    assert "4556-7375-8689-9855" not in told
    assert not content or content[:20].decode("latin-1") not in told


def test_a_body_that_is_not_packed_as_it_says_is_an_error_without_the_body(
    http: HttpClient, source: FakeSource
) -> None:
    source.answer(WITH_CARD, headers={"Content-Encoding": "gzip"})

    error = failure(http, source.url)

    assert str(error) == f"{source.url} answered with a body that is not packed as it says"
    assert not isinstance(error, ProviderUnavailable)
    assert CARD not in everything_about(error)


# Statuses


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_a_source_that_may_answer_later_is_unavailable(http: HttpClient, source: FakeSource, status: int) -> None:
    source.answer(WITH_CARD, status=status)

    error = failure(http, source.url)

    assert isinstance(error, ProviderUnavailable)
    assert isinstance(error, requests.RequestException)
    assert error.throttled == (status == 429)
    assert error.retry_after is None
    assert str(error).startswith(f"{source.url} answered {status}")
    assert CARD not in everything_about(error)


@pytest.mark.parametrize("status", [400, 401, 403, 405, 409, 418, 422, 451])
def test_a_source_that_refuses_is_not_asked_again(http: HttpClient, source: FakeSource, status: int) -> None:
    source.answer(WITH_CARD, status=status)

    error = failure(http, source.url)

    assert isinstance(error, ProviderRefused)
    assert not isinstance(error, requests.RequestException)
    assert str(error).startswith(f"{source.url} answered {status}")
    assert CARD not in everything_about(error)


@pytest.mark.parametrize("status", [404, 410])
def test_a_record_that_is_not_there_is_told_apart(http: HttpClient, source: FakeSource, status: int) -> None:
    source.answer(WITH_CARD, status=status)

    error = failure(http, source.url)

    assert isinstance(error, ProviderNotFound)
    assert not isinstance(error, requests.RequestException)
    assert CARD not in everything_about(error)


@pytest.mark.parametrize("status", [201, 202, 206, 304])
def test_an_answer_that_is_not_the_whole_of_it_is_an_error(http: HttpClient, source: FakeSource, status: int) -> None:
    source.answer(b"", status=status)

    assert not isinstance(failure(http, source.url), ProviderUnavailable)


# Retry-After


def retry_after(http: HttpClient, source: FakeSource, header: str, status: int = 429) -> float | None:
    source.answer({"message": "later"}, status=status, headers={"Retry-After": header})
    error = failure(http, source.url)
    assert isinstance(error, ProviderUnavailable)
    return error.retry_after


@pytest.mark.parametrize(("header", "seconds"), [("10", 10), ("0", 0), ("  7 ", 7), ("86400", 86_400)])
@pytest.mark.parametrize("status", [429, 503])
def test_the_pause_that_the_source_asks_for_is_known(
    http: HttpClient, source: FakeSource, header: str, seconds: float, status: int
) -> None:
    assert retry_after(http, source, header, status) == seconds


def test_the_pause_may_be_a_date(http: HttpClient, source: FakeSource) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)

    assert retry_after(http, source, date) == pytest.approx(29.5, abs=1.5)


def test_the_pause_may_be_a_date_of_another_zone(http: HttpClient, source: FakeSource) -> None:
    zone = datetime.now(UTC).astimezone().tzinfo
    date = format_datetime(datetime.now(zone) + timedelta(seconds=30))

    assert retry_after(http, source, date) == pytest.approx(29.5, abs=1.5)


def test_a_date_in_the_past_means_at_once(http: HttpClient, source: FakeSource) -> None:
    assert retry_after(http, source, "Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize(
    "header",
    ["", "soon", "-5", "1.5", "١٠".encode().decode("latin-1"), "Wed, 99 Oct 2015 07:28:00 GMT", "Wed, 21 Oct", "²"],
)
def test_a_pause_that_cannot_be_understood_is_none(http: HttpClient, source: FakeSource, header: str) -> None:
    assert retry_after(http, source, header) is None


@pytest.mark.parametrize(
    "header",
    ["9" * 400, "9" * 5000, "Wed, 21 Oct 2015 07:28:00 +" + "9" * 20, "Fri, 31 Dec 9999 23:59:59 -2359"],
    ids=["400 digits", "5000 digits", "a zone that is none", "the end of time"],
)
def test_an_absurd_pause_is_none_or_a_number_to_count_with(http: HttpClient, source: FakeSource, header: str) -> None:
    seconds = retry_after(http, source, header)

    assert seconds is None or isfinite(seconds)


# Redirects


def test_a_redirect_is_followed(http: HttpClient, source: FakeSource) -> None:
    source.respond = lambda path, query: (
        Answer(status=301, headers={"Location": "/users"}) if path == "/users/" else Answer([1])
    )

    assert http.get_json(f"{source.url}/") == [1]
    assert [path for path, _ in source.requests] == ["/users/", "/users"]


def test_redirects_in_a_circle_are_given_up(http: HttpClient, source: FakeSource) -> None:
    source.respond = lambda path, query: Answer(
        WITH_CARD, status=302, headers={"Location": "/b" if path == "/a" else "/a"}
    )

    error = failure(http, source.url)

    assert not isinstance(error, ProviderUnavailable)
    assert source.url in str(error)
    assert len(source.requests) <= 5
    assert CARD not in everything_about(error)


@pytest.mark.parametrize(
    "location",
    ["ftp://example.org/users", "http://", "http:///users", "http://[::1", "http://exa mple.org:x/", "mailto:a@b", "é"],
)
def test_a_redirect_to_nowhere_is_one_of_our_errors(http: HttpClient, source: FakeSource, location: str) -> None:
    source.respond = lambda path, query: (
        Answer(WITH_CARD, status=302, headers={"Location": location}) if path == "/users" else Answer(status=404)
    )

    assert CARD not in everything_about(failure(http, source.url))


def test_a_redirect_without_a_target_is_an_error(http: HttpClient, source: FakeSource) -> None:
    source.answer(WITH_CARD, status=302)

    assert CARD not in everything_about(failure(http, source.url))


# Connections


def test_a_source_that_takes_no_connection_is_unavailable(http: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    error = failure(http, f"http://127.0.0.1:{port}/users")

    assert isinstance(error, ProviderUnavailable)
    assert str(error).startswith(f"http://127.0.0.1:{port}/users is out of reach")


def test_a_source_that_hangs_up_without_an_answer_is_unavailable(
    http: HttpClient, raw_server: Callable[..., str]
) -> None:
    assert isinstance(failure(http, raw_server(lambda connection: None)), ProviderUnavailable)


def test_a_body_where_the_status_line_was_due_is_in_no_error(http: HttpClient, raw_server: Callable[..., str]) -> None:
    url = raw_server(lambda connection: connection.sendall(WITH_CARD + b"\r\n\r\n"))

    error = failure(http, url)

    assert url in str(error)
    assert CARD not in everything_about(error)


def test_a_body_in_broken_chunks_is_unavailable(http: HttpClient, raw_server: Callable[..., str]) -> None:
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    url = raw_server(lambda connection: connection.sendall(f"{head}5\r\n[1,2,\r\n{CARD}\r\n".encode()))

    error = failure(http, url)

    assert isinstance(error, ProviderUnavailable)
    assert CARD not in everything_about(error)


def test_a_source_without_tls_at_an_https_address_is_a_permanent_error(http: HttpClient, source: FakeSource) -> None:
    url = source.url.replace("http://", "https://")

    error = failure(http, url)

    assert not isinstance(error, ProviderUnavailable)
    assert url in str(error)


def test_a_source_that_hangs_up_in_the_tls_handshake_is_unavailable(
    http: HttpClient, raw_server: Callable[..., str]
) -> None:
    url = raw_server(lambda connection: None).replace("http://", "https://")

    error = failure(http, url)

    assert isinstance(error, ProviderUnavailable)
    assert str(error).startswith(f"{url} is out of reach: SSLEOFError")


@pytest.mark.parametrize("status", [401, 404, 500])
def test_the_credentials_of_an_address_are_in_no_error(http: HttpClient, source: FakeSource, status: int) -> None:
    source.answer({}, status=status)

    error = failure(http, source.url.replace("http://", "http://reader:hunter2@"))

    assert "http://***@127.0.0.1" in str(error)
    assert "hunter2" not in everything_about(error)


def test_the_credentials_of_an_address_out_of_reach_are_in_no_error(http: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    error = failure(http, f"http://reader:hunter2@127.0.0.1:{port}/users")

    assert "hunter2" not in everything_about(error)


def test_a_redirect_to_an_address_that_is_none_is_no_outage(http: HttpClient, source: FakeSource) -> None:
    source.answer(b"", status=302, headers={"Location": "http://exa mple.org:x/"})

    error = failure(http, source.url)

    assert type(error) is ProviderError
    assert str(error).endswith("redirects to an address that is none")


def test_redirects_do_not_start_the_deadline_anew(http: HttpClient, source: FakeSource) -> None:
    source.answer(b"", status=302, headers={"Location": "/again"}, wait_seconds=TIMEOUT_SECONDS * 0.8)

    with at_most(TIMEOUT_SECONDS + LENIENCE_SECONDS):
        error = failure(http, source.url)

    assert isinstance(error, ProviderUnavailable)
    assert len(source.requests) == 2
