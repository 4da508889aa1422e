"""How things stand: what the page's tiles say of each job, and of what failed last."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.page_words import ago, ahead, took
from app.errors import ProviderError
from app.records import AddressRecord, CardRecord, Job, UserRecord
from tests.conftest import LocalWorker, Mirror
from tests.fake_source import DummyJsonLike, FakeSource
from tests.pages import Page, open_page

Client = Callable[..., TestClient]
Sample = Callable[[int], DummyJsonLike]

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def tile(page: Page, job: Job) -> str:
    return page.text_of(f"tile-{job}")


def test_before_the_first_run_each_tile_says_when_it_comes(client: TestClient) -> None:
    page = open_page(client)

    for job in Job:
        assert "Not run yet" in tile(page, job)
        assert "It starts by itself as soon as beat runs." in tile(page, job)
        assert "Next in" in tile(page, job)
    assert "No run has failed in the last 30 days." in page.text_of("failure")


def test_after_a_sync_the_tiles_say_how_fresh_and_how_complete_the_data_are(
    client: TestClient, synced: LocalWorker
) -> None:
    page = open_page(client)

    assert "Up to date" in tile(page, Job.SYNC_USERS)
    assert "3 users" in tile(page, Job.SYNC_USERS)
    assert "As of just now" in tile(page, Job.SYNC_USERS)
    for job in (Job.ENRICH_MISSING_ADDRESSES, Job.ENRICH_MISSING_CARDS):
        assert "Complete" in tile(page, job)
        assert "Last success just now" in tile(page, job)


def test_what_users_lack_is_counted(client: TestClient, mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "One"), UserRecord(2, "Two"), address=AddressRecord(city="Lyon"))
    mirror.add(UserRecord(3, "Three"), card=CardRecord("1234"))

    page = open_page(client)

    assert "1 user lacks an address" in tile(page, Job.ENRICH_MISSING_ADDRESSES)
    assert "2 users lack a card" in tile(page, Job.ENRICH_MISSING_CARDS)


def test_users_that_left_are_counted_and_can_be_listed(client: TestClient, mirror: Mirror) -> None:
    ids = mirror.add(UserRecord(1, "One"), UserRecord(2, "Two"))
    mirror.execute(f"UPDATE users SET removed_at = updated_at WHERE id = {ids[1]}")

    page = open_page(client)

    address = page.link("1 left the source")
    assert address is not None
    assert open_page(client, address).ids() == [ids[1]]


def test_an_open_run_shows_its_progress(client: TestClient, synced: LocalWorker) -> None:
    open_run(synced, done=200, total=1000)

    page = open_page(client)

    assert "Running" in tile(page, Job.SYNC_USERS)
    assert "Run 90: 200 of 1,000 users" in tile(page, Job.SYNC_USERS)
    [bar] = page.all("progress")
    assert (bar["value"], bar["max"]) == ("200", "1000")
    assert bar["aria-label"] == "Users: progress of run 90"


def test_a_run_that_no_worker_holds_is_shown_as_stalled(client: TestClient, synced: LocalWorker) -> None:
    open_run(synced, done=200, total=1000, lease_seconds=-5)

    text = tile(open_page(client), Job.SYNC_USERS)

    assert "Stalled" in text
    assert "No worker has it in hand. See whether a worker runs and reaches the broker" in text


def test_a_job_whose_ticks_pass_unused_is_late(open_client: Client, synced: LocalWorker) -> None:
    synced.execute("UPDATE runs SET finished_at = '2026-01-01 00:00:00.000000' WHERE task = 'sync_users'")

    text = tile(open_page(open_client()), Job.SYNC_USERS)

    assert "Late" in text
    assert "See whether beat and a worker run." in text


def test_a_tick_that_has_just_come_makes_nothing_late(open_client: Client, synced: LocalWorker) -> None:
    page = open_page(open_client(USERS_SCHEDULE_CRON="* * * * *"))

    assert "Up to date" in tile(page, Job.SYNC_USERS)


def test_the_last_failure_is_told_with_its_reason_and_what_to_do(
    client: TestClient, worker: LocalWorker, source: FakeSource
) -> None:
    source.answer(b"<html>down</html>", content_type="text/html")
    fail(worker, Job.SYNC_USERS)

    page = open_page(client)

    assert "Failed" in tile(page, Job.SYNC_USERS)
    text = page.text_of("failure")
    assert "Last failure: Users, just now" in text
    assert "ProviderError: " in text
    assert "is not JSON" in text
    assert "What to do: The source answered with something that is not understood." in text
    assert "USERS_API_URL" in text
    assert page.link("See run 1") == "/users/ui/runs/1"
    assert "The last sync has failed" in page.text("main")


def test_a_failure_that_is_over_asks_for_nothing(
    client: TestClient, worker: LocalWorker, source: FakeSource, sample: Sample
) -> None:
    source.answer(b"{}", status=403)
    fail(worker, Job.SYNC_USERS)
    source.respond = sample(3)
    worker.call(Job.SYNC_USERS)

    text = open_page(client).text_of("failure")

    assert "Last failure: Users" in text
    assert "Nothing to do: run 2 has succeeded since" in text
    assert "What to do" not in text


@pytest.mark.parametrize("token", [None, "a-token-for-the-tests-alone"])
def test_runs_can_be_started_from_the_page_only_when_there_is_a_token_to_know(
    open_client: Client, token: str | None
) -> None:
    page = open_page(open_client(**({"API_TOKEN": token} if token else {})))

    started = [found["data-start"] for found in page.all("button") if "data-start" in found]
    assert started == (list(Job) if token else [])
    assert not token or token not in page.html
    assert ("Runs can be started from here when API_TOKEN is set" in page.text()) == (token is None)


def test_the_tiles_are_asked_for_by_themselves(client: TestClient, synced: LocalWorker) -> None:
    response = client.get("/users/ui/status", headers={"HX-Request": "true", "HX-Target": "section#status"})

    part = Page(response.text)
    assert part.elements[0][1]["id"] == "status"
    assert part.all("table") == part.all("header", **{"class": "bar"}) == []
    assert "HX-Request" in response.headers["Vary"]
    # A person who opens the address finds the page.
    assert client.get("/users/ui/status").url.path == "/users/ui"
    assert client.get("/users/ui/latest").url.path == "/users/ui/runs"


def test_the_tiles_change_their_version_with_the_runs_alone(client: TestClient, synced: LocalWorker) -> None:
    def version() -> Any:
        [status] = open_page(client).all("section", id="status")
        return status["data-version"]

    first = version()
    assert version() == first
    open_run(synced, done=200, total=1000)
    second = version()
    assert second != first


@pytest.mark.parametrize(
    ("seconds", "past", "future"),
    [
        (0, "just now", "now"),
        (4, "just now", "now"),
        (5, "5 s ago", "in 5 s"),
        (59, "55 s ago", "in 55 s"),
        (60, "1 min ago", "in 1 min"),
        (3_599, "59 min ago", "in 59 min"),
        (3_600, "1 h ago", "in 1 h"),
        (172_799, "47 h ago", "in 47 h"),
        (172_800, "2 days ago", "in 2 days"),
    ],
)
def test_times_are_said_as_a_person_would(seconds: int, past: str, future: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == past
    assert ahead(NOW + timedelta(seconds=seconds), NOW) == future


def test_clocks_that_differ_make_no_nonsense() -> None:
    assert ago(NOW + timedelta(seconds=90), NOW) == "just now"
    assert ahead(NOW - timedelta(seconds=90), NOW) == "now"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (9.96, "10 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")],
)
def test_spans_are_said_as_a_person_would(seconds: float, said: str) -> None:
    assert took(seconds) == said


def open_run(worker: LocalWorker, *, done: int, total: int, lease_seconds: int = 60) -> None:
    """A sync that is under way, in one chunk."""
    started = datetime.now(UTC)
    now = f"'{started:%Y-%m-%d %H:%M:%S}.000000'"
    lease = f"'{started + timedelta(seconds=lease_seconds):%Y-%m-%d %H:%M:%S}.000000'"
    worker.execute(
        "INSERT INTO runs (id, task, trigger, status, created_at, started_at) "
        f"VALUES (90, 'sync_users', 'beat', 'running', {now}, {now})"
    )
    # The colon is escaped, or SQLAlchemy would look for a parameter.
    work = f'{{"total"\\:{total}}}'
    worker.execute(
        "INSERT INTO run_chunks (run_id, number, work, status, created_at, started_at, not_before, expected_by, "
        "lease_until, attempt, unchanged) "
        f"VALUES (90, 0, '{work}', 'running', {now}, {now}, {now}, {now}, {lease}, 1, {done})"
    )


def fail(worker: LocalWorker, job: Job) -> None:
    """The run ends in an error, as that of a real worker does."""
    with pytest.raises(ProviderError):
        worker.call(job)
