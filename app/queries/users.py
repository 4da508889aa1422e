"""Reading and writing users."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from sqlalchemy import Connection, Select, func, select

from app.models import Address, CreditCard, User
from app.queries.json_rendering import as_text, json_object, json_time
from app.queries.upsert import upsert
from app.records import Counts, UserRecord
from app.utils.masking import MASK


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users are wanted; None means any. ``q`` is looked for in name, username and email, whatever the case."""

    has_address: bool | None = None
    has_card: bool | None = None
    q: str | None = None


_BODY = json_object(
    {
        **{
            name: getattr(User, name)
            for name in ("id", "external_id", "name", "username", "email", "phone", "website", "company_name")
        },
        "created_at": json_time(User.created_at),
        "updated_at": json_time(User.updated_at),
        "address": json_object(
            {
                name: getattr(Address, name)
                for name in ("street", "city", "state", "postal_code", "country", "lat", "lng")
            },
            unless_null=Address.user_id,
        ),
        "credit_card": json_object(
            {
                "number": MASK + CreditCard.last4,
                **{name: getattr(CreditCard, name) for name in ("last4", "brand", "exp_month", "exp_year")},
            },
            unless_null=CreditCard.user_id,
        ),
    }
)


_NAMES = tuple(field.name for field in fields(UserRecord))
_values = attrgetter(*_NAMES)


def list_users(wanted: UserFilter, *, limit: int, offset: int = 0, after: int | None = None) -> Select[tuple[int, str]]:
    """(id, JSON) of the wanted users in the order of their ids: after a user's id, or from an offset on."""
    ids = _filtered(select(User.id), wanted).order_by(User.id).limit(limit)
    ids = ids.offset(offset) if after is None else ids.where(User.id > after)
    page = ids.subquery()
    return _rendered().join(page, page.c.id == User.id).order_by(User.id)


def get_user(user_id: int) -> Select[tuple[int, str]]:
    """(id, JSON) of one user."""
    return _rendered().where(User.id == user_id)


def count_users(wanted: UserFilter) -> Select[tuple[int]]:
    """How many users are wanted; costs a scan of an index."""
    return _filtered(select(func.count(User.id)), wanted)


def upsert_users(connection: Connection, users: Sequence[UserRecord]) -> Counts:
    """Writes the users that are new or have changed."""
    rows = [(*_values(user), _search_text(user)) for user in users]
    return upsert(connection, User.__table__, (*_NAMES, "search_text"), rows)


def _rendered() -> Select[tuple[int, str]]:
    return (
        select(User.id, as_text(_BODY))
        .outerjoin(Address, Address.user_id == User.id)
        .outerjoin(CreditCard, CreditCard.user_id == User.id)
    )


def _filtered(statement: Select[tuple[int]], wanted: UserFilter) -> Select[tuple[int]]:
    if wanted.has_address is not None:
        statement = statement.where(User.has_address == wanted.has_address)
    if wanted.has_card is not None:
        statement = statement.where(User.has_card == wanted.has_card)
    if wanted.q:
        statement = statement.where(User.search_text.contains(wanted.q.casefold(), autoescape=True))
    return statement


def _search_text(user: UserRecord) -> str:
    return "\n".join(part.casefold() for part in (user.name, user.username, user.email) if part)
