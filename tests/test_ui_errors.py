"""What the page says when something is wrong, and the parts of it that its script asks for."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.records import AddressRecord, UserRecord
from tests.conftest import LocalWorker, Mirror
from tests.pages import Page, only_our_own, open_page

Client = Callable[..., TestClient]

TOKEN = "a-token-for-the-tests-alone"
PATHS = ("/users/ui", "/users/ui/1", "/users/ui/runs", "/users/ui/runs/1")


def asked_by_script(client: TestClient, path: str, target: str, **headers: str) -> Any:
    return client.get(path, headers={"HX-Request": "true", "HX-Target": target, **headers})


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def without_database(open_client: Client, closed_port: int) -> TestClient:
    return open_client(DATABASE_URL=f"postgresql://somebody:geheim@127.0.0.1:{closed_port}/anything")


# A database out of reach


@pytest.mark.parametrize("path", PATHS)
def test_a_database_out_of_reach_is_a_page_that_says_what_to_do(without_database: TestClient, path: str) -> None:
    response = without_database.get(path)

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(response.text)
    assert "The database is out of reach" in page.text("h1")
    assert "see whether the database runs" in page.text("main")
    assert page.link("Try again now") == path
    assert "geheim" not in response.text
    assert "somebody" not in response.text


def test_a_search_that_finds_no_database_leaves_room_for_the_next_one(without_database: TestClient) -> None:
    response = asked_by_script(without_database, "/users/ui?q=x", "div#results")

    assert response.status_code == 503
    [problem] = Page(response.text).all("section")
    assert problem["id"] == "results"
    assert problem["hx-get"] == "/users/ui?q=x"
    assert problem["hx-trigger"] == "every 5s"


# Addresses that are wrong


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/users/ui?limit=0", 422, "limit: Input should be greater than or equal to 1."),
        ("/users/ui?limit=many", 422, "limit: "),
        ("/users/ui?after=-1", 422, "after: "),
        (f"/users/ui?after={2**63}", 422, "after: "),
        ("/users/ui?has_card=perhaps", 422, "has_card: "),
        ("/users/ui?removed=perhaps", 422, "removed: "),
        ("/users/ui?q=%00", 422, "q: has a NUL character."),
        ("/users/ui?q=%ff", 422, "q: is not valid UTF-8."),
        ("/users/ui/runs?status=perhaps", 422, "status: "),
        ("/users/ui/runs?before=0", 422, "before: "),
        ("/users/ui/999", 404, "There is no user 999."),
        ("/users/ui/somebody", 404, "This address names no user and no run."),
        (f"/users/ui/{2**63}", 404, "This address names no user and no run."),
        ("/users/ui/runs/999", 404, "There is no run 999."),
        ("/users/ui/runs/some", 404, "This address names no user and no run."),
    ],
)
def test_a_wrong_address_gets_a_page_that_says_what_is_wrong(
    client: TestClient, path: str, status: int, said: str
) -> None:
    response = client.get(path)

    assert response.status_code == status
    page = Page(response.text)
    assert said in page.text("main")
    assert page.link("Show all users") == "/users/ui"
    assert page.link("all runs") == "/users/ui/runs"


def test_a_hostile_address_is_quoted_as_text(client: TestClient) -> None:
    page = Page(client.get("/users/ui?has_card=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").text)

    assert only_our_own(page)


# Nobody matches


def test_when_nobody_matches_the_page_says_which_filter_to_drop(client: TestClient, mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "Emily"), address=AddressRecord(city="Lyon"))

    page = open_page(client, q="emily", has_address="true", has_card="true")

    assert page.link("Search all users, not only those with a card") == "/users/ui?q=emily&has_address=true"
    assert page.link("Search all users, not only those with an address") is None
    assert page.link("Show all users") == "/users/ui"


def test_beyond_the_last_user_the_page_leads_back_to_the_first(client: TestClient, mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "Emily"))

    page = open_page(client, q="emily", after=99)

    assert page.link("Back to the first page") == "/users/ui?q=emily"


# A token for reading


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
def test_with_a_token_for_reading_every_page_is_a_form_that_asks_for_it(
    open_client: Client, synced: LocalWorker, path: str, header: dict[str, str]
) -> None:
    client = open_client(API_TOKEN=TOKEN, READ_TOKEN_REQUIRED="true")

    response = client.get(path, headers=header)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    page = Page(response.text)
    assert "This page asks for a token" in page.text("h1")
    assert page.all("form", id="unlock")
    assert ("The token that was sent is not the right one." in page.text("main")) == bool(header)
    assert "Bela" not in response.text
    assert TOKEN not in response.text


@pytest.mark.parametrize("path", PATHS)
def test_with_the_token_the_page_itself_is_put_into_its_place(
    open_client: Client, synced: LocalWorker, path: str
) -> None:
    client = open_client(API_TOKEN=TOKEN, READ_TOKEN_REQUIRED="true")

    response = asked_by_script(client, path, "main#main", Authorization=f"Bearer {TOKEN}")

    assert response.status_code == 200
    part = Page(response.text)
    assert part.all("h1")
    assert part.all("html") == part.all("nav", **{"aria-label": "Pages"}) == []


# The parts that the script asks for


@pytest.mark.parametrize("path", ["/users/ui", "/users/ui/runs"])
def test_a_search_gets_the_list_alone(client: TestClient, synced: LocalWorker, path: str) -> None:
    part = Page(asked_by_script(client, path, "div#results").text)

    assert part.elements[0][1]["id"] == "results"
    assert part.ids() == open_page(client, path).ids()
    assert part.all("h1") == part.all("form") == []


def test_a_user_is_shown_in_place_without_the_frame(client: TestClient, synced: LocalWorker) -> None:
    part = Page(asked_by_script(client, "/users/ui/1?q=abe", "dialog#detail").text)

    assert "Bela Abe" in part.text("h1")
    assert "Bela Abe · SynergyWay" in part.text("title")
    assert part.all("html") == []


def test_going_back_gets_the_whole_page(client: TestClient, synced: LocalWorker) -> None:
    response = client.get("/users/ui", headers={"HX-History-Restore-Request": "true"})

    assert Page(response.text).all("html")


def test_a_user_is_shown_with_all_that_is_known(client: TestClient, synced: LocalWorker) -> None:
    page = open_page(client, "/users/ui/1?q=abe&after=0")

    text = page.text("main")
    for known in ("Bela Abe", "belaabe1@example.com", "Blue Kettle", "2 Oak Avenue", "45.76000, 4.84000", "Mastercard"):
        assert known in text
    assert "**** **** **** 0016" in text
    assert "None" not in text
    assert page.link("Back to the users") == "/users/ui?q=abe&after=0"
    assert page.link("/users/1") == "/users/1"


def test_what_is_not_known_of_a_user_is_said(client: TestClient, mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "Plain"))
    mirror.execute("UPDATE users SET removed_at = updated_at")

    text = open_page(client, "/users/ui/1").text("main")

    assert "The source no longer has this user; noticed just now." in text
    assert "Not yet known. It is looked for at the next run of enrich_missing_addresses." in text
    assert "None" not in text
