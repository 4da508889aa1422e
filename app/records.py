"""What the inside of the service speaks: frozen, free of any wire or table."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from app.utils.masking import redact


class Job(StrEnum):
    """The three jobs, by the short names that people and the runs table use."""

    SYNC_USERS = "sync_users"
    ENRICH_MISSING_ADDRESSES = "enrich_missing_addresses"
    ENRICH_MISSING_CARDS = "enrich_missing_cards"


class Trigger(StrEnum):
    """What started a run."""

    BEAT = "beat"
    API = "api"
    CLI = "cli"
    FOLLOWUP = "followup"


class Status(StrEnum):
    """The states of a run; a chunk knows all but ``skipped``."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


OPEN = (Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user as the source knows them."""

    external_id: int
    name: str
    username: str | None = None
    email: str | None = None
    phone: str | None = None
    website: str | None = None
    company_name: str | None = None


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """A postal address; coordinates in degrees."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: str | None = None
    lat: float | None = None
    lng: float | None = None


@dataclass(frozen=True, slots=True)
class CardRecord:
    """What is kept of a credit card: never more than the last four digits of its number."""

    last4: str
    brand: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that failed validation: which one and why, never its values."""

    external_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class UserPage:
    """A page of users.

    size: records in the answer, rejected ones included. total: what the source says it has, None when it does not say.
    complete: the answer is the whole collection, whatever page was asked for. seen: the ids of all records, rejected
    ones included. unknown: how many rejected records have no id that could be read.
    """

    users: Sequence[UserRecord]
    rejected: Sequence[Rejected]
    size: int
    total: int | None
    complete: bool
    seen: Set[int] = frozenset()
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of rows: written (inserted, updated), left alone, refused, or not at the source."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    missing: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Counts)))

    def total(self) -> int:
        """How many rows and records they stand for."""
        return sum(getattr(self, f.name) for f in fields(Counts))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run or chunk failed: the error's class and its sentence."""

    error_class: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        return cls(type(error).__name__, redact(str(error)) or type(error).__name__)


@dataclass(frozen=True, slots=True)
class ChunkMessage:
    """What goes through the broker: do this chunk of a run of this job.

    trace_id: the run's trace, for a message that is not published from within it.
    """

    job: Job
    chunk_id: int
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A chunk that this worker holds, as it was when the lease was taken.

    work: what to do, None when the run is not planned yet. position: how much of it is done.
    attempt: the number of this try since the last progress, from 1 on. batch_size: the run's rows, None for a sync.
    """

    chunk_id: int
    run_id: int
    job: Job
    batch_size: int | None
    work: dict[str, Any] | None
    position: int
    attempt: int
    lease_token: str


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that has just ended."""

    run_id: int
    job: Job
    trigger: Trigger
    batch_size: int | None
    counts: Counts
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Answers:
    """What a source had for some users, by their external ids; users in none of the three are still to be asked for.

    records: what it has. missing: users that it does not have, or not with such a row. bad: users whose record it
    answers badly, and why. rejected: records that belong to nobody and were of no use, and why. failure: why the
    source was not asked further, or why its answers as a whole cannot be right.
    """

    records: Mapping[int, AddressRecord | CardRecord] = field(default_factory=dict)
    missing: Set[int] = frozenset()
    bad: Mapping[int, str] = field(default_factory=dict)
    rejected: Sequence[Rejected] = ()
    failure: Exception | None = None

    def answered(self) -> Set[int]:
        """The users that need not be asked for again now."""
        return self.records.keys() | self.missing | self.bad.keys()
