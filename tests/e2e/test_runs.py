"""Starting runs and watching them, in a browser."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Locator, expect

from app.errors import BrokerUnavailable
from app.records import ChunkMessage, Job
from tests.e2e.conftest import TOKEN, Gate, Site
from tests.fake_source import DummyJsonLike, FakeSource

Sample = Callable[[int], DummyJsonLike]


def give_token(page: Locator, token: str) -> None:
    dialog = page.get_by_role("dialog", name="The token")
    dialog.get_by_label("Token").fill(token)
    dialog.get_by_role("button", name="Keep in this tab").click()


def test_a_run_is_started_with_the_token_and_watched_to_its_end(
    make_site: Callable[..., Site], source: FakeSource, sample: Sample
) -> None:
    site = make_site(USERS_PAGE_SIZE=10, CHUNK_ROWS=10, PROVIDER_TIMEOUT_SECONDS=20, CHUNK_LEASE_SECONDS=120)
    gate = source.respond = Gate(sample(40))
    visit = site.visit()
    page = visit.open()
    tile = page.locator("#tile-sync_users")

    page.get_by_role("button", name="Start users now").click()
    give_token(page.locator("body"), TOKEN)

    note = page.locator(".note")
    expect(note).to_contain_text("Run 1 of sync_users has started.")
    expect(page.locator("#said")).to_contain_text(re.compile("Run 1 of sync_users has started|Users: "))
    expect(tile.get_by_role("button")).to_be_disabled()
    note.get_by_role("link", name="Watch run 1").click()

    bar = page.get_by_role("progressbar", name="Progress of run 1")
    expect(page.get_by_role("heading", name="Users: run 1", level=1)).to_be_visible()
    expect(bar).to_be_visible()
    for done in (10, 20, 30):
        gate.let(1)
        expect(bar).to_have_attribute("value", str(done))
    gate.let(1_000)
    expect(page.locator("#run header .badge")).to_have_text("succeeded")
    expect(page.locator("#run .counts")).to_contain_text(re.compile(r"new\s*40"))
    expect(bar).to_have_count(0)


def test_tiles_and_list_follow_a_run_that_somebody_else_has_started(
    make_site: Callable[..., Site], source: FakeSource, sample: Sample
) -> None:
    site = make_site(USERS_PAGE_SIZE=10, CHUNK_ROWS=10, PROVIDER_TIMEOUT_SECONDS=20, CHUNK_LEASE_SECONDS=120)
    gate = source.respond = Gate(sample(30))
    visit = site.visit()
    page = visit.open("/users/ui/runs")
    site.call(Job.SYNC_USERS)
    gate.let(2)

    bar = page.locator("#tile-sync_users").get_by_role("progressbar")
    expect(bar).to_have_attribute("value", "20")
    expect(visit.rows().first.locator(".badge")).to_have_text("running")
    gate.let(1_000)

    expect(page.locator("#tile-sync_users .badge")).to_have_text("Up to date")
    expect(visit.rows()).to_have_count(3)
    expect(visit.rows().locator(".badge")).to_have_text(["succeeded"] * 3)


def test_a_wrong_token_is_said_and_another_one_asked_for(site: Site) -> None:
    visit = site.visit()
    page = visit.open()

    page.get_by_role("button", name="Start users now").click()
    give_token(page.locator("body"), "not the token")

    dialog = page.get_by_role("dialog", name="The token")
    expect(dialog).to_contain_text("That token is not the right one.")
    expect(page.locator("#tile-sync_users")).to_contain_text("Not run yet")
    # The browser itself notes the refusal on its console.
    assert [complaint for complaint in visit.complaints if "401" not in complaint] == []
    visit.complaints.clear()
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Start users now").click()
    give_token(page.locator("body"), TOKEN)
    expect(page.locator(".note")).to_contain_text("Run 1 of sync_users has started.")


def test_the_token_is_forgotten_with_the_tab(site: Site) -> None:
    visit = site.visit()
    page = visit.open()
    page.get_by_role("button", name="Token").click()
    give_token(page.locator("body"), TOKEN)

    page.reload()
    assert page.evaluate("sessionStorage.length") == 1
    assert page.evaluate("localStorage.length + document.cookie.length") == 0
    assert TOKEN not in page.content()
    assert TOKEN not in page.url
    page.get_by_role("button", name="Token").click()
    page.get_by_role("button", name="Forget it").click()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_run_in_the_way_is_named(make_site: Callable[..., Site], source: FakeSource, sample: Sample) -> None:
    site = make_site(PROVIDER_TIMEOUT_SECONDS=20, CHUNK_LEASE_SECONDS=120)
    gate = source.respond = Gate(sample(3))
    visit = site.visit()
    visit.page.clock.install()
    page = visit.open()
    page.get_by_role("button", name="Token").click()
    give_token(page.locator("body"), TOKEN)
    # The page does not hear of the run before the button is pressed.
    page.clock.pause_at(datetime.now(UTC) + timedelta(seconds=1))
    site.call(Job.SYNC_USERS)

    page.get_by_role("button", name="Start users now").click()

    expect(page.locator(".note")).to_contain_text("Nothing was started: run 1 of sync_users is open.")
    expect(page.locator(".note").get_by_role("link")).to_have_attribute("href", "/users/ui/runs/1")
    gate.let(1_000)


def test_a_broker_out_of_reach_is_said_with_what_to_do(site: Site) -> None:
    def refuse(_: ChunkMessage) -> None:
        raise BrokerUnavailable("the broker does not answer")

    object.__setattr__(site.context, "publish", refuse)
    visit = site.visit()
    page = visit.open()
    page.get_by_role("button", name="Token").click()
    give_token(page.locator("body"), TOKEN)

    page.get_by_role("button", name="Start users now").click()

    expect(page.locator(".note.bad")).to_contain_text("broker")
    expect(page.locator("#tile-sync_users .badge")).to_have_text("Failed")
    expect(page.locator("#failure")).to_contain_text("BrokerUnavailable: the broker does not answer")
    expect(page.locator("#failure")).to_contain_text("What to do: The message broker was out of reach.")
    assert [complaint for complaint in visit.complaints if "503" not in complaint] == []
    visit.complaints.clear()


def test_a_failure_is_told_with_its_reason_and_then_as_over(site: Site, source: FakeSource, sample: Sample) -> None:
    visit = site.visit()
    page = visit.open()
    source.answer(b"<html>down</html>", content_type="text/html")
    site.call(Job.SYNC_USERS)

    failure = page.locator("#failure")
    expect(failure).to_contain_text("Last failure: Users")
    expect(failure).to_contain_text("ProviderError: ")
    expect(failure).to_contain_text("What to do: The source answered with something that is not understood.")

    source.respond = sample(3)
    site.call(Job.SYNC_USERS)

    expect(failure).to_contain_text("Nothing to do: run 2 has succeeded since")
    failure.get_by_role("link", name="See run 1").click()
    expect(page.get_by_role("heading", name="Why it failed")).to_be_visible()
