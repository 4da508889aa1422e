"""Reading and writing users."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from itertools import product
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Executable,
    Integer,
    Select,
    bindparam,
    false,
    func,
    literal_column,
    select,
    true,
    union_all,
)

from app.models import Address, CreditCard, User
from app.queries.json_rendering import as_text, constant, json_object, json_time
from app.queries.query import Query
from app.queries.upsert import upsert
from app.records import Counts, UserRecord
from app.utils.masking import MASK


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users are wanted; None means any. ``q`` is looked for in name, username and email, whatever the case.

    removed: whether the source no longer has them.
    """

    has_address: bool | None = None
    has_card: bool | None = None
    q: str | None = None
    removed: bool | None = None


_BODY = json_object(
    {
        **{
            name: getattr(User, name)
            for name in ("id", "external_id", "name", "username", "email", "phone", "website", "company_name")
        },
        "created_at": json_time(User.created_at),
        "updated_at": json_time(User.updated_at),
        "removed_at": json_time(User.removed_at),
        "address": json_object(
            {
                name: getattr(Address, name)
                for name in ("street", "city", "state", "postal_code", "country", "lat", "lng")
            },
            unless_null=Address.user_id,
        ),
        "credit_card": json_object(
            {
                "number": constant(MASK) + CreditCard.last4,
                **{name: getattr(CreditCard, name) for name in ("last4", "brand", "exp_month", "exp_year")},
            },
            unless_null=CreditCard.user_id,
        ),
    }
)


Flags = tuple[bool | None, bool | None, bool | None]

_ESCAPE = "/"
_NAMES = tuple(field.name for field in fields(UserRecord))


def list_users(wanted: UserFilter, *, limit: int, offset: int = 0, after: int | None = None) -> Query:
    """(id, JSON) of the wanted users in the order of their ids: after a user's id, or from an offset on."""
    parameters: dict[str, Any] = _search_parameters(wanted)
    if after is not None:
        parameters["after"] = after
    elif offset:
        parameters["offset"] = offset
    return Query(_page(_flags(wanted), frozenset(parameters), limit), parameters)


def get_user(user_id: int) -> Query:
    """(id, JSON) of one user."""
    return Query(_one(), {"user_id": user_id})


def count_users(wanted: UserFilter) -> Query:
    """How many users are wanted; costs a scan of an index."""
    parameters = _search_parameters(wanted)
    return Query(_count(_flags(wanted), frozenset(parameters)), parameters)


def upsert_users(connection: Connection, users: Sequence[UserRecord]) -> Counts:
    """Writes the users that are new or have changed, or are back after having been marked as removed.

    Of two that have the same external id the later one counts.
    """
    unique = {user.external_id: user for user in users}.values()
    columns: dict[str, list[Any]] = {name: list(map(attrgetter(name), unique)) for name in _NAMES}
    columns["search_text"] = [_search_text(user) for user in unique]
    columns["removed_at"] = [None] * len(unique)
    return upsert(connection, User.__table__, columns)


@lru_cache(maxsize=1_024)
def _page(flags: Flags, parameters: frozenset[str], limit: int) -> Executable:
    # Written out, since a plan for any limit at all would reckon with a tenth of the table.
    rows: ColumnElement[int] = literal_column(str(limit), Integer)
    offset = bindparam("offset", type_=BigInteger) if "offset" in parameters else None
    ranges = _ranges(flags, parameters)
    if len(ranges) == 1:
        ids = ranges[0].order_by(User.id)
    else:
        reach = rows if offset is None else rows + offset
        parts = (select(part.order_by(User.id).limit(reach).subquery().c.id) for part in ranges)
        merged = union_all(*parts).subquery()
        ids = select(merged.c.id).order_by(merged.c.id)
    page = ids.limit(rows).offset(offset).subquery()
    return _rendered().join(page, page.c.id == User.id).order_by(User.id)


@cache
def _one() -> Executable:
    return _rendered().where(User.id == bindparam("user_id", type_=BigInteger))


@cache
def _count(flags: Flags, parameters: frozenset[str]) -> Executable:
    ranges = union_all(*_ranges(flags, parameters)).subquery()
    return select(func.count()).select_from(ranges)


def _rendered() -> Select[tuple[int, str]]:
    return (
        select(User.id, as_text(_BODY))
        .outerjoin(Address, Address.user_id == User.id)
        .outerjoin(CreditCard, CreditCard.user_id == User.id)
    )


def _flags(wanted: UserFilter) -> Flags:
    return wanted.has_address, wanted.has_card, wanted.removed


def _ranges(flags: Flags, parameters: frozenset[str]) -> list[Select[tuple[int]]]:
    """The ids of the wanted users, in parts that are each in the order of their ids in one of the indexes.

    An index begins with the flags: where one may be either, its two ranges are two parts. All users are in that order
    anyway, and a search looks for its text first.
    """
    has_address, has_card, removed = flags
    parts: list[Flags]
    if flags == (None, None, None):
        parts = [flags]
    elif "q" in parameters:
        parts = [(has_address, has_card, value) for value in _either(removed)]
    else:
        parts = list(product(_either(has_address), _either(has_card), _either(removed)))
    return [_part(part, parameters) for part in parts]


def _either(value: bool | None) -> tuple[bool, ...]:
    return (True, False) if value is None else (value,)


def _part(flags: Flags, parameters: frozenset[str]) -> Select[tuple[int]]:
    has_address, has_card, removed = flags
    ids = select(User.id)
    for column, value in ((User.has_address, has_address), (User.has_card, has_card)):
        if value is not None:
            ids = ids.where(column == (true() if value else false()))
    if removed is not None:
        ids = ids.where(User.removed_at.is_not(None) if removed else User.removed_at.is_(None))
    if "after" in parameters:
        ids = ids.where(User.id > bindparam("after", type_=BigInteger))
    if "q" in parameters:
        ids = ids.where(User.search_text.like(bindparam("q"), escape=_ESCAPE))
    return ids


def _search_parameters(wanted: UserFilter) -> dict[str, Any]:
    if not wanted.q:
        return {}
    pattern = wanted.q.casefold()
    for special in (_ESCAPE, "%", "_"):
        pattern = pattern.replace(special, _ESCAPE + special)
    return {"q": f"%{pattern}%"}


def _search_text(user: UserRecord) -> str:
    return "\n".join(filter(None, (user.name, user.username, user.email))).casefold()
