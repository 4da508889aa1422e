"""Users as the page lists them: what is shown, what was asked for, and the ways out of an empty list."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from app.api.deps import KeysetQuery
from app.api.page_runs import moment
from app.api.page_words import amount
from app.api.paging import read_page
from app.async_db import AsyncDatabase
from app.queries.users import UserFilter, list_users

_TIMES = ("created_at", "updated_at", "removed_at")
_FLAGS = {
    "has_address": ("with an address", "without an address"),
    "has_card": ("with a card", "without a card"),
    "removed": ("that left the source", "still at the source"),
}


@dataclass(frozen=True)
class Listing:
    """A page of users. query: the parameters of this page. ways_out: (sentence, address) pairs, when nobody matches."""

    users: Sequence[dict[str, Any]]
    wanted: UserFilter
    limit: int
    query: str
    pages: Sequence[tuple[str, str, str]]
    ways_out: Sequence[tuple[str, str]]
    summary: str

    @property
    def is_empty(self) -> bool:
        """Whether there is no user at all: nothing was asked for, and nobody is there."""
        return not (self.users or self.ways_out)


def user(text: str) -> dict[str, Any]:
    """A user from the JSON that the database rendered, with its times as such."""
    body: dict[str, Any] = json.loads(text)
    return body | {name: moment(body.get(name)) for name in _TIMES}


async def read_listing(request: Request, database: AsyncDatabase, query: KeysetQuery) -> Listing:
    wanted, after = query.wanted, query.after or 0
    page = await read_page(request, database, query.model_copy(update={"after": after}))
    users = [user(body) for body in page.bodies]
    pages = []
    if after:
        pages.append(("First page", _address(request, "after"), "first"))
    if page.next_query is not None:
        pages.append(("Next page", f"/users/ui?{page.next_query}", "next"))
    ways_out = [] if users else await _ways_out(request, database, wanted, after)
    summary = _summary(users, wanted, after, is_last=page.next_query is None)
    return Listing(users, wanted, query.limit, request.url.query, pages, ways_out, summary)


def _summary(users: Sequence[dict[str, Any]], wanted: UserFilter, after: int, *, is_last: bool) -> str:
    asked = " ".join(_asked_for(wanted).values())
    if not users:
        return f"No users {asked}".rstrip()
    shown = amount(len(users), "user")
    if is_last and not after:
        return f"{shown} {asked}".rstrip()
    last = ", the last page" if is_last else ""
    return f"{shown} {asked}".rstrip() + f": ids {users[0]['id']:,} to {users[-1]['id']:,}{last}"


def _asked_for(wanted: UserFilter) -> dict[str, str]:
    """The filters that are set, and how they read."""
    asked = {
        name: words[not getattr(wanted, name)] for name, words in _FLAGS.items() if getattr(wanted, name) is not None
    }
    return asked | ({"q": f"matching “{wanted.q}”"} if wanted.q else {})


async def _ways_out(request: Request, database: AsyncDatabase, wanted: UserFilter, after: int) -> list[tuple[str, str]]:
    """Which filter to drop: those first without which there is somebody."""
    found = []
    for sentence, fewer, dropped in _relaxed(wanted, after):
        if await database.rows(*list_users(fewer, limit=1, after=0)):
            found.append((sentence, _address(request, *dropped)))
    if after or _asked_for(wanted):
        found.append(("Show all users", "/users/ui"))
    return found


def _relaxed(wanted: UserFilter, after: int) -> Iterator[tuple[str, UserFilter, tuple[str, ...]]]:
    if after:
        yield "Back to the first page", wanted, ("after",)
    asked = _asked_for(wanted)
    if len(asked) < 2:
        return
    for name, words in asked.items():
        yield f"Search all users, not only those {words}", replace(wanted, **{name: None}), (name, "after")


def _address(request: Request, *without: str) -> str:
    query = request.url.remove_query_params(list(without)).query
    return f"/users/ui?{query}" if query else "/users/ui"
