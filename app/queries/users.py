"""Reading and writing users."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Executable,
    Select,
    bindparam,
    false,
    func,
    literal_column,
    select,
    true,
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
_values = attrgetter(*_NAMES)


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
    return Query(_count(_flags(wanted), bool(parameters)), parameters)


def upsert_users(connection: Connection, users: Sequence[UserRecord]) -> Counts:
    """Writes the users that are new or have changed, or are back after having been marked as removed."""
    rows = [(*_values(user), _search_text(user), None) for user in users]
    return upsert(connection, User.__table__, (*_NAMES, "search_text", "removed_at"), rows)


@lru_cache(maxsize=1_024)
def _page(flags: Flags, parameters: frozenset[str], limit: int) -> Executable:
    ids = _filtered(select(User.id), flags, searching="q" in parameters).order_by(User.id)
    # Written out, since a plan for any limit at all would reckon with a tenth of the table.
    ids = ids.limit(literal_column(str(limit)))
    if "after" in parameters:
        ids = ids.where(User.id > bindparam("after", type_=BigInteger))
    if "offset" in parameters:
        ids = ids.offset(bindparam("offset", type_=BigInteger))
    page = ids.subquery()
    return _rendered().join(page, page.c.id == User.id).order_by(User.id)


@cache
def _one() -> Executable:
    return _rendered().where(User.id == bindparam("user_id", type_=BigInteger))


@cache
def _count(flags: Flags, searching: bool) -> Executable:
    return _filtered(select(func.count(User.id)), flags, searching=searching)


def _rendered() -> Select[tuple[int, str]]:
    return (
        select(User.id, as_text(_BODY))
        .outerjoin(Address, Address.user_id == User.id)
        .outerjoin(CreditCard, CreditCard.user_id == User.id)
    )


def _flags(wanted: UserFilter) -> Flags:
    return wanted.has_address, wanted.has_card, wanted.removed


def _filtered(statement: Select[tuple[int]], flags: Flags, *, searching: bool) -> Select[tuple[int]]:
    has_address, has_card, removed = flags
    for column, value in ((User.has_address, has_address), (User.has_card, has_card)):
        if value is not None:
            statement = statement.where(column == (true() if value else false()))
    if removed is not None:
        statement = statement.where(User.removed_at.is_not(None) if removed else User.removed_at.is_(None))
    if searching:
        statement = statement.where(User.search_text.like(bindparam("q"), escape=_ESCAPE))
    return statement


def _search_parameters(wanted: UserFilter) -> dict[str, Any]:
    if not wanted.q:
        return {}
    pattern = wanted.q.casefold()
    for special in (_ESCAPE, "%", "_"):
        pattern = pattern.replace(special, _ESCAPE + special)
    return {"q": f"%{pattern}%"}


def _search_text(user: UserRecord) -> str:
    return "\n".join(filter(None, (user.name, user.username, user.email))).casefold()
