"""Runs over HTTP: who may start them, what is answered, how they are looked back at."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from threading import Semaphore, get_ident
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, TypeAdapter
from sqlalchemy import event

from app.db import Database
from app.errors import BrokerUnavailable
from app.queries import chunks as chunk_queries
from app.records import ChunkMessage, Job
from app.schemas import RunOut
from app.services import runs
from app.settings import Settings
from tests.conftest import LocalWorker
from tests.deployment import eventually
from tests.fake_source import Answer, DummyJsonLike, FakeSource, Query

Sample = Callable[[int], DummyJsonLike]

TOKEN = "correct-horse-battery-staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LONG_AGO = "2000-01-01 00:00:00.000000"


@pytest.fixture
def client(open_client: Callable[..., TestClient], worker: LocalWorker) -> TestClient:
    """An api with a token, whose runs go into the worker's queue."""
    return open_client(worker.context, API_TOKEN=TOKEN)


def post(client: TestClient, task: str = "sync_users", key: str | None = None, **body: Any) -> Any:
    headers = BEARER if key is None else {**BEARER, "Idempotency-Key": key}
    return client.post("/runs", json={"task": task, **body}, headers=headers)


def run(client: TestClient, run_id: int) -> dict[str, Any]:
    response = client.get(f"/runs/{run_id}")
    assert response.status_code == 200
    RunOut.model_validate_json(response.content)
    found: dict[str, Any] = response.json()
    assert list(found) == list(RunOut.model_fields)
    return found


def listed(client: TestClient, url: str = "/runs") -> list[int]:
    response = client.get(url)
    assert response.status_code == 200, response.text
    TypeAdapter(list[RunOut]).validate_json(response.content)
    return [found["id"] for found in response.json()]


# Who may


@pytest.mark.parametrize("header", [{}, BEARER])
def test_without_a_configured_token_nobody_may_and_is_told_how_to_enable_it(
    open_client: Callable[..., TestClient], worker: LocalWorker, header: dict[str, str]
) -> None:
    client = open_client(worker.context)

    response = client.post("/runs", json={"task": "sync_users"}, headers=header)

    assert response.status_code == 403
    assert "set API_TOKEN" in response.json()["detail"]
    assert worker.rows("SELECT * FROM runs") == []


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer übel".encode("latin-1")},
    ],
)
def test_a_missing_or_wrong_token_is_refused(client: TestClient, worker: LocalWorker, header: dict[str, str]) -> None:
    response = client.post("/runs", json={"task": "sync_users"}, headers=header)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in response.text
    assert worker.rows("SELECT * FROM runs") == []


class _NeverCompared(str):
    """A secret that ends the request when it is compared by something that stops at the first difference."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared in a time that tells how far it was right")

    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = startswith = __eq__  # type: ignore[assignment]

    def encode(self, *_: object) -> Any:
        return _NeverComparedBytes(str.encode(self))


class _NeverComparedBytes(bytes):
    __hash__ = None  # type: ignore[assignment]
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = startswith = _NeverCompared.__eq__


@pytest.mark.parametrize("path", ["/users", "/runs", "/users/ui"])
def test_a_token_is_compared_in_constant_time(make_settings: Callable[..., Settings], path: str) -> None:
    from app.main import create_app  # here, since app.main sets up the logs of the whole process

    settings = make_settings(API_TOKEN=TOKEN, READ_TOKEN_REQUIRED=True)
    guarded = settings.model_copy(update={"api_token": SecretStr(_NeverCompared(TOKEN))})
    with pytest.raises(AssertionError):
        assert guarded.api_token.get_secret_value().encode() == TOKEN.encode()

    with TestClient(create_app(guarded), raise_server_exceptions=False) as client:
        statuses = [
            client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code
            for token in (TOKEN, TOKEN[:-1] + "x", "x" + TOKEN[1:], TOKEN[:-1], TOKEN + "x", "x")
        ]

    assert statuses == [200, 401, 401, 401, 401, 401]


def test_the_token_comes_before_the_body(client: TestClient) -> None:
    assert client.post("/runs", content=b"nonsense").status_code == 401
    assert client.post("/runs", content=b"x" * 1_000_000).status_code == 401


@pytest.mark.parametrize("path", ["/users", "/users/1", "/runs", "/runs/1"])
def test_reading_needs_the_token_only_where_that_is_asked_for(
    open_client: Callable[..., TestClient], path: str
) -> None:
    closed = open_client(API_TOKEN=TOKEN, READ_TOKEN_REQUIRED=True)

    assert closed.get(path).status_code == 401
    assert closed.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert closed.get(path, headers=BEARER).status_code in (200, 404)
    assert open_client(API_TOKEN=TOKEN).get(path).status_code in (200, 404)


@pytest.mark.parametrize("required", [True, False])
def test_the_document_says_where_the_token_is_needed(open_client: Callable[..., TestClient], required: bool) -> None:
    paths = open_client(API_TOKEN=TOKEN, READ_TOKEN_REQUIRED=required).get("/openapi.json").json()["paths"]

    for path in ("/users", "/users/{user_id}", "/runs", "/runs/{run_id}"):
        assert ("401" in paths[path]["get"]["responses"]) is required
        assert ("security" in paths[path]["get"]) is required
    assert "security" in paths["/runs"]["post"]
    assert "security" not in paths["/healthz"]["get"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
def test_health_and_documentation_need_no_token(open_client: Callable[..., TestClient], path: str) -> None:
    assert open_client(API_TOKEN=TOKEN, READ_TOKEN_REQUIRED=True).get(path).status_code == 200


# Starting


def test_a_run_that_was_asked_for_is_done_and_can_be_watched(
    client: TestClient, worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(30)

    response = post(client)

    assert response.status_code == 202
    asked = response.json()
    assert response.headers["Location"] == f"/runs/{asked['id']}"
    assert (asked["task"], asked["trigger"], asked["status"]) == ("sync_users", "api", "queued")
    assert asked == run(client, asked["id"])
    worker.work_off()
    done = run(client, asked["id"])
    assert (done["status"], done["inserted"], done["stale"]) == ("succeeded", 30, False)
    assert (done["chunks"], done["chunks_done"], done["rows_done"], done["rows_total"]) == (1, 1, 30, 30)
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]


def test_an_enrichment_takes_a_batch_size_and_has_a_default(client: TestClient) -> None:
    assert post(client, "enrich_missing_addresses", batch_size=7).json()["batch_size"] == 7
    assert post(client, "enrich_missing_cards").json()["batch_size"] == 20


def test_while_a_run_is_open_another_one_is_skipped_and_names_it(client: TestClient, worker: LocalWorker) -> None:
    first = post(client).json()

    response = post(client)

    assert response.status_code == 202
    second = response.json()
    assert (second["status"], second["blocked_by"]) == ("skipped", first["id"])
    assert second["error_message"] == f"run {first['id']} of sync_users is open"
    assert response.headers["Location"] == f"/runs/{second['id']}"
    assert len(worker.queue) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"nonsense", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b"{}", "task"),
        (b'{"task": null}', "task"),
        (b'{"task": "no_such"}', "task"),
        (b'{"task": "app.tasks.users.sync_users"}', "task"),
        (b'{"task": "sync_users", "batch_size": 20}', "batch_size"),
        (b'{"task": "enrich_missing_cards", "batch_size": 0}', "batch_size"),
        (b'{"task": "enrich_missing_cards", "batch_size": 100001}', "batch_size"),
        (b'{"task": "enrich_missing_cards", "batch_size": 1e400}', "batch_size"),
        (b'{"task": "enrich_missing_cards", "batch_size": true}', "batch_size"),
        (b'{"task": "enrich_missing_cards", "batch_size": "20"}', "batch_size"),
        (b'{"task": "sync_users", "more": 1}', "more"),
        (b'{"task": "sync_\xffusers"}', "body"),
        (b"[" * 4_000, "body"),
    ],
)
def test_a_wrong_body_is_answered_with_the_field(
    client: TestClient, worker: LocalWorker, body: bytes, field: str
) -> None:
    response = client.post("/runs", content=body, headers=BEARER)

    assert response.status_code == 422
    assert [problem["loc"][-1] for problem in response.json()["detail"]] == [field]
    assert worker.rows("SELECT * FROM runs") == []


def test_a_body_that_is_too_long_is_not_read(client: TestClient) -> None:
    response = client.post("/runs", content=b" " * 5_000 + b'{"task": "sync_users"}', headers=BEARER)

    assert response.status_code == 413
    assert response.json() == {"detail": "The body is longer than 4096 bytes."}


# Asking twice


def test_a_key_makes_one_run_of_a_request_that_is_sent_again(
    client: TestClient, worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(3)
    first = post(client, key="mine")
    again = post(client, key="mine")
    worker.work_off()
    later = post(client, key="mine")

    assert [response.status_code for response in (first, again, later)] == [202] * 3
    assert {response.headers["Location"] for response in (first, again, later)} == {"/runs/1"}
    assert later.json()["status"] == "succeeded"
    assert worker.rows("SELECT count(*) AS n FROM runs WHERE trigger = 'api'") == [{"n": 1}]


def test_a_key_belongs_to_what_was_asked_for(client: TestClient, worker: LocalWorker) -> None:
    post(client, "enrich_missing_cards", key="mine", batch_size=5)

    for body in ({"task": "enrich_missing_cards"}, {"task": "enrich_missing_addresses", "batch_size": 5}):
        response = client.post("/runs", json=body, headers={**BEARER, "Idempotency-Key": "mine"})
        assert response.status_code == 422
        [problem] = response.json()["detail"]
        assert problem["loc"] == ["header", "Idempotency-Key"]
        assert "belongs to run 1" in problem["msg"]
    assert len(worker.queue) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str) -> None:
    response = client.post(
        "/runs", json={"task": "sync_users"}, headers={**BEARER, "Idempotency-Key": key.encode("latin-1")}
    )

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]


def test_ten_requests_with_one_key_at_once_start_one_run(client: TestClient, worker: LocalWorker) -> None:
    with ThreadPoolExecutor(10) as pool:
        responses = list(pool.map(lambda _: post(client, key="mine"), range(10)))

    assert {response.status_code for response in responses} == {202}
    assert len({response.headers["Location"] for response in responses}) == 1
    assert len(worker.queue) == 1


def test_ten_requests_at_once_get_one_run_and_nine_true_answers(client: TestClient, worker: LocalWorker) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = [response.json() for response in pool.map(lambda _: post(client, key=uuid4().hex), range(10))]

    [started] = [answer["id"] for answer in answers if answer["status"] == "queued"]
    assert [answer["blocked_by"] for answer in answers if answer["status"] == "skipped"] == [started] * 9
    assert worker.rows("SELECT count(*) AS n FROM runs WHERE status = 'queued'") == [{"n": 1}]
    assert len(worker.queue) == 1


# A broker that is away


def refuse(_: ChunkMessage) -> None:
    raise BrokerUnavailable("the broker did not take the message: away")


@pytest.fixture
def cut_off(open_client: Callable[..., TestClient], worker: LocalWorker) -> TestClient:
    """An api whose broker takes nothing."""
    return open_client(replace(worker.context, publish=refuse), API_TOKEN=TOKEN)


def test_a_broker_that_is_away_is_answered_and_the_run_stays_failed(
    cut_off: TestClient, worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(3)

    response = post(cut_off)

    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert "Run 1 is failed and will not be started" in response.json()["detail"]
    failed = run(cut_off, 1)
    assert response.headers["Location"] == "/runs/1"
    assert (failed["status"], failed["error_class"]) == ("failed", "BrokerUnavailable")
    # Neither the reaper nor a message that was delivered after all starts it.
    worker.execute(f"UPDATE run_chunks SET expected_by = '{LONG_AGO}'")
    assert runs.reap(worker.context) == 0
    worker.perform(ChunkMessage(Job.SYNC_USERS, 1))
    worker.work_off()
    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": 0}]
    assert run(cut_off, 1) == failed


def test_the_request_may_be_sent_again_with_its_key_when_the_broker_is_back(
    cut_off: TestClient, client: TestClient
) -> None:
    assert post(cut_off, key="mine").status_code == 503

    response = post(client, key="mine")

    assert (response.status_code, response.json()["status"]) == (202, "queued")


def test_a_message_that_was_taken_without_a_word_is_a_run_that_was_started(
    open_client: Callable[..., TestClient], worker: LocalWorker
) -> None:
    def deliver_and_fail(message: ChunkMessage) -> None:
        with worker.context.database.transaction() as connection:
            assert chunk_queries.claim(connection, message.chunk_id, "delivered", 60)
        refuse(message)

    client = open_client(replace(worker.context, publish=deliver_and_fail), API_TOKEN=TOKEN)

    response = post(client)

    assert response.status_code == 202
    assert worker.rows("SELECT status FROM run_chunks") == [{"status": "running"}]


def test_what_the_failed_run_stood_in_the_way_of_is_made_up_for(
    open_client: Callable[..., TestClient], worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(3)

    def sync_and_fail(message: ChunkMessage) -> None:
        worker.call(Job.SYNC_USERS)  # whose follow-up finds this run in its way
        refuse(message)

    client = open_client(replace(worker.context, publish=sync_and_fail), API_TOKEN=TOKEN)

    assert post(client, "enrich_missing_cards").status_code == 503

    worker.execute(f"UPDATE run_chunks SET expected_by = '{LONG_AGO}' WHERE status = 'queued'")
    runs.reap(worker.context)
    worker.work_off()
    assert worker.rows("SELECT count(*) AS n FROM users WHERE has_card") == [{"n": 3}]


def test_a_run_that_was_not_started_and_stood_in_nobodys_way_costs_no_further_update(
    open_client: Callable[..., TestClient], worker: LocalWorker
) -> None:
    updates: list[str] = []

    @event.listens_for(worker.context.database.engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE run_chunks") and "publications" in statement:
            updates.append(statement)

    client = open_client(replace(worker.context, publish=refuse), API_TOKEN=TOKEN)

    assert post(client).status_code == 503
    assert updates == []


# Looking back


def test_runs_are_listed_newest_first_in_pages(client: TestClient, worker: LocalWorker) -> None:
    ids = [runs.start_tick(worker.context, Job.SYNC_USERS, datetime(2026, 11, day, tzinfo=UTC)) for day in range(1, 8)]

    assert listed(client) == ids[::-1]
    pages, url = [], "/runs?limit=3"
    while url:
        response = client.get(url)
        pages.append([found["id"] for found in response.json()])
        url = response.links["next"]["url"] if "next" in response.links else ""
    assert pages == [[*ids[6:3:-1]], [*ids[3:0:-1]], [ids[0]]]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("task=sync_users", [3, 0]),
        ("status=skipped", [3]),
        ("task=sync_users&status=queued", [0]),
        ("status=running", []),
        ("task=&status=", [3, 2, 1, 0]),
        ("before=3", [1, 0]),
        ("before=3&task=enrich_missing_cards", []),
    ],
)
def test_runs_are_filtered(client: TestClient, worker: LocalWorker, query: str, wanted: list[int]) -> None:
    ids = [post(client, job).json()["id"] for job in (*Job, Job.SYNC_USERS)]

    assert listed(client, f"/runs?{query}") == [ids[place] for place in wanted]


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("/runs?task=no_such", "task"),
        ("/runs?status=over", "status"),
        ("/runs?limit=0", "limit"),
        ("/runs?limit=101", "limit"),
        ("/runs?before=0", "before"),
        (f"/runs?before={2**63}", "before"),
        (f"/runs/{2**63}", "run_id"),
        ("/runs/0", "run_id"),
        ("/runs/x", "run_id"),
    ],
)
def test_wrong_parameters_are_named(client: TestClient, url: str, field: str) -> None:
    response = client.get(url)

    assert response.status_code == 422
    assert [problem["loc"][-1] for problem in response.json()["detail"]] == [field]


def test_a_run_that_is_not_there_is_not_found(client: TestClient) -> None:
    response = client.get("/runs/999")

    assert (response.status_code, response.json()) == (404, {"detail": "There is no run 999."})


def test_an_open_run_shows_how_far_it_has_come(
    make_worker: Callable[..., LocalWorker], client: TestClient, source: FakeSource, sample: Sample
) -> None:
    users = sample(40)
    seen: list[dict[str, Any]] = []

    def watched(path: str, query: Query) -> Answer:
        if "firstName" in query.get("select", ""):
            seen.append(run(client, 1))
        return users(path, query)

    source.respond = watched
    make_worker(USERS_PAGE_SIZE=10, CHUNK_ROWS=20).call(Job.SYNC_USERS)

    done = [found["rows_done"] for found in seen]
    assert done == sorted(done)
    assert done[0] == 0
    assert {found["status"] for found in seen} == {"running"}
    assert {found["rows_total"] for found in seen} == {None, 40}
    assert seen[-1]["chunks"] == 2
    assert not any(found["stale"] for found in seen)


def test_a_run_whose_worker_died_is_stale_until_another_takes_it_over(
    client: TestClient, worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(5)
    chunk_id = runs.receive(worker.context, Job.SYNC_USERS, "of a dead worker", None)
    assert chunk_id is not None
    with worker.context.database.transaction() as connection:
        assert chunk_queries.claim(connection, chunk_id, "of a dead worker", 60)
    assert run(client, 1)["stale"] is False
    worker.execute(f"UPDATE run_chunks SET lease_until = '{LONG_AGO}'")
    assert run(client, 1)["stale"] is True

    runs.reap(worker.context)
    assert run(client, 1)["stale"] is False
    worker.work_off()

    assert (run(client, 1)["status"], run(client, 1)["stale"]) == ("succeeded", False)


def test_a_run_that_nobody_receives_in_time_is_stale(client: TestClient, worker: LocalWorker) -> None:
    post(client)
    assert run(client, 1)["stale"] is False

    worker.execute(f"UPDATE run_chunks SET expected_by = '{LONG_AGO}'")

    assert run(client, 1)["stale"] is True


def test_a_run_that_waits_for_a_retry_says_for_what_and_is_not_stale(
    client: TestClient, worker: LocalWorker, source: FakeSource
) -> None:
    source.answer(b"busy", status=503)

    worker.call(Job.SYNC_USERS)

    waiting = run(client, 1)
    assert (waiting["status"], waiting["stale"], waiting["error_class"]) == ("running", False, "ProviderUnavailable")
    assert "answered 503" in waiting["error_message"]


def test_a_failed_run_says_why(client: TestClient, worker: LocalWorker, source: FakeSource) -> None:
    source.answer({"people": []})
    post(client)
    with pytest.raises(Exception, match="none of the known sources"):
        worker.work_off()

    failed = run(client, 1)

    assert (failed["status"], failed["error_class"]) == ("failed", "ProviderError")
    assert "none of the known sources" in failed["error_message"]


# Many at once


class HeldDatabase:
    """A database whose transactions wait until they are let go, one by one. begun: the threads that have come."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.let_go = Semaphore(0)
        self.begun: list[int] = []

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        self.begun.append(get_ident())
        assert self.let_go.acquire(timeout=60)
        with self._database.transaction() as connection:
            yield connection


def test_the_ninth_start_at_once_waits_for_one_of_eight_and_everything_else_is_answered(
    open_client: Callable[..., TestClient], worker: LocalWorker
) -> None:
    held = HeldDatabase(worker.context.database)
    client = open_client(replace(worker.context, database=held), API_TOKEN=TOKEN)
    limiter = client.app.state.starter._limiter

    with ThreadPoolExecutor(9) as pool:
        answers = [pool.submit(post, client) for _ in range(9)]
        eventually(lambda: limiter.statistics().tasks_waiting == 1)
        eventually(lambda: len(held.begun) >= 8)

        assert len(held.begun) == 8
        assert listed(client) == []
        held.let_go.release()
        eventually(lambda: len(held.begun) == 9)
        held.let_go.release(8)

    assert {answer.result().status_code for answer in answers} == {202}
    assert sorted(answer.result().json()["status"] for answer in answers) == ["queued"] + ["skipped"] * 8
