"""How the service stands, as the page's tiles say it: how fresh, how far, what failed last and what to do."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from app.api.page_advice import advice
from app.api.page_runs import TITLES, RunView, moment
from app.async_db import AsyncDatabase
from app.queries.overview import overview, totals
from app.records import Job
from app.services.ticks import schedules
from app.settings import Settings
from app.utils.cron import Cron

_COUNTED_AT_LEAST, _COUNTED_AT_MOST = 10_000, 100_000
_NOUNS = {
    Job.SYNC_USERS: ("user", "users"),
    Job.ENRICH_MISSING_ADDRESSES: ("user lacks an address", "users lack an address"),
    Job.ENRICH_MISSING_CARDS: ("user lacks a card", "users lack a card"),
}
_LACKED = {Job.ENRICH_MISSING_ADDRESSES: "addresses", Job.ENRICH_MISSING_CARDS: "cards"}
_OPEN_NAMES = ("id", "status", "created_at", "started_at", "stale", "chunks", "chunks_done", "rows_done", "rows_total")


@dataclass(frozen=True)
class Tile:
    """A job: the amount that it works on, its state, and when it comes next.

    prefix: what to say before an amount that is not exact. tone: good, busy, warn, bad or idle. notices: what a
    person should know or do.
    """

    job: Job
    word: str
    tone: str
    amount: int
    prefix: str
    noun: str
    cron: Cron
    next_at: datetime | None
    succeeded_at: datetime | None
    lacking_since: datetime | None
    open: RunView | None
    notices: Sequence[str]

    @property
    def title(self) -> str:
        return TITLES[self.job]


@dataclass(frozen=True)
class LastFailure:
    """The latest run that failed, of whatever job, and the run of the same job that succeeded since."""

    job: Job
    run_id: int
    at: datetime
    error_class: str
    message: str
    recovered_by: int | None
    recovered_at: datetime | None

    @property
    def title(self) -> str:
        return TITLES[self.job]

    @property
    def advice(self) -> str:
        return advice(self.job, self.error_class)


@dataclass(frozen=True)
class Standing:
    """now: the database's clock. version: changes whenever a run has begun, moved or ended."""

    tiles: Sequence[Tile]
    failure: LastFailure | None
    removed: int
    keep_days: int
    now: datetime
    version: str

    @property
    def is_busy(self) -> bool:
        """Whether something is about to happen: a run is open, or the first one is awaited."""
        return any(tile.open or tile.succeeded_at is None for tile in self.tiles)

    @property
    def users(self) -> Tile:
        return self.tiles[0]


async def read_standing(database: AsyncDatabase, settings: Settings) -> Standing:
    """Two statements, whose cost does not grow with the number of users."""
    crons = schedules(settings)
    a_day = {job: int(settings.enrich_batch_size * cron.times_a_day()) for job, cron in crons.items()}
    most = min(max(*a_day.values(), _COUNTED_AT_LEAST) + 1, _COUNTED_AT_MOST)
    rows = [json.loads(row[1]) for row in await database.rows(*overview(most))]
    total = json.loads((await database.rows(*totals(most)))[0][1])
    now = datetime.fromisoformat(total["now"])
    tiles = [_tile(row, total, crons[Job(row["task"])], a_day[Job(row["task"])], most, now) for row in rows]
    version = sha256(json.dumps(rows).encode()).hexdigest()[:16]
    return Standing(tiles, _last_failure(rows), total["removed"], settings.runs_keep_days, now, version)


def _tile(row: dict[str, Any], total: dict[str, Any], cron: Cron, a_day: int, most: int, now: datetime) -> Tile:
    job = Job(row["task"])
    lacking = row["lacking"]
    if lacking is None:
        amount, prefix = total["users"], "about" if total["is_estimate"] else ""
    else:
        amount, prefix = (lacking, "") if lacking < most else (most - 1, "more than")
    opened = _open_run(row, now)
    word, tone, notice = _state(row, opened, cron, now)
    slow = None
    if lacking is not None and lacking > a_day:
        slow = (
            f"More users lack {_LACKED[job]} than are filled in within a day. Raise ENRICH_BATCH_SIZE, or start the "
            "task by hand with a larger batch."
        )
    return Tile(
        job,
        word,
        tone,
        amount,
        prefix,
        _NOUNS[job][amount != 1],
        cron,
        cron.next(now),
        moment(row["last_success_at"]),
        moment(row["lacking_since"]),
        opened,
        [sentence for sentence in (notice, slow, row["last_success_note"]) if sentence],
    )


def _state(row: dict[str, Any], opened: RunView | None, cron: Cron, now: datetime) -> tuple[str, str, str | None]:
    """A word for the job's state, its tone, and what a person should know."""
    succeeded_at, failed_at = moment(row["last_success_at"]), moment(row["last_failure_at"])
    if opened is not None:
        return opened.word.capitalize(), opened.tone, opened.headline if opened.is_stale else None
    if failed_at is not None and (succeeded_at is None or failed_at > succeeded_at):
        return "Failed", "bad", None
    if succeeded_at is None:
        return "Not run yet", "idle", "It starts by itself as soon as beat runs."
    if _is_late(succeeded_at, cron, now):
        return "Late", "warn", "Two ticks have come and no run has succeeded since. See whether beat and a worker run."
    return "Complete" if row["lacking"] == 0 else "Up to date", "good", None


def _is_late(succeeded_at: datetime, cron: Cron, now: datetime) -> bool:
    """Whether two ticks have come since: the run of the latest may still be on its way."""
    latest = cron.previous(now)
    before = latest and cron.previous(latest - timedelta(minutes=1))
    return before is not None and succeeded_at < before


def _open_run(row: dict[str, Any], now: datetime) -> RunView | None:
    if row["open_id"] is None:
        return None
    body = {name: row[f"open_{name}"] for name in _OPEN_NAMES} | {"task": row["task"], "trigger": row["open_trigger"]}
    return RunView.of(json.dumps(body), now)


def _last_failure(rows: list[dict[str, Any]]) -> LastFailure | None:
    failed = [row for row in rows if row["last_failure_at"] is not None]
    if not failed:
        return None
    row = max(failed, key=lambda row: datetime.fromisoformat(row["last_failure_at"]))
    failed_at, succeeded_at = datetime.fromisoformat(row["last_failure_at"]), moment(row["last_success_at"])
    is_over = succeeded_at is not None and succeeded_at > failed_at
    return LastFailure(
        Job(row["task"]),
        row["last_failure_id"],
        failed_at,
        row["last_failure_error_class"] or "",
        row["last_failure_error_message"] or "No reason was noted.",
        row["last_success_id"] if is_over else None,
        succeeded_at if is_over else None,
    )
