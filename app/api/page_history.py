"""Runs as the page lists them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import HTTPException, Request

from app.api.page_runs import TITLES, RunView
from app.api.page_words import amount
from app.async_db import AsyncDatabase
from app.queries.run_history import RunFilter, get_run, list_chunks, list_runs
from app.records import Status

_LATEST = 8
_CHUNKS = 100


@dataclass(frozen=True)
class History:
    """A page of runs, the newest first."""

    runs: Sequence[RunView]
    wanted: RunFilter
    query: str
    pages: Sequence[tuple[str, str, str]]
    summary: str

    @property
    def is_filtered(self) -> bool:
        return bool(self.wanted.task or self.wanted.status)

    @property
    def tasks(self) -> list[tuple[str, str]]:
        return [("", "any"), *((job.value, title) for job, title in TITLES.items())]

    @property
    def statuses(self) -> list[tuple[str, str]]:
        return [("", "any"), *((status.value, status.value) for status in Status)]


async def read_latest(database: AsyncDatabase) -> list[RunView]:
    return await _views(database, RunFilter(), _LATEST, None)


async def read_history(
    request: Request, database: AsyncDatabase, wanted: RunFilter, *, limit: int, before: int | None
) -> History:
    # One more than asked for tells whether there is a next page.
    runs = await _views(database, wanted, limit + 1, before)
    pages = []
    if before is not None:
        pages.append(("Newest runs", _address(request.url.remove_query_params("before").query), "first"))
    if len(runs) > limit:
        older = request.url.include_query_params(before=runs[limit - 1].id).query
        pages.append(("Older runs", _address(older), "next"))
    return History(runs[:limit], wanted, request.url.query, pages, _summary(runs[:limit], wanted))


async def read_run(database: AsyncDatabase, run_id: int) -> tuple[RunView, list[RunView]]:
    """A run and its first chunks. Raises HTTPException when there is no such run."""
    rows = await database.rows(*get_run(run_id))
    if not rows:
        raise HTTPException(404, f"There is no run {run_id:,}. Runs are deleted some weeks after their end.")
    run = RunView.of(rows[0][1], datetime.now(UTC))
    chunks = await database.rows(*list_chunks(run_id, _CHUNKS))
    return run, [RunView.of(row[1], run.now) for row in chunks]


async def _views(database: AsyncDatabase, wanted: RunFilter, limit: int, before: int | None) -> list[RunView]:
    now = datetime.now(UTC)
    return [RunView.of(row[1], now) for row in await database.rows(*list_runs(wanted, limit=limit, before=before))]


def _address(query: str) -> str:
    return f"/users/ui/runs?{query}" if query else "/users/ui/runs"


def _summary(runs: Sequence[RunView], wanted: RunFilter) -> str:
    """Such as 7 runs of cards, failed only."""
    found = amount(len(runs), "run") if runs else "No run"
    of_task = f" of {TITLES[wanted.task].lower()}" if wanted.task else ""
    return f"{found}{of_task}{f', {wanted.status} only' if wanted.status else ''}"
