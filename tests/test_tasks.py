"""What the three jobs do, from a source to the tables."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import OperationalError

from app.db import Database
from app.errors import Abandoned, BrokerUnavailable, ProviderError, ProviderUnavailable
from app.models import RunChunk
from app.queries import chunks as chunk_queries
from app.queries import clock
from app.records import ChunkMessage, Claim, Job
from app.sample_provider import user as sample_user
from app.services import runs
from app.services.chunks import Step, perform
from app.services.context import Context
from tests.conftest import LocalWorker
from tests.fake_source import Answer, DummyJsonLike, FakeSource, Query

Sample = Callable[[int], DummyJsonLike]


def test_a_sync_mirrors_all_pages_and_starts_both_enrichments(
    worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(250)

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n, min(external_id) AS low, max(external_id) AS high FROM users") == [
        {"n": 250, "low": 1, "high": 250}
    ]
    assert worker.rows("SELECT task, trigger, status, inserted FROM runs ORDER BY id") == [
        {"task": "sync_users", "trigger": "cli", "status": "succeeded", "inserted": 250},
        {"task": "enrich_missing_addresses", "trigger": "followup", "status": "succeeded", "inserted": 250},
        {"task": "enrich_missing_cards", "trigger": "followup", "status": "succeeded", "inserted": 250},
    ]
    assert worker.rows("SELECT count(*) AS n FROM users WHERE has_address AND has_card") == [{"n": 250}]


def test_a_large_source_is_shared_out_in_chunks_that_read_each_page_once(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(95)
    worker = make_worker(USERS_PAGE_SIZE=10, CHUNK_ROWS=30)

    worker.call(Job.SYNC_USERS)

    skips = [int(query["skip"]) for _, query in source.requests if "firstName" in query.get("select", "")]
    assert sorted(skips) == list(range(0, 95, 10))
    assert worker.rows("SELECT number, status, inserted FROM run_chunks WHERE run_id = 1 ORDER BY number") == [
        {"number": number, "status": "succeeded", "inserted": inserted}
        for number, inserted in enumerate((30, 30, 30, 5))
    ]


def test_a_second_sync_changes_nothing(worker: LocalWorker, source: FakeSource, sample: Sample) -> None:
    source.respond = sample(120)
    worker.call(Job.SYNC_USERS)
    before = worker.rows("SELECT * FROM users ORDER BY id")

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT * FROM users ORDER BY id") == before
    assert worker.rows("SELECT inserted, updated, unchanged FROM runs ORDER BY id DESC LIMIT 1") == [
        {"inserted": 0, "updated": 0, "unchanged": 120}
    ]


def test_three_hopeless_users_do_not_keep_the_others_from_being_enriched(
    worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    users = sample(100)
    source.respond = users
    worker.execute("DELETE FROM users")
    worker.call(Job.SYNC_USERS)
    worker.execute("DELETE FROM addresses")
    del users.users[3]
    users.spoiled = {5: Answer(b"oops", status=500), 8: Answer(b"<html>nonsense</html>", content_type="text/html")}

    worker.call(Job.ENRICH_MISSING_ADDRESSES, 100)

    assert worker.rows("SELECT count(*) AS n FROM addresses") == [{"n": 97}]
    assert worker.rows("SELECT status, inserted, rejected, missing FROM runs ORDER BY id DESC LIMIT 1") == [
        {"status": "succeeded", "inserted": 97, "rejected": 2, "missing": 1}
    ]


def test_users_who_are_refused_do_not_block_the_others(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    users = sample(40)
    source.respond = users
    worker = make_worker()
    worker.call(Job.SYNC_USERS)
    worker.execute("DELETE FROM credit_cards")
    worker.execute("UPDATE users SET card_checks = 0, card_due_at = '1970-01-01 00:00:00.000000'")
    users.spoiled = {number: Answer({"message": "private"}, status=403) for number in range(1, 22)}

    for _ in range(2):
        with suppress(ProviderError):
            worker.call(Job.ENRICH_MISSING_CARDS, 20)

    assert worker.rows("SELECT count(*) AS n FROM users WHERE has_card") == [{"n": 19}]


def test_an_answer_of_an_unknown_shape_fails_the_run(worker: LocalWorker, source: FakeSource) -> None:
    source.answer({"people": []})

    with pytest.raises(ProviderError, match="none of the known sources"):
        worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT status, error_class FROM runs") == [{"status": "failed", "error_class": "ProviderError"}]


def test_twenty_hopeless_users_do_not_block_the_twenty_first(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    users = sample(21)
    source.respond = users
    worker = make_worker(ENRICH_BATCH_SIZE=20)
    worker.call(Job.SYNC_USERS)
    users.spoiled = {number: Answer({"message": "not found"}, status=404) for number in range(1, 21)}
    worker.execute("DELETE FROM credit_cards")
    worker.execute("UPDATE users SET card_checks = 0, card_due_at = '1970-01-01 00:00:00.000000'")

    worker.call(Job.ENRICH_MISSING_CARDS, 20)
    worker.call(Job.ENRICH_MISSING_CARDS, 20)

    assert worker.rows("SELECT external_id FROM users WHERE has_card") == [{"external_id": 21}]


def test_users_that_the_source_answers_badly_every_time_are_put_off_by_the_last_attempt(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    users = sample(3)
    source.respond = users
    worker = make_worker(CHUNK_MAX_ATTEMPTS=1)
    worker.call(Job.SYNC_USERS)
    worker.execute("DELETE FROM addresses")
    users.spoiled = {number: Answer(b"oops", status=500) for number in (1, 2, 3)}

    with pytest.raises(ProviderUnavailable):
        worker.call(Job.ENRICH_MISSING_ADDRESSES, 3)

    assert worker.rows("SELECT status, rejected FROM runs ORDER BY id DESC LIMIT 1") == [
        {"status": "failed", "rejected": 3}
    ]
    assert worker.rows("SELECT count(*) AS n FROM users WHERE address_checks = 1") == [{"n": 3}]


def test_the_last_attempt_puts_off_nobody_who_was_not_asked_for(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    users = sample(50)
    source.respond = users
    worker = make_worker(CHUNK_MAX_ATTEMPTS=1, PROVIDER_PARALLELISM=4)
    worker.call(Job.SYNC_USERS)
    worker.execute("DELETE FROM addresses")
    asked: set[str] = set()

    def break_down(path: str, query: Query) -> Answer:
        if query.get("limit") == "1":
            return users(path, query)
        asked.add(path)
        return Answer(b"oops", status=503)

    source.respond = break_down

    with pytest.raises(ProviderUnavailable):
        worker.call(Job.ENRICH_MISSING_ADDRESSES, 50)

    put_off = worker.rows("SELECT external_id FROM users WHERE address_checks = 1")
    assert {f"/users/{user['external_id']}" for user in put_off} == asked - {"/users"}
    assert worker.rows("SELECT status, rejected FROM runs ORDER BY id DESC LIMIT 1") == [
        {"status": "failed", "rejected": 4}
    ]


def test_a_failure_on_page_seven_keeps_pages_one_to_six(
    worker: LocalWorker, make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    users = sample(95)
    source.respond = lambda path, query: (
        Answer(b"<html>", content_type="text/html") if query.get("skip") == "60" else users(path, query)
    )
    worker = make_worker(USERS_PAGE_SIZE=10)

    with pytest.raises(ProviderError, match="it is HTML"):
        worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": 60}]
    assert worker.rows("SELECT status, inserted FROM runs WHERE task = 'sync_users'") == [
        {"status": "failed", "inserted": 60}
    ]


def test_a_source_that_ignores_paging_fails_the_run_and_ends(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    first = [sample(10).users[number] for number in range(1, 11)]
    source.answer({"users": first, "total": 30, "skip": 0, "limit": 10})
    worker = make_worker(USERS_PAGE_SIZE=10)

    with pytest.raises(ProviderError, match="ignores paging"):
        worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": 10}]


def test_a_source_that_never_ends_fails_the_run_and_ends(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    def endless(path: str, query: Query) -> Answer:
        skip = int(query["skip"])
        page = [sample_user(skip + number) for number in range(1, 11)]
        return Answer({"users": page, "total": skip + 20, "skip": skip, "limit": 10})

    source.respond = endless
    worker = make_worker(USERS_PAGE_SIZE=10)

    with pytest.raises(ProviderError, match="goes on past user"):
        worker.call(Job.SYNC_USERS)

    assert len(source.requests) < 20


def test_the_answers_limit_may_be_smaller_than_asked(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    users = sample(70)
    source.respond = lambda path, query: users(path, {**query, "limit": str(min(int(query["limit"]), 30))})
    worker = make_worker(USERS_PAGE_SIZE=50)

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": 70}]


def test_an_empty_source_is_understood(worker: LocalWorker, source: FakeSource) -> None:
    source.answer({"users": [], "total": 0, "skip": 0, "limit": 0})

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT status, inserted FROM runs") == [{"status": "succeeded", "inserted": 0}]


def test_rejected_records_are_named_and_counted_and_the_rest_goes_on(
    worker: LocalWorker, source: FakeSource, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    users = sample(5)
    users.users[2]["firstName"] = users.users[2]["lastName"] = None
    users.users[4]["email"] = "long" * 100
    source.respond = users

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT status, inserted, rejected FROM runs WHERE id = 1") == [
        {"status": "succeeded", "inserted": 3, "rejected": 2}
    ]
    assert "rejected one of the users: id 2: has no name" in caplog.text
    assert "rejected one of the users: id 4: email: String should have at most 255 characters" in caplog.text
    assert "longlong" not in caplog.text


def test_half_a_character_is_rejected_with_its_record_alone(
    worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    users = sample(5)
    users.users[2]["firstName"] = "half \ud83d"
    users.users[3]["address"]["city"] = "half \ud83d"
    users.users[4]["bank"]["cardType"] = "half \ud83d"
    source.respond = users

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT status, inserted, rejected FROM runs ORDER BY id") == [
        {"status": "succeeded", "inserted": 4, "rejected": 1},
        {"status": "succeeded", "inserted": 3, "rejected": 1},
        {"status": "succeeded", "inserted": 3, "rejected": 1},
    ]


@pytest.mark.parametrize("written", ["-5", " 12 ", "1_000", "+7", 13.0, "0012"], ids=repr)
def test_whoever_is_mirrored_is_enriched_however_the_source_writes_the_id(
    worker: LocalWorker, source: FakeSource, written: object
) -> None:
    unusual, usual = {**sample_user(1), "id": written}, sample_user(2)
    answers = {"/users": {"users": [unusual, usual], "total": 2}, "/users/2": usual}
    source.respond = lambda path, query: Answer(answers.get(path, unusual))

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users WHERE has_address AND has_card") == [{"n": 2}]


def test_a_chunk_that_has_used_its_time_goes_on_in_a_message_of_its_own(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(50)
    worker = make_worker(USERS_PAGE_SIZE=10, CHUNK_SECONDS="0.000001")

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users WHERE has_address AND has_card") == [{"n": 50}]
    assert worker.rows("SELECT status, inserted, unchanged FROM run_chunks WHERE run_id = 1") == [
        {"status": "succeeded", "inserted": 50, "unchanged": 0}
    ]


def test_after_too_many_requests_the_source_is_left_alone(
    make_worker: Callable[..., LocalWorker], source: FakeSource
) -> None:
    far_apart = DummyJsonLike({number: sample_user(number) for number in range(1, 2000, 200)})
    source.respond = far_apart
    worker = make_worker(USERS_PAGE_SIZE=50, PROVIDER_PARALLELISM=1)
    worker.call(Job.SYNC_USERS)
    worker.execute("DELETE FROM addresses")
    asked: list[str] = []

    def throttle(path: str, query: Query) -> Answer:
        if path == "/users":
            return far_apart(path, query)
        asked.append(path)
        return far_apart(path, query) if len(asked) < 4 else Answer(status=429, headers={"Retry-After": "120"})

    source.respond = throttle

    worker.call(Job.ENRICH_MISSING_ADDRESSES, 10)

    assert worker.rows("SELECT count(*) AS n FROM addresses") == [{"n": 3}]
    assert len(asked) == 4
    assert worker.retries[-1].seconds >= 120


def test_a_transient_fault_is_tried_again_where_the_chunk_has_stopped(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    users = sample(40)
    source.respond = lambda path, query: (
        Answer(status=503, headers={"Retry-After": "7"}) if query.get("skip") == "20" else users(path, query)
    )
    worker = make_worker(USERS_PAGE_SIZE=10)

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users") == [{"n": 20}]
    assert worker.rows("SELECT status, position, error_class FROM run_chunks") == [
        {"status": "queued", "position": 20, "error_class": "ProviderUnavailable"}
    ]
    assert worker.retries[0].seconds >= 7


def test_the_attempts_of_a_chunk_end_with_its_reason(
    make_worker: Callable[..., LocalWorker], source: FakeSource
) -> None:
    source.answer(b"", status=503)
    worker = make_worker(CHUNK_MAX_ATTEMPTS=3)
    worker.call(Job.SYNC_USERS)

    for _ in range(2):
        worker.execute("UPDATE run_chunks SET not_before = created_at")
        message = ChunkMessage(Job.SYNC_USERS, 1)
        if worker.rows("SELECT attempt FROM run_chunks") == [{"attempt": 2}]:
            with pytest.raises(ProviderUnavailable):
                worker.perform(message)
        else:
            worker.perform(message)

    (run,) = worker.rows("SELECT status, error_class, error_message FROM runs")
    assert (run["status"], run["error_class"]) == ("failed", "ProviderUnavailable")
    assert "answered 503" in run["error_message"]


def test_workers_that_die_of_a_chunk_fail_it_in_the_end(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(1)
    worker = make_worker(CHUNK_MAX_ATTEMPTS=2)
    message_id = "first"
    chunk_id = runs.receive(worker.context, Job.SYNC_USERS, message_id, None)
    assert chunk_id is not None
    for _ in range(2):
        with worker.context.database.transaction() as connection:
            assert chunk_queries.claim(connection, chunk_id, message_id, 60)

    with pytest.raises(Abandoned):
        worker.perform(ChunkMessage(Job.SYNC_USERS, chunk_id), message_id)

    assert worker.rows("SELECT status, error_class FROM runs") == [{"status": "failed", "error_class": "Abandoned"}]


def test_a_worker_whose_lease_was_taken_over_writes_nothing_more(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    users = sample(30)
    worker = make_worker(USERS_PAGE_SIZE=10)

    def take_over_before_the_second_page(path: str, query: Query) -> Answer:
        if query.get("skip") == "10":
            worker.execute("UPDATE run_chunks SET lease_token = 'of another worker'")
        return users(path, query)

    source.respond = take_over_before_the_second_page

    worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT count(*) AS n FROM users")[0]["n"] <= 10
    assert worker.rows("SELECT status, lease_token FROM run_chunks") == [
        {"status": "running", "lease_token": "of another worker"}
    ]


class TakenOver:
    """A source at which another worker, to whom the same message came again, overtakes the first that asks."""

    def __init__(self, worker: LocalWorker, users: DummyJsonLike) -> None:
        self._worker, self._users = worker, users
        self._is_taken_over = False
        chunk_id = runs.receive(worker.context, Job.SYNC_USERS, "the message", None)
        assert chunk_id is not None
        self.message = ChunkMessage(Job.SYNC_USERS, chunk_id)

    def __call__(self, path: str, query: Query) -> Answer:
        answer = self._users(path, query)
        if not self._is_taken_over:
            self._is_taken_over = True
            self._worker.perform(self.message, "the message")
        return answer


def test_a_worker_that_comes_second_with_a_page_gives_way_without_a_failure(
    make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    worker = make_worker(USERS_PAGE_SIZE=10, CHUNK_ROWS=10)
    source.respond = taken_over = TakenOver(worker, sample(30))

    worker.perform(taken_over.message, "the message")
    worker.work_off()

    assert "was taken over by another worker" in caplog.text
    assert worker.retries == []
    assert worker.rows("SELECT status, inserted, unchanged FROM runs WHERE task = 'sync_users'") == [
        {"status": "succeeded", "inserted": 30, "unchanged": 0}
    ]


@pytest.mark.parametrize("error", [ProviderUnavailable("it answered 503"), ProviderError("it is HTML")], ids=repr)
def test_a_worker_that_lost_its_lease_leaves_the_chunk_to_the_one_that_has_it(
    worker: LocalWorker, error: ProviderError
) -> None:
    chunk_id = runs.receive(worker.context, Job.SYNC_USERS, "the message", None)
    assert chunk_id is not None

    def fails_after_the_message_came_again(context: Context, claim: Claim) -> Iterator[Step]:
        with context.database.transaction() as connection:
            assert chunk_queries.claim(connection, chunk_id, "the message", 60)
        yield from ()
        raise error

    # No retry either: it would come with the same message, and so take the chunk over again.
    assert perform(worker.context, chunk_id, "the message", fails_after_the_message_came_again) is None
    assert worker.rows("SELECT status, attempt, error_class FROM run_chunks") == [
        {"status": "running", "attempt": 2, "error_class": None}
    ]


def test_a_worker_that_lost_its_lease_as_its_time_was_over_publishes_nothing(
    make_worker: Callable[..., LocalWorker],
) -> None:
    worker = make_worker(CHUNK_SECONDS="0.000001")
    chunk_id = runs.receive(worker.context, Job.SYNC_USERS, "the message", None)
    assert chunk_id is not None
    published: list[int] = []

    def take_over(message: ChunkMessage) -> None:
        published.append(message.chunk_id)
        with worker.context.database.transaction() as connection:
            assert chunk_queries.claim(connection, chunk_id, "the message", 60)

    worker.context = replace(worker.context, publish=take_over)

    assert perform(worker.context, chunk_id, "the message", lambda *_: iter([Step(0, shares=[{}, {}])])) is None

    assert len(published) == 1
    assert chunk_id not in published


def test_the_reaper_publishes_what_was_abandoned_or_never_received(
    worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(5)
    chunk_id = runs.receive(worker.context, Job.SYNC_USERS, "lost", None)
    assert runs.reap(worker.context) == 0
    worker.execute("UPDATE run_chunks SET expected_by = '2000-01-01 00:00:00.000000'")
    assert runs.reap(worker.context) == 1
    assert runs.reap(worker.context) == 0
    with worker.context.database.transaction() as connection:
        chunk_queries.claim(connection, chunk_id or 0, "dead", 60)
    worker.execute("UPDATE run_chunks SET lease_until = '2000-01-01 00:00:00.000000'")
    assert runs.reap(worker.context) == 1

    worker.work_off()

    assert worker.rows("SELECT status FROM runs WHERE task = 'sync_users'") == [{"status": "succeeded"}]


def test_the_reaper_ends_a_run_whose_worker_died_after_its_last_chunk(
    worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(5)
    runs.receive(worker.context, Job.SYNC_USERS, "lost", None)
    worker.execute("UPDATE run_chunks SET status = 'succeeded', inserted = 5")

    runs.reap(worker.context)

    assert worker.rows("SELECT status, inserted FROM runs WHERE task = 'sync_users'") == [
        {"status": "succeeded", "inserted": 5}
    ]
    assert [message.job for message in worker.queue] == [Job.ENRICH_MISSING_ADDRESSES, Job.ENRICH_MISSING_CARDS]


def test_a_second_request_is_skipped_and_names_the_open_run(worker: LocalWorker) -> None:
    runs.receive(worker.context, Job.SYNC_USERS, "first", None)

    assert runs.receive(worker.context, Job.SYNC_USERS, "second", None) is None
    assert runs.receive(worker.context, Job.SYNC_USERS, "second", None) is None

    assert worker.rows("SELECT status, blocked_by, error_message FROM runs ORDER BY id") == [
        {"status": "queued", "blocked_by": None, "error_message": None},
        {"status": "skipped", "blocked_by": 1, "error_message": "run 1 of sync_users is open"},
    ]


def test_a_followup_that_was_skipped_is_made_up_for(worker: LocalWorker, source: FakeSource, sample: Sample) -> None:
    source.respond = sample(50)
    tick = datetime(2026, 11, 23, tzinfo=UTC)
    runs.start_tick(worker.context, Job.ENRICH_MISSING_ADDRESSES, tick)
    (enrichment,) = worker.queue
    worker.queue.clear()
    runs.start_tick(worker.context, Job.SYNC_USERS, tick)

    worker.work_off()
    assert worker.rows("SELECT count(*) AS n FROM addresses") == [{"n": 0}]
    worker.perform(enrichment)
    worker.work_off()

    assert worker.rows("SELECT count(*) AS n FROM addresses") == [{"n": 50}]


def test_old_runs_are_pruned_but_for_the_last_success(worker: LocalWorker, source: FakeSource, sample: Sample) -> None:
    source.respond = sample(1)
    for _ in range(3):
        worker.call(Job.SYNC_USERS)
    worker.execute("UPDATE runs SET finished_at = '2000-01-01 00:00:00.000000'")

    runs.prune(worker.context)

    kept = worker.rows("SELECT task FROM runs ORDER BY task")
    assert [row["task"] for row in kept] == ["enrich_missing_addresses", "enrich_missing_cards", "sync_users"]


def refuse(_: ChunkMessage) -> None:
    """Publishing while the broker is away."""
    raise BrokerUnavailable("away")


def test_a_broker_that_is_away_when_a_run_starts_costs_a_delay(
    worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(3)
    away = replace(worker.context, publish=refuse)
    runs.start_tick(away, Job.SYNC_USERS, datetime(2026, 11, 23, tzinfo=UTC))
    worker.execute("UPDATE run_chunks SET expected_by = '2000-01-01 00:00:00.000000'")

    runs.reap(worker.context)
    worker.work_off()

    assert worker.rows("SELECT count(*) AS n FROM users WHERE has_address AND has_card") == [{"n": 3}]


def test_what_a_broker_has_not_taken_is_published_soon_after_it_is_back_however_long_it_was_away(
    worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(3)
    away = replace(worker.context, publish=refuse)
    runs.start_tick(away, Job.SYNC_USERS, datetime(2026, 11, 23, tzinfo=UTC))
    for _ in range(10):
        worker.execute("UPDATE run_chunks SET expected_by = '2000-01-01 00:00:00.000000'")
        runs.reap(away)

    with worker.context.database.reading() as connection:
        soon = RunChunk.expected_by < clock.now_plus(10)
        assert connection.execute(select(RunChunk.publications, soon)).all() == [(0, True)]


class LosesACommit(Database):
    """Goes away once, as it is to commit the end of a run."""

    is_lost = False

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with super().transaction() as connection:
            yield connection
            ended = connection.execute(text("SELECT count(*) FROM runs WHERE finished_at IS NOT NULL")).scalar_one()
            if ended and not self.is_lost:
                self.is_lost = True
                raise OperationalError("COMMIT", {}, ConnectionError("the server closed the connection"))


def test_a_run_whose_end_could_not_be_committed_is_counted_once(
    worker: LocalWorker, source: FakeSource, sample: Sample, database_url: str
) -> None:
    source.respond = sample(3)
    worker.context = replace(worker.context, database=LosesACommit(database_url))
    worker.call(Job.SYNC_USERS)
    assert len(worker.retries) == 1
    worker.execute("UPDATE run_chunks SET not_before = '2000-01-01 00:00:00.000000'")

    worker.perform(ChunkMessage(Job.SYNC_USERS, 1))

    assert worker.rows("SELECT status FROM runs WHERE task = 'sync_users'") == [{"status": "succeeded"}]
    counted = {"task": "sync_users", "status": "succeeded"}
    assert worker.metrics.registry.get_sample_value("synergyway_runs_total", counted) == 1
    worker.context.database.dispose()
