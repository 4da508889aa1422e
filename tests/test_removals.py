"""Users that the source no longer has: marked by a sync that can tell, and unmarked when they are back."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from app.errors import ProviderError
from app.queries import chunks as chunk_queries
from app.records import ChunkMessage, Job, UserRecord
from app.sample_provider import user as sample_user
from app.services import runs
from tests.conftest import PAYLOADS, LocalWorker, Mirror
from tests.fake_source import Answer, DummyJsonLike, FakeSource, Query

Sample = Callable[[int], DummyJsonLike]
Worker = Callable[..., LocalWorker]


@pytest.fixture
def users(source: FakeSource, sample: Sample) -> DummyJsonLike:
    """A source of 40 users."""
    users = sample(40)
    source.respond = users
    return users


@pytest.fixture
def synced(make_worker: Worker, users: DummyJsonLike) -> LocalWorker:
    """A worker that has mirrored the 40 users, 10 a page and 20 a chunk."""
    worker = make_worker(USERS_PAGE_SIZE=10, CHUNK_ROWS=20)
    worker.call(Job.SYNC_USERS)
    return worker


def removed(worker: LocalWorker) -> list[int]:
    """The external ids of the users that are marked."""
    rows = worker.rows("SELECT external_id FROM users WHERE removed_at IS NOT NULL ORDER BY external_id")
    return [row["external_id"] for row in rows]


def last_sync(worker: LocalWorker) -> dict[str, Any]:
    [run] = worker.rows("SELECT * FROM runs WHERE task = 'sync_users' ORDER BY id DESC LIMIT 1")
    return dict(run)


def note(worker: LocalWorker) -> str:
    """Why the last sync, which succeeded, has marked nobody."""
    run = last_sync(worker)
    assert (run["status"], run["removed"]) == ("succeeded", 0)
    return str(run["note"])


def without(users: DummyJsonLike, *gone: int) -> None:
    for number in gone:
        del users.users[number]


def test_a_complete_sync_marks_who_is_gone_and_keeps_their_rows(synced: LocalWorker, users: DummyJsonLike) -> None:
    without(users, 3, 17, 40)

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == [3, 17, 40]
    run = last_sync(synced)
    assert (run["status"], run["removed"], run["unchanged"], run["note"]) == ("succeeded", 3, 37, None)
    assert synced.rows("SELECT count(*) AS n FROM users WHERE has_address AND has_card") == [{"n": 40}]
    assert synced.rows("SELECT count(*) AS n FROM users WHERE removed_at = updated_at") == [{"n": 3}]


def test_who_stays_away_is_not_marked_anew(synced: LocalWorker, users: DummyJsonLike) -> None:
    without(users, 3)
    synced.call(Job.SYNC_USERS)
    before = synced.rows("SELECT * FROM users ORDER BY id")

    synced.call(Job.SYNC_USERS)

    assert synced.rows("SELECT * FROM users ORDER BY id") == before
    assert last_sync(synced)["removed"] == 0


def test_who_comes_back_is_no_longer_marked(synced: LocalWorker, users: DummyJsonLike) -> None:
    back = users.users[3]
    without(users, 3, 4)
    synced.call(Job.SYNC_USERS)
    users.users[3] = back

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == [4]
    run = last_sync(synced)
    assert (run["inserted"], run["updated"], run["unchanged"]) == (0, 1, 38)


def test_what_a_sync_has_seen_is_forgotten_with_its_end(
    synced: LocalWorker, users: DummyJsonLike, source: FakeSource
) -> None:
    assert synced.rows("SELECT * FROM seen_pages") == []
    source.respond = lambda path, query: (
        Answer(b"no", status=400) if query.get("skip") == "30" else users(path, query)
    )
    with pytest.raises(ProviderError):
        synced.call(Job.SYNC_USERS)

    assert last_sync(synced)["status"] == "failed"
    assert synced.rows("SELECT * FROM seen_pages") == []


def test_the_single_answer_of_a_source_without_pages_tells_too(worker: LocalWorker, source: FakeSource) -> None:
    everybody = json.loads((PAYLOADS / "jsonplaceholder-users.json").read_text())
    source.answer(everybody)
    with suppress(ProviderError):  # it has no cards
        worker.call(Job.SYNC_USERS)
    source.answer(everybody[1:])

    worker.call(Job.SYNC_USERS)

    assert removed(worker) == [1]


def test_rejected_records_are_still_there(synced: LocalWorker, users: DummyJsonLike) -> None:
    users.users[5]["firstName"] = users.users[5]["lastName"] = None
    users.users[6]["id"] = "6"
    users.users[6]["email"] = "long" * 100
    without(users, 7)

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == [7]
    assert last_sync(synced)["rejected"] == 2


def test_users_that_left_are_not_looked_up(synced: LocalWorker, users: DummyJsonLike, source: FakeSource) -> None:
    without(users, 3)
    synced.call(Job.SYNC_USERS)
    synced.execute("DELETE FROM addresses")
    source.requests.clear()

    synced.call(Job.ENRICH_MISSING_ADDRESSES, 100)

    assert synced.rows("SELECT count(*) AS n FROM users WHERE has_address") == [{"n": 39}]
    assert synced.rows("SELECT missing FROM runs ORDER BY id DESC LIMIT 1") == [{"missing": 0}]
    assert "/users/3" not in [path for path, _ in source.requests]


# A sync that cannot tell marks nobody


def test_a_sync_that_failed_marks_nobody(synced: LocalWorker, users: DummyJsonLike, source: FakeSource) -> None:
    without(users, 1)
    source.respond = lambda path, query: (
        Answer(b"no", status=400) if query.get("skip") == "30" else users(path, query)
    )

    with pytest.raises(ProviderError):
        synced.call(Job.SYNC_USERS)

    assert removed(synced) == []


def test_an_empty_answer_removes_nobody(
    synced: LocalWorker, source: FakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    source.answer({"users": [], "total": 0, "skip": 0, "limit": 0})

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == []
    assert note(synced) == "40 users were not seen and are not marked as removed: the source gave no user at all"
    assert "the source gave no user at all" in caplog.text


def test_most_of_them_may_leave(synced: LocalWorker, users: DummyJsonLike) -> None:
    without(users, *range(2, 41))

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == list(range(2, 41))


def test_a_source_that_shrinks_while_it_is_read_removes_nobody_yet(
    synced: LocalWorker, users: DummyJsonLike, source: FakeSource
) -> None:
    def shrink_after_the_first_page(path: str, query: Query) -> Answer:
        answer = users(path, query)
        if query.get("skip") == "0":
            users.users.pop(2, None)
        return answer

    # User 11 moves to the place of user 10, which was read already: nobody sees them.
    source.respond = shrink_after_the_first_page

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == []
    assert "it changed while it was read, and the next sync looks again" in note(synced)
    synced.call(Job.SYNC_USERS)
    assert removed(synced) == [2]


def test_a_source_that_grows_and_shrinks_while_it_is_read_removes_nobody_yet(
    synced: LocalWorker, users: DummyJsonLike, source: FakeSource
) -> None:
    def move_after_the_second_page(path: str, query: Query) -> Answer:
        answer = users(path, query)
        if query.get("skip") == "10":
            users.users[41] = sample_user(41)
        if query.get("skip") == "20":
            users.users.pop(2, None)
        return answer

    source.respond = move_after_the_second_page

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == []


@pytest.mark.parametrize(
    ("total", "reason"),
    [
        (100, "the source said that it has 100 users and gave 38"),
        (15, "the source said that it has 15 users and gave 38"),
        (None, "the source does not say how many users it has"),
    ],
)
def test_a_total_that_cannot_be_right_removes_nobody(
    synced: LocalWorker, users: DummyJsonLike, source: FakeSource, total: int | None, reason: str
) -> None:
    without(users, 3, 40)

    def lie(path: str, query: Query) -> Answer:
        answer = users(path, query)
        if isinstance(answer.body, dict) and "total" in answer.body:
            answer.body["total"] = total
        return answer

    source.respond = lie

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == []
    assert reason in note(synced)


@pytest.mark.parametrize("external_id", [None, "x", 2**63, True, 6.5])
def test_a_record_that_might_be_anybody_removes_nobody(
    synced: LocalWorker, users: DummyJsonLike, external_id: Any
) -> None:
    users.users[6]["id"] = external_id
    without(users, 7)

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == []
    assert "1 of the records that were read have no id that could be read" in note(synced)


def test_pages_that_an_older_worker_read_leave_the_run_in_doubt(
    make_worker: Worker, synced: LocalWorker, users: DummyJsonLike, source: FakeSource
) -> None:
    def forget_the_first_page(path: str, query: Query) -> Answer:
        if query.get("skip") == "20":
            synced.execute("DELETE FROM seen_pages")  # which a worker of the version before does not write
        return users(path, query)

    source.respond = forget_the_first_page

    synced.call(Job.SYNC_USERS)

    assert removed(synced) == []


# Workers that die and chunks that are taken over


def test_pages_of_a_worker_that_died_count_when_another_goes_on(
    make_worker: Worker, synced: LocalWorker, users: DummyJsonLike, source: FakeSource
) -> None:
    without(users, 3, 33)
    # Stops after each page, and each part is taken up by a message of its own.
    hasty = make_worker(USERS_PAGE_SIZE=10, CHUNK_ROWS=20, CHUNK_SECONDS="0.000001")
    chunk_id = runs.receive(hasty.context, Job.SYNC_USERS, "first", None)
    assert chunk_id is not None
    hasty.perform(ChunkMessage(Job.SYNC_USERS, chunk_id), "first")
    with hasty.context.database.transaction() as connection:
        assert chunk_queries.claim(connection, chunk_id, "of a worker that dies now", 60)
    hasty.execute("UPDATE run_chunks SET lease_until = '2000-01-01 00:00:00.000000' WHERE status = 'running'")

    runs.reap(hasty.context)
    hasty.work_off()

    assert removed(hasty) == [3, 33]


def test_a_page_of_a_worker_that_lost_its_lease_does_not_count(
    make_worker: Worker, users: DummyJsonLike, source: FakeSource
) -> None:
    def take_over_before_the_second_page(path: str, query: Query) -> Answer:
        if query.get("skip") == "10":
            worker.execute("UPDATE run_chunks SET lease_token = 'of another worker'")
        return users(path, query)

    source.respond = take_over_before_the_second_page
    worker = make_worker(USERS_PAGE_SIZE=10)

    worker.call(Job.SYNC_USERS)

    # The first page may have been written before or after.
    positions = [row["position"] for row in worker.rows("SELECT position FROM seen_pages")]
    assert positions == [row["position"] for row in worker.rows("SELECT position FROM run_chunks WHERE position > 0")]
    assert len(positions) <= 1


def test_a_run_that_the_reaper_ends_marks_too(synced: LocalWorker, users: DummyJsonLike) -> None:
    without(users, 3)
    runs.receive(synced.context, Job.SYNC_USERS, "lost", None)
    chunk_id = last_chunk(synced)
    with synced.context.database.transaction() as connection:
        claim = chunk_queries.claim(connection, chunk_id, "lost", 60)
    assert claim is not None
    synced.execute(f"UPDATE run_chunks SET status = 'succeeded', unchanged = 39 WHERE id = {chunk_id}")
    seen = [number for number in range(1, 41) if number != 3]
    array = (
        f"'{{{','.join(map(str, seen))}}}'"
        if synced.context.database.engine.dialect.name == "postgresql"
        else f"'{seen}'"
    )
    synced.execute(
        "INSERT INTO seen_pages (chunk_id, position, external_ids, records, total) "
        f"VALUES ({chunk_id}, 39, {array}, 39, 39)"
    )

    runs.reap(synced.context)

    assert removed(synced) == [3]
    assert last_sync(synced)["status"] == "succeeded"


def last_chunk(worker: LocalWorker) -> int:
    return int(worker.rows("SELECT max(id) AS id FROM run_chunks")[0]["id"])


def test_users_whom_nobody_ever_saw_are_marked_as_well(
    worker: LocalWorker, source: FakeSource, sample: Sample, mirror: Mirror
) -> None:
    mirror.add(UserRecord(900, "Old"))
    source.respond = sample(30)

    worker.call(Job.SYNC_USERS)

    assert removed(worker) == [900]
