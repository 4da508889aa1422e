"""Runs as the page shows them."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from app.api.page_advice import advice
from app.api.page_words import ago, amount, took
from app.records import OPEN, Job, Status, Trigger

TITLES = {
    Job.SYNC_USERS: "Users",
    Job.ENRICH_MISSING_ADDRESSES: "Addresses",
    Job.ENRICH_MISSING_CARDS: "Cards",
}
TONES = {
    Status.QUEUED: "busy",
    Status.RUNNING: "busy",
    Status.SUCCEEDED: "good",
    Status.FAILED: "bad",
    Status.SKIPPED: "skip",
}
_TRIGGERS = {
    Trigger.BEAT: "the schedule",
    Trigger.API: "a request",
    Trigger.CLI: "a shell",
    Trigger.FOLLOWUP: "new users",
}
_COUNTS = {
    "inserted": "new",
    "updated": "changed",
    "unchanged": "unchanged",
    "removed": "left",
    "rejected": "rejected",
    "missing": "not at the source",
}
_TIMES = ("scheduled_for", "created_at", "started_at", "finished_at")


def moment(text: str | None) -> datetime | None:
    """A time that the database rendered, if it has one."""
    return None if text is None else datetime.fromisoformat(text)


@dataclass(frozen=True)
class RunView:
    """A run, or a chunk of one, with the words for it. body: as the API answers it. now: the moment of the page."""

    body: dict[str, Any]
    now: datetime

    @classmethod
    def of(cls, text: str, now: datetime) -> "RunView":
        body = json.loads(text)
        return cls(body | {name: moment(body.get(name)) for name in _TIMES}, now)

    def __getattr__(self, name: str) -> Any:
        """What the words below do not cover is shown as it is."""
        try:
            return self.body[name]
        except KeyError:
            raise AttributeError(name) from None

    @cached_property
    def job(self) -> Job:
        return Job(self.task)

    @property
    def title(self) -> str:
        return TITLES[self.job]

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def is_stale(self) -> bool:
        return bool(self.body.get("stale"))

    @property
    def tone(self) -> str:
        return "warn" if self.is_stale else TONES[Status(self.status)]

    @property
    def word(self) -> str:
        return "stalled" if self.is_stale else str(self.status)

    @property
    def at(self) -> datetime:
        """When the run ended, or began, or was asked for."""
        at: datetime = self.finished_at or self.started_at or self.created_at
        return at

    @property
    def began_by(self) -> str:
        return _TRIGGERS[Trigger(self.trigger)]

    @property
    def took(self) -> str | None:
        """None until it has begun."""
        if self.started_at is None:
            return None
        return took(((self.finished_at or self.now) - self.started_at).total_seconds())

    @property
    def done(self) -> int:
        return int(self.rows_done if self.rows_total else self.chunks_done)

    @property
    def total(self) -> int | None:
        """What ``done`` is of: users, or else parts; None while the run is not planned."""
        if self.rows_total:
            return int(self.rows_total)
        return self.chunks if self.chunks > 1 else None

    @property
    def sentence(self) -> str:
        """How far an open run has come."""
        if self.is_stale:
            return (
                f"waits for a worker; nobody has worked on it since {ago(self.started_at or self.created_at, self.now)}"
            )
        if self.status == Status.QUEUED:
            return "waits for a worker"
        if self.rows_total:
            return f"{self.rows_done:,} of {amount(self.rows_total, 'user')}, for {self.took}"
        return f"{amount(self.rows_done, 'user')} so far, for {self.took}"

    @property
    def counts(self) -> list[tuple[int, str]]:
        return [(self.body[name], word) for name, word in _COUNTS.items() if name in self.body]

    @property
    def result(self) -> str:
        """What became of the rows: what happened at all, and what has changed first."""
        return ", ".join(f"{number:,} {word}" for number, word in self.counts if number)

    @property
    def headline(self) -> str:
        if self.is_stale:
            return "No worker has it in hand. See whether a worker runs and reaches the broker; it is handed out again."
        if self.note:
            return str(self.note)
        return {
            Status.QUEUED: "It waits for a worker.",
            Status.RUNNING: "It is being worked on.",
            Status.SUCCEEDED: "It has done all there was to do.",
            Status.FAILED: "It has stopped before its end; what was written until then stays.",
            Status.SKIPPED: "It did not start.",
        }[Status(self.status)]

    @property
    def why(self) -> str:
        """What the run's error message is about."""
        if self.is_open:
            return "Why it is tried again"
        return "Why it did not start" if self.status == Status.SKIPPED else "Why it failed"

    @property
    def advice(self) -> str | None:
        return advice(self.job, self.error_class) if self.status == Status.FAILED else None
