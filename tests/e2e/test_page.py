"""What a person does on the page, in a browser with JavaScript."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from playwright.sync_api import expect

from app.api.page_words import ago, ahead
from app.records import Job, UserRecord
from tests.e2e.conftest import Site
from tests.fake_source import DummyJsonLike, FakeSource


def named(count: int) -> list[UserRecord]:
    return [UserRecord(number, f"User {number:02d}", f"name{number:02d}") for number in range(1, count + 1)]


def test_from_an_empty_database_to_the_first_page(
    site: Site, source: FakeSource, sample: Callable[[int], DummyJsonLike]
) -> None:
    source.respond = sample(25)
    visit = site.visit()
    page = visit.open()
    expect(page.get_by_role("heading", name="No users yet")).to_be_visible()
    expect(page.locator("#tile-sync_users")).to_contain_text("Not run yet")

    site.call(Job.SYNC_USERS)

    expect(visit.rows()).to_have_count(20)
    expect(visit.rows().first).to_contain_text("Bela Abe")
    expect(visit.rows().first).to_contain_text("**** **** **** 0016")
    expect(page.locator("#tile-sync_users")).to_contain_text("Up to date")
    expect(page.locator("#tile-sync_users")).to_contain_text("25 users")
    expect(page.locator("#tile-enrich_missing_cards")).to_contain_text("Complete")
    expect(page.locator("#latest li")).to_have_count(3)


def test_typing_searches_and_the_address_keeps_in_step(site: Site) -> None:
    site.mirror.add(*named(30))
    visit = site.visit()
    page = visit.open()

    page.get_by_role("searchbox").press_sequentially("name07")

    expect(visit.rows()).to_have_count(1)
    expect(page.get_by_role("status").filter(has_text="1 user")).to_have_text("1 user matching “name07”")
    expect(page).to_have_url(f"{site.url}/users/ui?q=name07")
    expect(page.get_by_role("searchbox")).to_be_focused()

    page.reload()

    expect(visit.rows()).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_have_value("name07")


def test_pages_and_filters_change_in_place_and_back_leads_back(site: Site) -> None:
    site.mirror.add(*named(45))
    visit = site.visit()
    page = visit.open()
    page.evaluate("window.stays = true")

    page.get_by_role("link", name="Next page").click()
    expect(visit.rows().first).to_contain_text("User 21")
    page.get_by_role("link", name="Next page").click()
    expect(visit.rows()).to_have_count(5)
    expect(page).to_have_url(f"{site.url}/users/ui?after=40")
    page.get_by_role("combobox", name="Address").select_option("with")
    expect(page.get_by_role("heading", name="No user matches")).to_be_visible()
    expect(page).to_have_url(f"{site.url}/users/ui?has_address=true")

    page.go_back()
    expect(visit.rows()).to_have_count(5)
    page.go_back()
    expect(visit.rows().first).to_contain_text("User 21")
    page.go_forward()
    expect(visit.rows()).to_have_count(5)
    page.get_by_role("link", name="First page").click()
    expect(visit.rows().first).to_contain_text("User 01")
    assert page.evaluate("window.stays") is True


def test_a_user_opens_beside_the_list_with_an_address_of_its_own(site: Site) -> None:
    site.mirror.add(*named(3))
    visit = site.visit()
    page = visit.open("/users/ui?q=user")
    detail = page.get_by_role("dialog", name="User")

    page.get_by_role("link", name="User 02").click()

    expect(detail.get_by_role("heading", name="User 02")).to_be_focused()
    expect(detail).to_contain_text("name02")
    expect(page).to_have_url(f"{site.url}/users/ui/2?q=user")
    expect(page).to_have_title("User 02 · SynergyWay")
    expect(visit.rows()).to_have_count(3)

    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    expect(page).to_have_url(f"{site.url}/users/ui?q=user")
    expect(page).to_have_title("Users · SynergyWay")
    page.go_back()
    expect(detail.get_by_role("heading", name="User 02")).to_be_visible()
    page.go_back()
    expect(detail).to_be_hidden()

    page.goto(f"{site.url}/users/ui/2?q=user")
    expect(page.get_by_role("heading", name="User 02", level=1)).to_be_visible()
    page.get_by_role("link", name="Back to the users").click()
    expect(page).to_have_url(f"{site.url}/users/ui?q=user")


def test_hostile_names_are_text(site: Site) -> None:
    names = [
        "<script>document.title='gone'</script>",
        '"><img src=x onerror=document.title="gone">',
        "אבג דהו",
        "x" * 255,
    ]
    site.mirror.add(*(UserRecord(number, name, name, name) for number, name in enumerate(names, 1)))
    visit = site.visit()
    page = visit.open()

    for number, name in enumerate(names, 1):
        expect(page.locator(f"#open-{number}")).to_have_text(name)
        page.locator(f"#open-{number}").click()
        expect(page.get_by_role("dialog", name="User").get_by_role("heading", level=1)).to_have_text(name)
    page.get_by_role("searchbox").fill(names[0])
    expect(visit.rows()).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page).to_have_title(re.compile("Users"))


def test_the_script_says_times_as_the_server_does(site: Site) -> None:
    now = datetime.now(UTC)
    spans = [
        timedelta(seconds=200),
        timedelta(minutes=90),
        timedelta(hours=30, minutes=30),
        timedelta(days=5, hours=12),
    ]
    page = site.visit().open()
    # As the server renders them, but for the words.
    page.evaluate(
        """moments => document.querySelector("main").append(...moments.map(([direction, moment]) => {
            const time = document.createElement("time");
            time.dataset.relative = direction;
            time.dateTime = moment;
            time.className = "probe";
            return time;
        }))""",
        [["ago", (now - span).isoformat()] for span in spans] + [["ahead", (now + span).isoformat()] for span in spans],
    )

    expect(page.locator("time.probe")).to_have_text(
        [ago(now - span, now) for span in spans] + [ahead(now + span, now) for span in spans]
    )


def test_a_hidden_tab_asks_for_nothing_and_catches_up_when_it_is_seen(site: Site) -> None:
    visit = site.visit()
    page = visit.page
    page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => Boolean(window.isHidden)})")
    page.clock.install()
    visit.open()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.evaluate("window.isHidden = true; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#live")).to_have_text("Paused")
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []

    with page.expect_request("**/users/ui/status"):
        page.evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#live")).to_have_text("Live")
