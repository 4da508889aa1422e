"""The tables. Only the migrations create them; see docs/adr for why they look as they do."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_BIG = BigInteger().with_variant(Integer, "sqlite")
# Users that were never checked sort before all others, whose pause ends at some later time.
NEVER_CHECKED = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER_CHECKED = text("'1970-01-01 00:00:00.000000'")
_OPEN_STATUS = text("status IN ('queued', 'running')")
_PRESENT = text("removed_at IS NULL")
_REMOVED = text("removed_at IS NOT NULL")
_LACKS_ADDRESS = text("NOT has_address AND removed_at IS NULL")
_LACKS_CARD = text("NOT has_card AND removed_at IS NULL")


def _partial_index(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=where, sqlite_where=where)


class UtcDateTime(TypeDecorator[datetime]):
    """Times are aware and in UTC, on SQLite too, which stores them as text without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """The tables' common ground: which Python type is which column."""

    __table__: ClassVar[Table]
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        int: _BIG,
        str: String(255),
        dict[str, Any]: JSON(none_as_null=True),
    }


class Timestamps:
    """updated_at moves only when a value that the source gave has changed."""

    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class User(Timestamps, Base):
    """A user of the source.

    has_address and has_card are kept true to the other two tables by triggers, so that filters and picks cost the
    same at any size. *_checks counts the answers that gave no usable record, *_due_at is the time before which the
    user is not asked for again. search_text is name, username and email, case folded, a line each. removed_at is when
    a complete sync first missed the user, None while the source has them.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    external_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    name: Mapped[str]
    username: Mapped[str | None]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    website: Mapped[str | None]
    company_name: Mapped[str | None]
    search_text: Mapped[str] = mapped_column(Text)
    removed_at: Mapped[datetime | None]
    has_address: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    address_checks: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    address_due_at: Mapped[datetime] = mapped_column(server_default=_NEVER_CHECKED)
    has_card: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    card_checks: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    card_due_at: Mapped[datetime] = mapped_column(server_default=_NEVER_CHECKED)

    __table_args__ = (
        # Any combination of flags is a range of one of these, or a few of them merged: see queries/users.py.
        _partial_index("ix_users_present", "has_address", "has_card", "id", where=_PRESENT),
        _partial_index("ix_users_removed", "has_address", "has_card", "id", where=_REMOVED),
        _partial_index("ix_users_address_due", "address_due_at", "id", where=_LACKS_ADDRESS),
        _partial_index("ix_users_card_due", "card_due_at", "id", where=_LACKS_CARD),
    )


class Address(Timestamps, Base):
    """The one address of a user."""

    __tablename__ = "addresses"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    street: Mapped[str | None]
    city: Mapped[str | None]
    state: Mapped[str | None]
    postal_code: Mapped[str | None]
    country: Mapped[str | None]
    lat: Mapped[float | None]
    lng: Mapped[float | None]


class CreditCard(Timestamps, Base):
    """The one credit card of a user: the last four digits are all that is known of its number."""

    __tablename__ = "credit_cards"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    last4: Mapped[str] = mapped_column(String(4))
    brand: Mapped[str | None]
    exp_month: Mapped[int | None] = mapped_column(Integer)
    exp_year: Mapped[int | None] = mapped_column(Integer)


class Tally:
    """What became of the rows of a run or chunk; see records.Counts."""

    inserted: Mapped[int] = mapped_column(server_default=text("0"))
    updated: Mapped[int] = mapped_column(server_default=text("0"))
    unchanged: Mapped[int] = mapped_column(server_default=text("0"))
    rejected: Mapped[int] = mapped_column(server_default=text("0"))
    missing: Mapped[int] = mapped_column(server_default=text("0"))


class Outcome:
    """How far a run or chunk has come and what stopped it."""

    status: Mapped[str] = mapped_column(String(16))
    error_class: Mapped[str | None]
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Run(Outcome, Tally, Base):
    """One execution of a job. The counts are summed up from its chunks when it ends.

    message_id is the Celery task id of the message that `celery call` sent, so that a redelivery finds its run.
    idempotency_key is what the request that asked for the run called it, idempotency_fingerprint what it asked for.
    blocked_by is the open run because of which this one was skipped. removed counts the users that the run marked as
    removed; note is a sentence about a run that did not fail.
    """

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    trigger: Mapped[str] = mapped_column(String(16))
    scheduled_for: Mapped[datetime | None]
    batch_size: Mapped[int | None] = mapped_column(Integer)
    message_id: Mapped[str | None] = mapped_column(unique=True)
    idempotency_key: Mapped[str | None]
    idempotency_fingerprint: Mapped[str | None] = mapped_column(String(64))
    blocked_by: Mapped[int | None] = mapped_column(BigInteger)
    trace_id: Mapped[str | None] = mapped_column(String(32))
    removed: Mapped[int] = mapped_column(server_default=text("0"))
    note: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("task", "scheduled_for"),
        Index("uq_runs_idempotency_key", "idempotency_key", unique=True),
        _partial_index("uq_runs_open_task", "task", where=_OPEN_STATUS, unique=True),
        Index("ix_runs_task_status_finished_at", "task", "status", "finished_at"),
        Index("ix_runs_task_id", "task", "id"),
        Index("ix_runs_status_id", "status", "id"),
    )


class RunChunk(Outcome, Tally, Base):
    """A part of a run that one worker does at a time.

    work: what to do, None until the run is planned. position: how much of it is done and committed.
    attempt: tries since the last progress. lease_token: the worker's proof that the chunk is its own, until
    lease_until. message_id: the message that the lease was taken for. A queued chunk is not worked on before
    not_before; when no worker has received it by expected_by, the reaper publishes it again, for the
    (publications + 1)th time.
    """

    __tablename__ = "run_chunks"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    work: Mapped[dict[str, Any] | None]
    position: Mapped[int] = mapped_column(server_default=text("0"))
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None]
    message_id: Mapped[str | None]
    not_before: Mapped[datetime]
    expected_by: Mapped[datetime]
    publications: Mapped[int] = mapped_column(Integer, server_default=text("0"))

    __table_args__ = (
        UniqueConstraint("run_id", "number"),
        _partial_index("ix_run_chunks_open", "status", "id", where=_OPEN_STATUS),
    )


class SeenPage(Base):
    """Whom a page of an open sync has shown, until the run's end tells from it whom the source no longer has.

    position: the chunk's position behind the page. external_ids: all ids on it, those of rejected records included.
    records: how many records they stand for. total: what the source said with this page that it has, or None.
    """

    __tablename__ = "seen_pages"

    chunk_id: Mapped[int] = mapped_column(ForeignKey("run_chunks.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    external_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger).with_variant(JSON(), "sqlite"))
    records: Mapped[int] = mapped_column(Integer)
    total: Mapped[int | None] = mapped_column(BigInteger)
