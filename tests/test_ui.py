"""The page for people: what a browser without JavaScript sees."""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from app.records import AddressRecord, CardRecord, UserRecord
from tests.conftest import PROJECT, LocalWorker, Mirror
from tests.pages import Page, only_our_own, open_page

Client = Callable[..., TestClient]

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></table><h1>gone</h1>",
    "&lt;b&gt; & &amp; {{ 7 * 7 }}",
    "😀👩‍👩‍👧‍👦",
    "אבג דהו \u202e abc",
    "x" * 255,
]


def named(count: int, start: int = 1) -> list[UserRecord]:
    return [UserRecord(number, f"User {number:02d}") for number in range(start, start + count)]


def test_the_page_shows_users_with_address_and_masked_card(client: TestClient, mirror: Mirror) -> None:
    record = UserRecord(1, "Emily Johnson", "emilys", "emily@example.com", "+81 965", None, "Dooley & Co")
    address = AddressRecord("1 Main Street", "Lyon", None, "69001", "France")
    ids = mirror.add(record, address=address, card=CardRecord("0044", "Visa", 5, 2028))

    page = open_page(client)

    assert page.ids() == ids
    row = page.text("tbody")
    for text in ("Emily Johnson", "emilys", "emily@example.com", "+81 965", "Dooley & Co"):
        assert text in row
    assert "Lyon, France" in row
    assert "1 Main Street" in row
    assert "**** **** **** 0044" in row
    assert "Visa 05/2028" in row
    assert "None" not in row


def test_what_is_not_known_is_said_and_not_shown_as_none(client: TestClient, mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "Plain"))
    mirror.add(UserRecord(2, "Linked"), address=AddressRecord(city="Lyon"), card=CardRecord("1234"))

    row = open_page(client).text("tbody")

    assert row.count("not yet known") == 2
    assert "None" not in row
    assert "**** **** **** 1234" in row


@pytest.mark.parametrize(("month", "year", "shown"), [(5, 2028, "05/2028"), (None, 2028, ""), (5, None, "")])
def test_a_card_with_half_an_expiry_date_is_shown_too(
    client: TestClient, mirror: Mirror, month: int | None, year: int | None, shown: str
) -> None:
    mirror.add(UserRecord(1, "Emily"), card=CardRecord("1234", "Visa", month, year))

    row = open_page(client).text("tbody")

    assert "**** **** **** 1234" in row
    assert shown in row
    assert "None" not in row


# Escaping


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_shown_as_it_is_and_is_never_markup(client: TestClient, mirror: Mirror, text: str) -> None:
    record = UserRecord(1, *[text] * 6)
    plain_card = CardRecord("1234", "plain", 1, 2030)
    mirror.add(UserRecord(2, "Plain", *["plain"] * 5), address=AddressRecord(*["plain"] * 5), card=plain_card)
    plain = [tag for tag, _ in open_page(client).elements]
    mirror.execute("DELETE FROM users")
    mirror.add(record, address=AddressRecord(text, text, text, text, text), card=CardRecord("1234", text, 1, 2030))

    page = open_page(client)

    row = page.text("tbody")
    # Name, username, email, phone, website and company, street, city and country, the card's brand.
    assert row.count(" ".join(text.split())) == 10
    assert [tag for tag, _ in page.elements] == plain


@pytest.mark.parametrize("text", [text[:100] for text in HOSTILE])
def test_what_was_searched_for_stays_in_the_form_and_is_never_markup(client: TestClient, text: str) -> None:
    page = open_page(client, q=text)

    assert [found["value"] for found in page.all("input", name="q")] == [text]
    assert only_our_own(page)
    assert len(page.all("h1")) == 1


def test_hostile_parameters_do_not_break_out_of_the_links(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(3))

    page = open_page(client, '/users/ui?limit=1&x="><script>alert(1)</script>&y=%22%3E%3Cimg%20src=x%3E')

    assert only_our_own(page)
    assert page.link("Next page") is not None


def test_text_that_runs_from_right_to_left_does_not_turn_its_neighbours(client: TestClient, mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "אבג דהו"))

    page = open_page(client)

    # Each value that a source gave stands in an element that keeps its direction to itself.
    assert [path[-1] for path, data in page.texts if data == "אבג דהו"] == ["bdi"]


# Filters and pages


def test_the_filters_are_a_form_that_needs_no_javascript(client: TestClient) -> None:
    page = open_page(client)

    form = page.form("filters")
    assert form["method"] == "get"
    assert form["action"] == "/users/ui"
    names = {found["name"] for tag, found in page.elements if tag in ("input", "select")}
    assert names == {"q", "has_address", "has_card", "removed", "token"}
    assert page.all("button", type="submit")


@pytest.mark.parametrize(
    "query",
    [
        "q=&has_address=&has_card=",
        "q=&has_address=&has_card=&after=",
        "q=&has_address=&has_card=&limit=20",
        "has_card=",
    ],
)
def test_a_form_sent_blank_shows_everybody(client: TestClient, mirror: Mirror, query: str) -> None:
    ids = mirror.add(*named(3))

    assert open_page(client, f"/users/ui?{query}").ids() == ids


def test_the_filters_choose_users_and_stay_chosen(client: TestClient, mirror: Mirror) -> None:
    [wanted] = mirror.add(UserRecord(1, "Ольга Иванова"), address=AddressRecord(city="Lyon"))
    mirror.add(UserRecord(2, "Ольга Петрова"))
    mirror.add(UserRecord(3, "Emily"), address=AddressRecord(city="Lyon"))

    page = open_page(client, q="ОЛЬГА", has_address="true", has_card="false")

    assert page.ids() == [wanted]
    assert page.all("input", name="q")[0]["value"] == "ОЛЬГА"
    chosen = [found["value"] for found in page.all("option") if "selected" in found]
    assert chosen == ["true", "false", ""]


def test_the_links_lead_through_all_pages_and_keep_the_filters(client: TestClient, mirror: Mirror) -> None:
    wanted = mirror.add(*named(7), address=AddressRecord(city="Lyon"))
    mirror.add(*named(5, start=50))
    first = "/users/ui?q=user&has_address=true&has_card=&limit=3"

    address: str | None = first
    pages = []
    while address is not None:
        page = open_page(client, urljoin("/users/ui", address))
        pages.append(page.ids())
        if len(pages) > 1:
            back = page.link("First page")
            assert back is not None
            assert open_page(client, urljoin("/users/ui", back)).ids() == pages[0]
        address = page.link("Next page")
        assert len(pages) < 10, "the links never end"

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [user_id for page in pages for user_id in page] == wanted


def test_a_single_page_has_no_links_to_others(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(20))

    page = open_page(client)

    assert len(page.ids()) == 20
    assert page.link("Next page") is None
    assert page.link("First page") is None


def test_the_form_keeps_the_size_of_the_page(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(3))

    assert [found["value"] for found in open_page(client, limit=2).all("input", name="limit")] == ["2"]


# Nothing to show


def test_without_users_the_page_says_when_they_come(client: TestClient) -> None:
    page = open_page(client)

    assert "No users yet" in page.text("main")
    assert "The first sync starts by itself" in page.text("main")
    assert page.all("table") == []


@pytest.mark.parametrize("query", [{"q": "nobody"}, {"has_card": "true"}, {"after": 999}])
def test_when_no_user_matches_the_page_leads_back_to_all(
    client: TestClient, mirror: Mirror, query: dict[str, Any]
) -> None:
    mirror.add(*named(3))

    page = open_page(client, **query)

    assert "No user matches" in page.text("main")
    assert page.link("Show all users") == "/users/ui"


# Safety


ADDRESSES = ("/users/ui", "/users/ui/1", "/users/ui/runs", "/users/ui/runs/1", "/users/ui/999", "/users/ui?limit=0")


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_page_allows_nothing_but_files_of_our_own(client: TestClient, synced: LocalWorker, address: str) -> None:
    response = client.get(address)

    policy = dict(part.split(maxsplit=1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    for source in ("script-src", "style-src", "img-src", "connect-src", "form-action"):
        assert policy[source] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert "HX-Request" in response.headers["Vary"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_page_has_a_script_or_a_style_of_its_own(client: TestClient, synced: LocalWorker, address: str) -> None:
    page = Page(client.get(address).text)

    assert only_our_own(page)
    assert page.all("style") == []
    attributes = [name for _, found in page.elements for name in found]
    assert [name for name in attributes if name.startswith(("on", "hx-on")) or name == "style"] == []
    # htmx would evaluate these.
    values = [value for _, found in page.elements for name, value in found.items() if name.startswith("hx-")]
    assert [value for value in values if value and (value.startswith(("js:", "javascript:")) or "[" in value)] == []
    addresses = [str(found.get("href", found.get("src", ""))) for _, found in page.elements]
    assert [address for address in addresses if address and not address.startswith(("/", "#"))] == []


def test_files_are_kept_by_browsers_for_as_long_as_their_address_names_them(client: TestClient) -> None:
    page = open_page(client)
    addresses = [str(found["href"]) for found in page.all("link")] + [str(found["src"]) for found in page.all("script")]

    assert len(addresses) == 4
    for address in addresses:
        assert client.get(address).headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert client.get(address.split("?")[0]).headers["Cache-Control"] == "no-cache"


def test_the_scripts_of_others_are_those_that_their_note_names() -> None:
    folder = PROJECT / "app/static/vendor"
    rows = re.findall(r"^\| `([^`]+)` .* `([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.MULTILINE)

    assert {name: sha256((folder / name).read_bytes()).hexdigest() for name, _ in rows} == dict(rows)
    assert {file.name for file in folder.iterdir() if file.suffix in (".js", ".css")} == {name for name, _ in rows}


def test_the_root_leads_to_the_page(client: TestClient) -> None:
    response = client.get("/")

    assert response.url.path == "/users/ui"


# The backlog


@pytest.mark.parametrize(
    ("lacking", "batch_size", "cron", "noticed"),
    [
        (3, 2, "0 5 * * *", True),
        (3, 3, "0 5 * * *", False),
        (3, 1, "0 5,17 * * *", True),
        (2, 1, "0 5,17 * * *", False),
        (3, 20, "*/10 * * * *", False),
    ],
)
def test_a_backlog_of_more_than_a_day_is_noticed(
    open_client: Client, mirror: Mirror, lacking: int, batch_size: int, cron: str, noticed: bool
) -> None:
    mirror.add(*named(5, start=50), address=AddressRecord(city="Lyon"), card=CardRecord("1234"))
    mirror.add(*named(lacking), card=CardRecord("1234"))

    text = open_page(open_client(ENRICH_BATCH_SIZE=batch_size, ENRICH_ADDR_CRON=cron)).text("main")

    assert ("More users lack addresses than are filled in within a day" in text) == noticed
    assert "lack cards" not in text


def test_each_backlog_has_its_own_notice(open_client: Client, mirror: Mirror) -> None:
    mirror.add(*named(2))
    client = open_client(ENRICH_BATCH_SIZE=1, ENRICH_ADDR_CRON="0 5 * * *", ENRICH_CC_CRON="0 5 * * *")

    text = open_page(client).text("main")

    assert "lack addresses" in text
    assert "lack cards" in text
    assert "ENRICH_BATCH_SIZE" in text


def test_a_schedule_that_comes_once_a_week_fills_less_than_a_batch_a_day(open_client: Client, mirror: Mirror) -> None:
    mirror.add(*named(3))

    text = open_page(open_client(ENRICH_BATCH_SIZE=4, ENRICH_CC_CRON="0 5 * * 0")).text("main")

    assert "lack cards" in text
