"""What one connection may send and how long it may take, over real sockets to a real process."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.api.limits import (
    LONGEST_HEAD_BYTES,
    LONGEST_TARGET_BYTES,
    MOST_HEADERS,
    REQUEST_SECONDS,
    TAKE_SECONDS,
)
from tests.api_process import Api, running_api
from tests.deployment import eventually
from tests.scrape import free_ports, scrape

TOKEN = "a-token-for-the-tests-alone"
MOST_CONNECTIONS = 20
START = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = f"POST /runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> Any:
        return json.loads(self.body)["detail"]


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def api(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory, metrics_port: int) -> Iterator[Api]:
    """With few connections, which stay open while a test looks at them."""
    variables = {
        "UVICORN_LIMIT_CONCURRENCY": str(MOST_CONNECTIONS),
        "UVICORN_TIMEOUT_KEEP_ALIVE": "60",
        "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
        "API_TOKEN": TOKEN,
        "METRICS_PORT": str(metrics_port),
    }
    with running_api(tmp_path_factory.mktemp("api"), f"sqlite+pysqlite:///{migrated_file}", **variables) as api:
        yield api


def receive(connection: socket.socket) -> Answer:
    """The next answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65_536)
        assert part, f"the connection ended after {received!r}"
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65_536)
    return Answer(int(status.split()[1]), headers, body)


def receive_all(api: Api, request: bytes) -> list[Answer]:
    """All answers until the api ends the connection."""
    with api.connect() as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65_536):
            received += part
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers["content-length"])
        answers.append(Answer(int(status.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return answers


def is_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def ask(api: Api, *parts: bytes) -> Answer:
    """The answer to what may still be on its way when the answer comes."""
    with api.connect() as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except ConnectionError:
                break
        return receive(connection)


def fields(count: int, length: int = 1) -> bytes:
    return b"".join(b"X-%06d: %s\r\n" % (number, b"a" * length) for number in range(count))


def refused(answer: Answer, status: int, word: str) -> None:
    """Whether this is a refusal in the form of the API's errors."""
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert word in answer.detail
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


# Length and number


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (START + fields(MOST_HEADERS) + b"\r\n", "more than 100 headers"),
        (START + fields(50, LONGEST_HEAD_BYTES // 50) + b"\r\n", "longer than 32,768 bytes"),
        (START + fields(1, 2 * LONGEST_HEAD_BYTES) + b"\r\n", "longer than 32,768 bytes"),
        (START + fields(1, 10_000_000) + b"\r\n", "longer than 32,768 bytes"),
        (START + fields(1_000_000) + b"\r\n", "longer than 32,768 bytes"),
        (START + b"X" * 10_000_000, "longer than 32,768 bytes"),
    ],
    ids=["many", "long-together", "long", "endless-value", "endless-many", "endless-name"],
)
def test_too_many_or_too_long_headers_are_431(api: Api, request_: bytes, word: str) -> None:
    refused(ask(api, request_), 431, word)


@pytest.mark.parametrize("length", [LONGEST_TARGET_BYTES, 40_000, 10_000_000])
def test_a_longer_address_than_any_use_has_is_414(api: Api, length: int) -> None:
    request = b"GET /users?q=" + b"a" * length + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"

    refused(ask(api, request), 414, "longer than 8,192 bytes")


def test_the_length_of_headers_that_come_one_after_the_other_is_counted_together(api: Api) -> None:
    with api.connect() as connection:
        connection.sendall(START + fields(20, 1_000))
        time.sleep(0.5)
        connection.sendall(fields(20, 1_000) + b"\r\n")
        answer = receive(connection)

    refused(answer, 431, "longer than 32,768 bytes")


def test_what_is_within_the_limits_is_served(api: Api) -> None:
    target = b"/healthz?" + b"a" * (LONGEST_TARGET_BYTES - len(b"/healthz?"))
    headers = fields(MOST_HEADERS - 1, 200)

    answer = ask(api, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n")

    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')


def test_requests_that_come_in_pieces_or_together_are_served(api: Api) -> None:
    with api.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for byte in START + b"\r\n":
                connection.sendall(bytes([byte]))
            assert receive(connection).status == 200
        for start in range(0, 100, 50):
            connection.sendall((START + fields(20, 50) + b"\r\n") * 50)
            received = b""
            while received.count(b'{"status":"ok"}') < 50:
                received += connection.recv(65_536)
            assert received.count(b"HTTP/1.1 200 OK") == 50, start


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_longer_body_than_any_use_has_is_413(api: Api, framing: str) -> None:
    body = b" " * 1_000_000
    if framing == "length":
        request = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        request = POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

    answer = ask(api, request)

    assert (answer.status, answer.detail) == (413, "The body is longer than 4096 bytes.")


def test_a_body_in_many_small_chunks_is_read(api: Api) -> None:
    body = b'{"task": "nothing"}' + b" " * 4_000
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)

    answer = ask(api, POST + b"Transfer-Encoding: chunked\r\n\r\n", chunks + b"0\r\n\r\n")

    assert answer.status == 422


def test_trailers_without_end_are_431(api: Api) -> None:
    request = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + fields(100_000)

    refused(ask(api, request), 431, "longer than 32,768 bytes")


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /users/\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        START + b"X: a\x00b\r\n\r\n",
        START + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
        START + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["tls", "nul", "bytes", "address", "nul-in-header", "overlong-length", "negative-length", "two-lengths"],
)
def test_what_is_no_http_is_400(api: Api, request_: bytes) -> None:
    refused(ask(api, request_), 400, "not HTTP")


GET = START + b"\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        (GET + b"\x00", [200, 400]),
        (GET + GET + b"\x00", [200, 200, 400]),
        (GET + START + fields(MOST_HEADERS) + b"\r\n", [200, 431]),
        (POST + b'Content-Length: 18\r\n\r\n{"task":"nothing"}\x00', [422, 400]),
        (CHUNKED + b"nonsense", [400]),
        (CHUNKED + b"%x\r\n%s\r\nnonsense" % (100_000, b" " * 100_000), [400]),
        (GET + CHUNKED + b"nonsense", [200, 400]),
        (GET + GET + CHUNKED + b"nonsense" + GET, [200, 200, 400]),
    ],
    ids=["one", "two", "headers", "run", "own-body", "own-long-body", "second-body", "third-body"],
)
def test_whole_requests_are_answered_before_a_refusal(api: Api, request_: bytes, statuses: list[int]) -> None:
    answers = receive_all(api, request_)

    assert [answer.status for answer in answers] == statuses
    refused(answers[-1], statuses[-1], "")


def test_a_refusal_is_one_line_that_says_what_was_wrong(api: Api) -> None:
    before = len(api.output.read_text())

    refused(ask(api, START + fields(MOST_HEADERS) + b"\r\n"), 431, "more than 100 headers")
    refused(ask(api, b"\x00"), 400, "not HTTP")

    eventually(lambda: "not HTTP" in api.output.read_text()[before:])
    lines = [json.loads(line) for line in api.output.read_text()[before:].splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("WARNING", "refused a request from 127.0.0.1: The request has more than 100 headers."),
        ("WARNING", "refused a request from 127.0.0.1: This is not HTTP that can be understood."),
    ]


# Memory


@pytest.mark.parametrize("kind", ["headers", "header", "address", "trailers", "body"])
def test_a_hundred_megabytes_do_not_stay_in_memory(api: Api, kind: str) -> None:
    begin, part = {
        "headers": (START, fields(70_000)),
        "header": (START + b"X: ", b"a" * 1_000_000),
        "address": (b"GET /", b"a" * 1_000_000),
        "trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", fields(70_000)),
        "body": (POST + b"Content-Length: 200000000\r\n\r\n", b"a" * 1_000_000),
    }[kind]
    assert ask(api, START + b"\r\n").status == 200
    before, most, sent = api.resident_bytes(), 0, 0

    with api.connect() as connection:
        try:
            connection.sendall(begin)
            while sent < 100_000_000:
                connection.sendall(part)
                sent += len(part)
                most = max(most, api.resident_bytes())
        except ConnectionError:
            pass

    assert max(most, api.resident_bytes()) - before < 20_000_000
    assert ask(api, START + b"\r\n").status == 200


# Time


def in_threads(*works: Callable[[], Any]) -> list[Any]:
    """What each returns, all having waited at the same time."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(work) for work in works]]


def drip(api: Api, begin: bytes, drop: bytes) -> Answer | bool:
    """What a client sees that sends its request without ever coming to the end; whether it was cut off unanswered."""
    with api.connect() as connection:
        connection.sendall(begin)
        deadline = time.monotonic() + REQUEST_SECONDS + 20
        connection.settimeout(0.5)
        while time.monotonic() < deadline:
            try:
                connection.sendall(drop)
                first = connection.recv(1, socket.MSG_PEEK)
            except TimeoutError:
                continue
            except ConnectionError:
                return True
            if not first:
                return True
            connection.settimeout(20)
            return receive(connection)
        return False


def test_slow_clients_are_not_waited_for(api: Api) -> None:
    silent, blanks, head, body, answered, unread, closed = in_threads(
        lambda: drip(api, b"", b""),
        lambda: drip(api, b"\r\n", b"\r\n"),
        lambda: drip(api, START, b"X: a\r\n"),
        lambda: drip(api, POST + b"Content-Length: 4000\r\n\r\n", b" "),
        lambda: _drips_on_after_the_answer(api),
        lambda: _reads_nothing(api),
        lambda: _reads_nothing_of_what_is_left_when_the_api_closes(api),
    )

    assert silent is True
    assert blanks is True
    refused(head, 408, "did not arrive within 20 seconds")
    assert (body.status, body.detail) == (408, "The body did not arrive within 10 seconds.")
    assert answered is True
    assert unread is True
    assert closed is True


def _drips_on_after_the_answer(api: Api) -> bool:
    """A client who is refused for want of a token, and goes on with the body."""
    with api.connect() as connection:
        connection.sendall(b"POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n")
        assert receive(connection).status == 401
        deadline = time.monotonic() + REQUEST_SECONDS + 20
        connection.settimeout(0.5)
        while time.monotonic() < deadline:
            try:
                connection.sendall(b" ")
                if not connection.recv(1):
                    return True
            except TimeoutError:
                continue
            except ConnectionError:
                return True
        return False


def _reads_nothing(api: Api) -> bool:
    """A client who asks for more than the system's buffers hold; whether the api gave it up."""
    with api.connect() as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000)
        client = connection.getsockname()[1]
        # A busy process takes a connection in some time after the system has.
        eventually(lambda: _has_socket(api, client))
        return _is_given_up(api, client)


def _reads_nothing_of_what_is_left_when_the_api_closes(api: Api) -> bool:
    """A client who leaves less unread than makes the api wait with writing, but more than the system's buffers hold.

    How much these hold is the system's affair: the client asks for a little more until something is left.
    """
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n"
    for requests_before in range(3, 20):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            # Of small segments the system buffers little for the api.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            connection.connect(("127.0.0.1", api.port))
            connection.sendall((request + b"\r\n") * requests_before + request + b"Connection: close\r\n\r\n")
            client = connection.getsockname()[1]
            eventually(lambda client=client: _has_socket(api, client))
            time.sleep(2)
            if _has_socket(api, client):
                return _is_given_up(api, client)
    raise AssertionError("all of it was in the system's buffers, however much it was")


def _is_given_up(api: Api, client: int) -> bool:
    deadline = time.monotonic() + TAKE_SECONDS + 20
    while time.monotonic() < deadline:
        if not _has_socket(api, client):
            return True
        time.sleep(0.5)
    return False


def _has_socket(api: Api, client: int) -> bool:
    """Whether a process still holds the connection with this port, and not the system alone."""
    ends = f":{api.port:04X}", f":{client:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, _, _, _, _, _, inode, *_ = line.split()
        if (local[-5:], remote[-5:]) == ends:
            return inode != "0"
    return False


def test_a_client_that_goes_away_in_the_middle_of_its_body_is_no_defect(api: Api) -> None:
    before = len(api.output.read_text())
    with api.connect() as connection:
        connection.sendall(POST + b"Content-Length: 4000\r\n\r\n{")

    assert ask(api, START + b"\r\n").status == 200
    time.sleep(0.5)
    assert "Traceback" not in api.output.read_text()[before:]


# Number of connections


def fill(api: Api, opened: ExitStack) -> list[socket.socket]:
    """As many connections as are served, each of which has been answered and stays open."""
    idle = [opened.enter_context(api.connect()) for _ in range(MOST_CONNECTIONS)]
    for connection in idle:
        connection.sendall(START + b"\r\n")
        assert receive(connection).status == 200
    return idle


def test_more_connections_than_allowed_are_told_to_come_later_and_then_cut_off(api: Api) -> None:
    with ExitStack() as opened:
        fill(api, opened)
        for _ in range(5):
            late = opened.enter_context(api.connect())
            late.sendall(b"GET /users HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = receive(late)
            refused(answer, 503, "Too many connections")
            assert int(answer.headers["retry-after"]) > 0
        assert 1 <= api.output.read_text().count("Too many connections are open") < 5, "a line for each"
        probe = opened.enter_context(api.connect())
        probe.sendall(START + b"\r\n")
        assert receive(probe).status == 200, "a process that lives must say so however many ask"

        crowd = [opened.enter_context(api.connect()) for _ in range(2 * MOST_CONNECTIONS)]
        assert is_ended(crowd[-1])

    deadline = time.monotonic() + 20
    while (answer := ask(api, b"GET /users HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 503:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert answer.status == 200


def test_what_the_application_never_saw_is_counted_by_how_it_was_refused(api: Api, metrics_port: int) -> None:
    def refusals() -> dict[tuple[str, ...], float]:
        return scrape(metrics_port).by("http_requests_refused_total", "status")

    before = refusals()
    with ExitStack() as opened:
        fill(api, opened)
        for _ in range(3):
            late = opened.enter_context(api.connect())
            late.sendall(b"GET /users HTTP/1.1\r\nHost: localhost\r\n\r\n")
            refused(receive(late), 503, "Too many connections")
        crowd = [opened.enter_context(api.connect()) for _ in range(2 * MOST_CONNECTIONS)]
        assert is_ended(crowd[-1])
        crowded = refusals()
    eventually(lambda: ask(api, b"GET /users HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 200)
    after_the_crowd = refusals()
    refused(ask(api, START + fields(MOST_HEADERS) + b"\r\n"), 431, "more than 100 headers")
    refused(ask(api, b"GET /users?q=" + b"a" * LONGEST_TARGET_BYTES + b" HTTP/1.1\r\n\r\n"), 414, "longer than")
    refused(ask(api, b"nonsense\r\n\r\n"), 400, "not HTTP")

    assert crowded[("503",)] - before[("503",)] == 3
    assert crowded[("none",)] - before[("none",)] >= 1, "whoever is cut off"
    counted = {key: count - after_the_crowd[key] for key, count in refusals().items()}
    assert counted == {("400",): 1, ("408",): 0, ("414",): 1, ("431",): 1, ("503",): 0, ("none",): 0}


def test_a_silent_crowd_keeps_no_probe_out_for_long(api: Api) -> None:
    with ExitStack() as opened:
        idle = fill(api, opened)
        silent = opened.enter_context(api.connect())
        slow = opened.enter_context(api.connect())
        slow.sendall(START)
        probe = opened.enter_context(api.connect())
        probe.sendall(START + b"\r\n")

        assert is_ended(silent)
        refused(receive(slow), 503, "Too many connections")
        answer = receive(probe)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert is_ended(probe)
        for connection in idle:
            connection.sendall(START + b"\r\n")
            assert receive(connection).status == 200, "who came before the crowd stays"
