"""The page for those without JavaScript, without a mouse, without sight, on a phone, in the dark."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from app.records import Job, UserRecord
from tests.conftest import Mirror
from tests.deployment import eventually
from tests.e2e.conftest import PHONE, TOKEN, WIDE, Site, Visit
from tests.fake_source import DummyJsonLike, FakeSource

Sample = Callable[[int], DummyJsonLike]

PAGES = ("/users/ui", "/users/ui?q=nobody", "/users/ui/1", "/users/ui/runs", "/users/ui/runs/1", "/users/ui/runs/4")
LONG = "x" * 255


@pytest.fixture
def told(site: Site, source: FakeSource, sample: Sample) -> Site:
    """Users with all that they can have, one that left, long and right-to-left names; runs that ended either way."""
    source.respond = sample(25)
    site.call(Job.SYNC_USERS)
    mirror = site.mirror
    wait_for(mirror, "SELECT count(*) AS n FROM runs WHERE status = 'succeeded'", 3)
    mirror.add(UserRecord(900, LONG, LONG, LONG, LONG, LONG, LONG), UserRecord(901, "אבג דהו"))
    mirror.execute("UPDATE users SET removed_at = updated_at WHERE id = 2")
    source.answer(b"<html>down</html>", content_type="text/html")
    site.call(Job.ENRICH_MISSING_CARDS)
    wait_for(mirror, "SELECT count(*) AS n FROM runs WHERE status = 'failed'", 1)
    return site


def wait_for(mirror: Mirror, statement: str, wanted: int) -> None:
    eventually(lambda: mirror.rows(statement)[0]["n"] == wanted)


def complaints_of_axe(page: Page, *rules: str) -> list[str]:
    """What axe finds, of whatever weight: by all of its rules, or by these."""
    found = Axe().run(page, options={"runOnly": list(rules)} if rules else None).response["violations"]
    return [f"{rule['impact']} {rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


# Where nothing but the colours is another, nothing but the contrast is looked at anew.
LOOKS = {"light": ("light", WIDE, ()), "dark": ("dark", WIDE, ("color-contrast",)), "phone": ("light", PHONE, ())}


def examine(page: Page) -> dict[str, list[str]]:
    """What axe finds on the page in all its looks."""
    found = {}
    for look, (scheme, size, rules) in LOOKS.items():
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        found[f"{page.url} {look}"] = complaints_of_axe(page, *rules)
    return {look: complaints for look, complaints in found.items() if complaints}


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(told: Site, path: str) -> None:
    assert examine(told.visit().open(path)) == {}


def test_axe_finds_nothing_on_what_opens_over_the_page(told: Site) -> None:
    page = told.visit().open()

    page.locator("#open-1").click()
    expect(page.get_by_role("dialog", name="User")).to_be_visible()
    assert examine(page) == {}
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Token").click()
    assert examine(page) == {}


@pytest.mark.parametrize(("path", "status"), [("/users/ui?limit=0", "422"), ("/users/ui/abc", "404")])
def test_axe_finds_nothing_on_a_problem(site: Site, path: str, status: str) -> None:
    visit = site.visit()

    assert examine(visit.open(path)) == {}
    # The browser notes on its console that this was no success, as it is meant to be.
    assert [complaint for complaint in visit.complaints if status not in complaint] == []
    visit.complaints.clear()


def test_no_width_makes_a_page_scroll_to_the_side(told: Site) -> None:
    page = told.visit().page
    for path in PAGES:
        page.goto(told.url + path)
        for width in (320, 360, 768, 1024, 1440, 2560):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} at {width}"


def test_both_schemes_are_readable_as_such(told: Site) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        page = told.visit(color_scheme=scheme).open()
        grounds[scheme] = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
    assert min(grounds["light"]) > 200
    assert max(grounds["dark"]) < 60


def without_javascript(site: Site) -> Visit:
    return site.visit(java_script_enabled=False)


def test_without_javascript_everything_can_be_read(told: Site) -> None:
    visit = without_javascript(told)
    page = visit.open()

    expect(visit.rows()).to_have_count(20)
    expect(page.locator("#failure")).to_contain_text("What to do:")
    expect(page.get_by_text("JavaScript is off")).to_be_visible()
    expect(page.get_by_role("button", name="Start users now")).to_be_hidden()
    page.get_by_role("link", name="Next page").click()
    expect(visit.rows()).to_have_count(7)
    page.get_by_role("link", name="First page").click()
    page.get_by_role("searchbox").fill("abe")
    page.get_by_role("combobox", name="Address").select_option("with")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#summary")).to_contain_text("with an address matching “abe”")
    page.get_by_role("link", name="Bela Abe").click()
    expect(page.get_by_role("heading", name="Bela Abe", level=1)).to_be_visible()
    page.get_by_role("link", name="Back to the users").click()
    expect(page.get_by_role("searchbox")).to_have_value("abe")
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_role("combobox", name="Status").select_option("failed")
    page.get_by_role("button", name="Show").click()
    expect(visit.rows()).to_have_count(1)
    page.get_by_role("link", name="Cards 4").click()
    expect(page.get_by_role("heading", name="Why it failed")).to_be_visible()


def focused(page: Page) -> str:
    text: str = page.evaluate("document.activeElement.innerText?.trim() || document.activeElement.id")
    return text


def test_the_keyboard_alone_is_enough(told: Site) -> None:
    visit = told.visit()
    page = visit.open()

    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    order = []
    for _ in range(12):
        page.keyboard.press("Tab")
        order.append(focused(page))
    assert order[:5] == ["SynergyWay", "Users", "Runs", "API", "Token"]
    assert order[5:9] == ["1 left the source", *["Start now"] * 3]

    page.get_by_role("searchbox").focus()
    page.keyboard.type("chenabe2")
    expect(visit.rows()).to_have_count(1)
    while focused(page) != "Chen Abe":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="User").get_by_role("heading", name="Chen Abe")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Chen Abe")).to_be_focused()


def test_skipping_leads_past_the_header(told: Site) -> None:
    page = told.visit().open()

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert focused(page) == "1 left the source"


def test_what_has_the_focus_is_seen(told: Site) -> None:
    page = told.visit().open()

    for _ in range(12):
        page.keyboard.press("Tab")
        width = page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert width >= 2, focused(page)


def test_reading_with_a_token_alone(make_site: Callable[..., Site]) -> None:
    site = make_site(READ_TOKEN_REQUIRED="true")
    site.mirror.add(UserRecord(1, "Emily"))
    visit = site.visit()
    page = visit.open("/users/ui?q=em")
    expect(page.get_by_role("heading", name="This page asks for a token")).to_be_visible()
    assert "Emily" not in page.content()
    locked = complaints_of_axe(page)

    page.locator("#unlock").get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Open the page").click()
    expect(page.get_by_role("alert")).to_contain_text("not the right one")
    page.locator("#unlock").get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Open the page").click()

    expect(visit.rows()).to_have_count(1)
    page.get_by_role("searchbox").fill("nobody")
    expect(page.get_by_role("heading", name="No user matches")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="No user matches")).to_be_visible()
    page.get_by_role("link", name="Runs", exact=True).click()
    expect(page.get_by_role("heading", name="No run yet")).to_be_visible()
    assert locked == []
    assert [complaint for complaint in visit.complaints if "401" not in complaint] == []
    visit.complaints.clear()


def test_what_a_page_shows_can_be_read_as_json_with_the_same_token(make_site: Callable[..., Site]) -> None:
    site = make_site(READ_TOKEN_REQUIRED="true")
    site.mirror.add(UserRecord(1, "Emily"))
    visit = site.visit()
    page = visit.open("/users/ui/1")
    page.locator("#unlock").get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Open the page").click()

    page.get_by_role("link", name="/users/1", exact=True).click()

    expect(page.locator("body")).to_contain_text('"name":"Emily"')
    page.go_back()
    expect(page.get_by_role("heading", name="Emily")).to_be_visible()
    assert [complaint for complaint in visit.complaints if "401" not in complaint] == []
    visit.complaints.clear()


def test_the_description_of_the_api_needs_no_other_host(site: Site) -> None:
    visit = site.visit()
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))

    page = visit.open("/docs")
    page.locator("#operations-users-list_users .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()

    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    assert [url for url in asked if not url.startswith(site.url + "/")] == []


def test_without_javascript_a_locked_page_says_what_to_do(make_site: Callable[..., Site]) -> None:
    site = make_site(READ_TOKEN_REQUIRED="true")
    visit = without_javascript(site)

    page = visit.open()

    expect(page.get_by_text("python -m app status")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)
    visit.complaints.clear()


def test_a_service_that_goes_away_is_noticed_and_so_is_its_return(site: Site) -> None:
    visit = site.visit()
    page = visit.open()
    live = page.locator("#live")
    expect(live).to_have_text("Live")

    def fail(route: Any) -> None:
        route.fulfill(status=503, body="<p>away</p>", content_type="text/html")

    page.route("**/users/ui/**", fail)
    expect(live).to_contain_text("No news")
    expect(page.locator("#tile-sync_users")).to_be_visible()
    page.unroute("**/users/ui/**", fail)

    expect(live).to_have_text("Live")
    visit.complaints.clear()
