"""Pages of users: what is asked for, and where the next one is."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import Request

from app.api.deps import KeysetQuery
from app.async_db import AsyncDatabase
from app.queries.users import list_users


@dataclass(frozen=True)
class Page:
    """Users as JSON texts, and the query of the next page; None on the last one."""

    bodies: Sequence[str]
    next_query: str | None


async def read_page(request: Request, database: AsyncDatabase, query: KeysetQuery, *, offset: int = 0) -> Page:
    """A page of users, by keyset when the query has ``after``, else by offset."""
    # One more than asked for tells whether there is a next page.
    rows = await database.rows(*list_users(query.wanted, limit=query.limit + 1, offset=offset, after=query.after))
    bodies = [row[1] for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return Page(bodies, None)
    position = {"offset": offset + query.limit} if query.after is None else {"after": rows[query.limit - 1][0]}
    others = [(name, value) for name, value in request.query_params.multi_items() if name not in position]
    return Page(bodies, urlencode([*others, *position.items()]))
