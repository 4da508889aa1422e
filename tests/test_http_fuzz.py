"""Any bytes in a request: the answer is one of the service's own, and never a defect. FUZZ_EXAMPLES=N looks longer."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.records import AddressRecord, CardRecord, UserRecord
from tests.api_process import running_api
from tests.conftest import LocalWorker, Mirror

TOKEN = "a-token-for-the-tests-alone"
PATHS = [
    *(b"/users", b"/users/", b"/users/ui", b"/users/ui/", b"/users/ui/runs", b"/users/ui/runs/", b"/users/ui/status"),
    *(b"/users/ui/latest", b"/runs", b"/runs/", b"/healthz", b"/docs", b"/openapi.json", b"/static/", b"/", b"//"),
]
NAMES = [b"limit", b"offset", b"after", b"before", b"q", b"task", b"status", b"count", b"has_card", b"removed", b"x"]
HEADERS = [
    *(b"authorization", b"idempotency-key", b"if-none-match", b"accept-encoding", b"hx-request", b"hx-target"),
    *(b"traceparent", b"content-type", b"cookie", b"x-forwarded-for", b"range", b"expect"),
]
ODD = st.sampled_from(
    [
        *(
            b"\0",
            b"\xff",
            b"\xed\xa0\x80",
            b"9" * 5_000,
            b"-1",
            b"1e400",
            b"nan",
            b"true",
            b"null",
            b"[]",
            b"%",
            b"../",
        ),
        *(b"Bearer ", b"Bearer \xff", f"Bearer {TOKEN}".encode(), b"gzip;q=", b'W/"', b"*", b"bytes=9-1", b"<script>"),
        *("٣".encode(), "²".encode(), "\u202e".encode(), b"9223372036854775808", b"sync_users", b"failed"),
    ]
)
BYTES = ODD | st.binary(max_size=20) | st.lists(ODD, max_size=3).map(b"".join)
# What no HTTP header can hold is refused before the application is asked.
VALUES = BYTES.map(lambda value: value.translate(None, bytes(range(32)) + b"\x7f").strip())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(["sync_users"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["task", "batch_size", "x"]), inner, max_size=3),
    max_leaves=6,
)
BODIES = BYTES | JSON.map(lambda value: json.dumps(value).encode())
QUERIES = st.lists(st.tuples(st.sampled_from(NAMES), BYTES), max_size=4)

long = os.environ.get("FUZZ_EXAMPLES")
thoroughly = examples(
    deadline=None,
    max_examples=int(long or 150),
    derandomize=not long,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("token_to_read", [True, False])
def test_any_request_gets_an_answer_of_the_services_own(
    open_client: Callable[..., TestClient], worker: LocalWorker, mirror: Mirror, token_to_read: bool
) -> None:
    mirror.add(UserRecord(1, "Emily"), address=AddressRecord(city="Lyon"), card=CardRecord("1234"))
    client = open_client(worker.context, API_TOKEN=TOKEN, READ_TOKEN_REQUIRED=token_to_read)
    client.follow_redirects = False

    @thoroughly
    @given(
        method=st.sampled_from(["GET", "GET", "POST", "HEAD", "PUT", "OPTIONS", "BREW"]),
        path=st.sampled_from(PATHS),
        more=st.just(b"") | st.just(b"1") | BYTES,
        query=QUERIES,
        headers=st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=4),
        known=st.booleans(),
        body=BODIES,
    )
    def hold(
        method: str,
        path: bytes,
        more: bytes,
        query: list[tuple[bytes, bytes]],
        headers: dict[bytes, bytes],
        known: bool,
        body: bytes,
    ) -> None:
        if known:
            headers = {**headers, b"authorization": f"Bearer {TOKEN}".encode()}
        address = quote_from_bytes(path + more, safe="/") + "?"
        address += "&".join(f"{name.decode()}={quote_from_bytes(value)}" for name, value in query)

        response = client.request(method, f"http://testserver{address}", headers=headers, content=body)

        assert response.status_code < 500, (method, address, headers, body)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert TOKEN not in response.text or TOKEN in address  # a page shows what is searched for
        if response.status_code >= 400 and method != "HEAD" and "/users/ui" not in address:
            assert response.headers["Content-Type"].startswith(("application/json", "text/"))
            assert response.content

    hold()


def test_any_bytes_on_a_connection_leave_the_api_in_service(migrated_file: Path, tmp_path: Path) -> None:
    url = f"sqlite+pysqlite:///{migrated_file}"
    pieces = st.lists(
        st.sampled_from(
            [
                *(b"GET /healthz HTTP/1.1\r\n", b"POST /runs HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n", b"\n", b" ", b":"),
                *(
                    b"Content-Length: 5\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b"Expect: 100-continue\r\n",
                    b"0\r\n\r\n",
                ),
                *(
                    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
                    b"Connection: close\r\n",
                    b"HTTP/1.0",
                    b"5\r\nabcde\r\n",
                ),
                *(
                    f"Authorization: Bearer {TOKEN}\r\n".encode(),
                    b"ffffffffffffffffff\r\n",
                    b"\0",
                    b"\xff",
                    b"PRI * HTTP/2.0",
                ),
            ]
        )
        | st.binary(max_size=10),
        max_size=10,
    )
    with running_api(tmp_path, url, API_TOKEN=TOKEN, CELERY_BROKER_URL="redis://127.0.0.1:1/0") as api:

        @thoroughly
        @given(sent=pieces.map(b"".join))
        def hold(sent: bytes) -> None:
            with api.connect() as connection:
                connection.sendall(sent)
                connection.shutdown(1)
                received = b""
                try:
                    while part := connection.recv(65_536):
                        received += part
                except ConnectionResetError:
                    pass
            assert not received or received.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), (sent, received)
            assert b"HTTP/1.1 500" not in received, sent

        hold()
        assert api.process.poll() is None
        printed = api.output.read_text()

    assert "Traceback" not in printed
    assert TOKEN not in printed
