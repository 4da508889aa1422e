"""Picking users that lack a row, and writing what a source had for them: the same for addresses and cards."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache, cached_property, lru_cache
from operator import attrgetter

from sqlalchemy import ColumnElement, Connection, Select, func, literal_column, select, update
from sqlalchemy.orm import InstrumentedAttribute

from app.models import NEVER_CHECKED, Address, CreditCard, User
from app.queries import clock
from app.queries.among import among, given
from app.queries.upsert import upsert
from app.records import AddressRecord, CardRecord, Counts


@dataclass(frozen=True)
class Lacking:
    """Where the users' table keeps what is known of a kind of row that users may lack."""

    model: type[Address] | type[CreditCard]
    record: type[AddressRecord] | type[CardRecord]
    has: InstrumentedAttribute[bool]
    checks: InstrumentedAttribute[int]
    due_at: InstrumentedAttribute[datetime]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns that a record fills."""
        return tuple(field.name for field in fields(self.record))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A user to look up. checks: how often the source had nothing usable."""

    user_id: int
    external_id: int
    checks: int


ADDRESSES = Lacking(Address, AddressRecord, User.has_address, User.address_checks, User.address_due_at)
CARDS = Lacking(CreditCard, CardRecord, User.has_card, User.card_checks, User.card_due_at)


def due(lacking: Lacking, limit: int) -> Select[tuple[int]]:
    """Ids of users that lack the row and are still at the source: those never checked first, then those whose pause is
    over.
    """
    waiting = select(User.id).where(*_lacks(lacking), lacking.due_at <= clock.now())
    return waiting.order_by(lacking.due_at, User.id).limit(limit)


def candidates(connection: Connection, lacking: Lacking, user_ids: Sequence[int]) -> list[Candidate]:
    """Those of the users that are still there, still lack the row and have not been asked for in vain since."""
    rows = connection.execute(_candidates(lacking), {"user_ids": given(user_ids)})
    return [Candidate(*row) for row in rows]


def lock(connection: Connection, user_ids: Collection[int]) -> set[int]:
    """Locks the users in the order of their ids, as every writer of users does; those that are still there."""
    return set(connection.execute(_lock(), {"user_ids": given(user_ids)}).scalars())


def write(connection: Connection, lacking: Lacking, records: Mapping[int, AddressRecord | CardRecord]) -> Counts:
    """Links each record to its user (by user id). Users that were deleted since are left out."""
    present = sorted(lock(connection, records.keys()))
    found = [records[user_id] for user_id in present]
    columns = {name: list(map(attrgetter(name), found)) for name in lacking.names}
    return upsert(connection, lacking.model.__table__, {"user_id": present, **columns})


def postpone(connection: Connection, lacking: Lacking, user_ids: Collection[int], pause_seconds: float) -> None:
    """Notes that a source had nothing usable for these users, who are not asked for again before the pause is over."""
    paused = {lacking.checks: lacking.checks + 1, lacking.due_at: clock.now_plus(pause_seconds)}
    statement = update(User.__table__).where(among(User.id, "user_ids")).values(paused)
    connection.execute(statement, {"user_ids": given(user_ids)})


@lru_cache(maxsize=64)
def count_up_to(lacking: Lacking, limit: int) -> Select[tuple[int]]:
    """How many users lack the row, counted no further than ``limit``."""
    some = select(User.id).where(*_lacks(lacking)).limit(literal_column(str(limit)))
    return select(func.count()).select_from(some.subquery())


def backlog(lacking: Lacking) -> Select[tuple[int, int]]:
    """How many users lack the row, and how many of them are due now; counted in the index of those users."""
    is_due = lacking.due_at <= clock.now()
    return select(func.count(User.id), func.count(User.id).filter(is_due)).where(*_lacks(lacking))


def oldest_never_asked(lacking: Lacking) -> Select[tuple[datetime]]:
    """When the first of the users was first seen who lack the row and whom the source was never asked about."""
    never = select(User.created_at).where(*_lacks(lacking), lacking.due_at == NEVER_CHECKED)
    return never.order_by(User.id).limit(literal_column("1"))


@cache
def _candidates(lacking: Lacking) -> Select[tuple[int, int, int]]:
    waiting = (among(User.id, "user_ids"), *_lacks(lacking), lacking.due_at <= clock.now())
    return select(User.id, User.external_id, lacking.checks).where(*waiting).order_by(User.id)


@cache
def _lock() -> Select[tuple[int]]:
    chosen = select(User.id).where(among(User.id, "user_ids"))
    return chosen.order_by(User.id).with_for_update(key_share=True)


def _lacks(lacking: Lacking) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Users that the source no longer has are not looked up: it would not know them."""
    return ~lacking.has, User.removed_at.is_(None)
