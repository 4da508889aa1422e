"""Pages of users: what is asked for, and where the next one is."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from app.db import AsyncDatabase
from app.queries.users import UserFilter, list_users


@dataclass(frozen=True)
class Page:
    """Users as JSON texts, and the query of the next page; None on the last one."""

    bodies: Sequence[str]
    next_query: str | None


async def read_page(
    request: Request, database: AsyncDatabase, wanted: UserFilter, *, limit: int, offset: int, after: int | None
) -> Page:
    """A page of users, by keyset when ``after`` is given, else by offset."""
    # One more than asked for tells whether there is a next page.
    rows = await database.rows(*list_users(wanted, limit=limit + 1, offset=offset, after=after))
    bodies = [row[1] for row in rows[:limit]]
    if len(rows) <= limit:
        return Page(bodies, None)
    position = {"offset": offset + limit} if after is None else {"after": rows[limit - 1][0]}
    return Page(bodies, request.url.include_query_params(**position).query)
