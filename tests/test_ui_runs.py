"""Runs on the page: the list of them, and each by itself."""

from collections.abc import Callable
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from app.records import Job
from tests.conftest import LocalWorker
from tests.fake_source import DummyJsonLike, FakeSource
from tests.pages import open_page
from tests.test_ui_status import fail, open_run

Sample = Callable[[int], DummyJsonLike]


def test_without_runs_the_page_says_when_they_come(client: TestClient) -> None:
    assert "No run yet" in open_page(client, "/users/ui/runs").text("main")


def test_runs_are_listed_with_what_became_of_them(client: TestClient, synced: LocalWorker) -> None:
    page = open_page(client, "/users/ui/runs")

    assert page.ids() == [3, 2, 1]
    text = page.text("tbody")
    assert "sync_users succeeded a shell" in text
    assert "3 new" in text
    assert "new users" in text


def test_a_failed_run_says_why_and_what_to_do(client: TestClient, worker: LocalWorker, source: FakeSource) -> None:
    source.answer(b"{}", status=403)
    fail(worker, Job.SYNC_USERS)

    assert "403" in open_page(client, "/users/ui/runs").text("tbody")
    text = open_page(client, "/users/ui/runs/1").text("main")

    assert "Why it failed ProviderRefused: " in text
    assert "What to do: The source refused the request. Check the address in USERS_API_URL" in text
    assert "what was written until then stays" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [3, 2, 1]),
        ("?task=&status=", [3, 2, 1]),
        ("?task=sync_users", [1]),
        ("?status=succeeded", [3, 2, 1]),
        ("?task=enrich_missing_cards&status=succeeded", [3]),
        ("?status=failed", []),
    ],
)
def test_runs_are_chosen_by_task_and_status(
    client: TestClient, synced: LocalWorker, query: str, found: list[int]
) -> None:
    page = open_page(client, f"/users/ui/runs{query}")

    assert page.ids() == found
    assert found or page.link("Show all runs") == "/users/ui/runs"


def test_the_links_lead_through_all_runs(client: TestClient, synced: LocalWorker) -> None:
    pages = []
    address: str | None = "/users/ui/runs?limit=2"
    while address is not None:
        page = open_page(client, urljoin("/users/ui/runs", address))
        pages.append(page.ids())
        address = page.link("Older runs")
    newest = page.link("Newest runs")

    assert pages == [[3, 2], [1]]
    assert newest == "/users/ui/runs?limit=2"


def test_a_run_shows_its_course_and_its_parts(
    client: TestClient, make_worker: Callable[..., LocalWorker], source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(40)
    make_worker(USERS_PAGE_SIZE=10, CHUNK_ROWS=10).call(Job.SYNC_USERS)

    page = open_page(client, "/users/ui/runs/1")

    text = page.text("main")
    assert "Users: run 1" in text
    assert "It has done all there was to do." in text
    assert "new40" in text
    assert [str(found["id"]) for found in page.all("tr") if "id" in found] == [f"chunk-{n}" for n in range(4)]
    assert page.link("/runs/1") == "/runs/1"


def test_an_open_run_keeps_asking_for_itself_and_an_ended_one_does_not(client: TestClient, synced: LocalWorker) -> None:
    open_run(synced, done=10, total=100)

    [under_way] = open_page(client, "/users/ui/runs/90").all("article", id="run")
    [ended] = open_page(client, "/users/ui/runs/1").all("article", id="run")

    assert under_way["hx-get"] == "/users/ui/runs/90"
    assert "hx-get" not in ended


def test_a_skipped_run_names_the_one_in_its_way(client: TestClient, synced: LocalWorker) -> None:
    open_run(synced, done=10, total=100)
    synced.call(Job.SYNC_USERS)

    [skipped] = synced.rows("SELECT id FROM runs WHERE status = 'skipped'")

    page = open_page(client, f"/users/ui/runs/{skipped['id']}")

    assert "Why it did not start Skipped: run 90 of sync_users is open" in page.text("main")
    assert page.link("See run 90") == "/users/ui/runs/90"


def test_the_latest_runs_stand_beside_the_users(client: TestClient, synced: LocalWorker) -> None:
    page = open_page(client)

    assert page.link("Users 1") == "/users/ui/runs/1"
    assert page.link("All runs") == "/users/ui/runs"
