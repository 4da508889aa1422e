"""What the three jobs do, from a source to the tables."""

from collections.abc import Callable

import pytest

from app.errors import ProviderError
from app.records import Job
from tests.conftest import LocalWorker
from tests.fake_source import Answer, DummyJsonLike, FakeSource

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


def test_an_answer_of_an_unknown_shape_fails_the_run(worker: LocalWorker, source: FakeSource) -> None:
    source.answer({"people": []})

    with pytest.raises(ProviderError, match="none of the known sources"):
        worker.call(Job.SYNC_USERS)

    assert worker.rows("SELECT status, error_class FROM runs") == [{"status": "failed", "error_class": "ProviderError"}]
