"""The pictures in the README, taken from the service itself: ``make pictures`` renews them."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.records import Job
from tests.conftest import Mirror
from tests.deployment import eventually
from tests.e2e.conftest import Gate, Site
from tests.fake_source import DummyJsonLike, FakeSource

DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
MOST_BYTES = 250_000
PICTURES = {
    "page-light": ("/users/ui", "light", DESK),
    "page-dark": ("/users/ui", "dark", DESK),
    "runs-dark": ("/users/ui/runs", "dark", DESK),
    "page-phone": ("/users/ui", "light", PHONE),
}


@pytest.fixture
def busy(make_site: Callable[..., Site], source: FakeSource, sample: Callable[[int], DummyJsonLike]) -> Iterator[Site]:
    """208 users of whom some lack a card; a failure that is over; a sync on its way."""
    site = make_site(
        USERS_PAGE_SIZE=20, CHUNK_ROWS=20, PROVIDER_TIMEOUT_SECONDS=20, CHUNK_LEASE_SECONDS=120, ENRICH_BATCH_SIZE=200
    )

    def ended(runs: int) -> bool:
        rows = site.mirror.rows("SELECT finished_at FROM runs")
        return len(rows) == runs and all(row["finished_at"] for row in rows)

    users = sample(208)
    source.respond = users
    site.call(Job.SYNC_USERS)
    eventually(lambda: ended(3))
    site.mirror.execute("DELETE FROM credit_cards WHERE user_id > 190")
    source.answer({"message": "maintenance"}, status=403)
    site.call(Job.ENRICH_MISSING_CARDS)
    eventually(lambda: ended(4))
    source.respond = users
    site.call(Job.ENRICH_MISSING_CARDS, 6)
    eventually(lambda: ended(5))
    move_back(site.mirror)
    gate = source.respond = Gate(users)
    gate.let(5)
    site.call(Job.SYNC_USERS)
    site.mirror.execute("UPDATE runs SET trigger = 'beat' WHERE trigger = 'cli'")
    yield site
    gate.let(1_000)


def move_back(mirror: Mirror) -> None:
    """As if the runs had come one after another in the last minutes, and the users hours ago."""
    now = datetime.now(UTC)
    for run_id, minutes in zip(range(1, 6), (12, 9, 9, 6, 2), strict=True):
        at = f"'{now - timedelta(minutes=minutes):%Y-%m-%d %H:%M:%S}.000000'"
        mirror.execute(f"UPDATE runs SET created_at = {at}, started_at = {at}, finished_at = {at} WHERE id = {run_id}")
    first = f"'{now - timedelta(hours=3):%Y-%m-%d %H:%M:%S}.000000'"
    mirror.execute(f"UPDATE users SET created_at = {first}, updated_at = {first}")


def test_the_pictures_are_taken(busy: Site, tmp_path: Path) -> None:
    folder = Path(os.environ.get("PICTURES", tmp_path))
    for name, (path, scheme, size) in PICTURES.items():
        page = busy.visit(color_scheme=scheme, viewport=size).open(path)
        expect(page.locator("#tile-sync_users").get_by_role("progressbar")).to_have_attribute("value", "100")
        expect(page.locator("#live")).to_have_text("Live")
        page.screenshot(path=folder / f"{name}.png")

        assert 10_000 < (folder / f"{name}.png").stat().st_size < MOST_BYTES, name
