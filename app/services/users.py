"""Mirroring the users of the source."""

import logging
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import Connection

from app.errors import ProviderError
from app.providers.collection import read_users
from app.queries.users import upsert_users
from app.records import Claim, Counts, UserPage
from app.services.chunks import MOST_CHUNKS, Step
from app.services.context import Context
from app.services.rejections import log_rejected

# How far the last chunk follows a source that goes on past the total it gave.
_MOST_PAGES_PAST_TOTAL = 10
# And how far any chunk follows one that gave no total.
_MOST_USERS_UNTOLD = 1_000_000

logger = logging.getLogger(__name__)


def sync_steps(context: Context, claim: Claim) -> Iterator[Step]:
    """Reads the chunk's part of the source page by page; the first page of a run tells how to share the run out.

    A chunk's work: source (its name), start and stop (a range of the source's offsets, stop None for the open end),
    total (what the source said it has, or None), first_id (the first user's external id, by which a source that always
    sends the same page is found out).
    """
    settings = context.settings
    work = claim.work
    position = claim.position or (work["start"] if work else 0)
    seen: set[int] = set()
    # A worker may have died between the last page of a chunk and its end.
    while work is None or work["stop"] is None or position < work["stop"]:
        limit = settings.users_page_size
        if work is not None and work["stop"] is not None:
            limit = min(limit, work["stop"] - position)
        name = settings.users_api_source if work is None else work["source"]
        source, page = read_users(context.http, settings.users_api_url, name, position, limit)
        log_rejected(logger, "users", page.rejected)
        shares = None
        if work is None:
            shares = _share(source, page, settings.users_page_size, settings.chunk_rows)
            work = shares[0]
        ids = {user.external_id for user in page.users}
        _check_news(ids, seen, repeated=position > 0 and work["first_id"] in ids, url_name="USERS_API_URL")
        seen |= ids
        position += page.size
        last = _is_last(page, position, limit, work)
        yield Step(position, partial(_write, page), shares, last=last, page=page)
        if last:
            return
        _check_end(position, work["total"], settings.users_page_size)


def _share(source: str, page: UserPage, page_size: int, chunk_rows: int) -> list[dict[str, Any]]:
    if page.size == 0 and page.total:
        raise ProviderError(f"the source says that it has {page.total} users and gives none")
    # A source that does not tell its total is read by one chunk, as far as it goes.
    total = page.size if page.total is None else page.total
    rows = max(chunk_rows, page_size, math.ceil(total / MOST_CHUNKS))
    starts = [0] if page.complete else list(range(0, max(total, 1), rows))
    shared = {"source": source, "total": page.total, "first_id": page.users[0].external_id if page.users else None}
    stops = [*starts[1:], None]
    return [{"start": start, "stop": stop, **shared} for start, stop in zip(starts, stops, strict=True)]


def _check_news(ids: set[int], seen: set[int], *, repeated: bool, url_name: str) -> None:
    if ids and (repeated or ids <= seen):
        raise ProviderError(f"the source sends the same page again and again: it ignores paging; check {url_name}")


def _is_last(page: UserPage, position: int, limit: int, work: dict[str, Any]) -> bool:
    """Whether the chunk is read: its range, or at the open end of the source a page that is not full past the total."""
    if page.complete or page.size == 0:
        return True
    if work["stop"] is not None:
        return bool(position >= work["stop"])
    return page.size < limit and position >= max(work["total"] or 0, page.total or 0)


def _check_end(position: int, total: int | None, page_size: int) -> None:
    """Raises ProviderError when the source goes on and on."""
    if total is None and position > _MOST_USERS_UNTOLD:
        raise ProviderError(f"the source does not say how many users it has and goes on past user {position}")
    if total is not None and position > total + _MOST_PAGES_PAST_TOTAL * page_size:
        raise ProviderError(f"the source said that it has {total} users and goes on past user {position}")


def _write(page: UserPage, connection: Connection) -> Counts:
    return upsert_users(connection, page.users) + Counts(rejected=len(page.rejected))
