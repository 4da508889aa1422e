"""What a source can do wrong in the middle of a run, and what has to become of the run."""

import gzip
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import repeat
from typing import Any
from uuid import uuid4

import pytest

from app.errors import ProviderError
from app.records import ChunkMessage, Job
from app.sample_provider import user as sample_user
from app.services import runs
from tests.conftest import PAYLOADS, LocalWorker
from tests.fake_source import Answer, DummyJsonLike, FakeSource, Query

USERS = 50
DONE = 20
TIMEOUT_SECONDS = 1
# A fault that nobody bounds would last.
_FOR_EVER_SECONDS = 90
# A page, users one by one, and what a busy machine takes on top.
_MOST_SECONDS = 3 * TIMEOUT_SECONDS + 20
MOST_BYTES = 200_000
SETTINGS = {
    "USERS_PAGE_SIZE": 10,
    "PROVIDER_TIMEOUT_SECONDS": TIMEOUT_SECONDS,
    "PROVIDER_CONNECT_TIMEOUT_SECONDS": TIMEOUT_SECONDS,
    "PROVIDER_MAX_BODY_BYTES": MOST_BYTES,
}
SECRETS = re.compile(r"\d{12}|secret|900-\d{3}|<html|hunter2")


@dataclass(frozen=True)
class Fault:
    """spoil: what is sent instead of an answer. sentence: a pattern that the reason has to hold.

    passes: whether the run waits and goes on. retry_after: how long it has to wait at least, in seconds.
    """

    spoil: Callable[[Answer], Answer]
    sentence: str
    passes: bool
    retry_after: int = 1


def _throttled(header: Callable[[], str]) -> Callable[[Answer], Answer]:
    return lambda good: Answer(good.body, status=429, headers={"Retry-After": header()})


def _in_half_a_minute() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)


def _cut_off(good: Answer, *, reset: bool = False) -> Answer:
    content = good.content()
    return Answer(content[: len(content) // 2], declared_length=len(content), reset=reset)


def _poured_out(good: Answer) -> Iterator[bytes]:
    yield b'{"users": ['
    yield from repeat(good.content() + b",")


def _to(location: str) -> Callable[[Answer], Answer]:
    return lambda good: Answer(good.body, status=302, headers={"Location": location})


# 300 MB, in thirty members of which each is quickly made.
_BOMB = gzip.compress(b" " * 10_000_000) * 30
_CONNECTION_LOST = r"/users\S* is out of reach: "
_TOO_LARGE = rf"/users\S* answered with more than {MOST_BYTES} bytes"
_NO_JSON = r"/users\S* answered with something that is not JSON: "

FAULTS: dict[str, Fault] = {
    "429 with seconds": Fault(_throttled(lambda: "7"), r"/users\S* answered 429 ", passes=True, retry_after=7),
    "429 with a date": Fault(_throttled(_in_half_a_minute), r"/users\S* answered 429 ", passes=True, retry_after=20),
    "500": Fault(lambda good: Answer(good.body, status=500), r"/users\S* answered 500 ", passes=True),
    "403": Fault(lambda good: Answer(good.body, status=403), r"/users\S* answered 403 ", passes=False),
    "an answer that never comes": Fault(
        lambda good: Answer(good.body, wait_seconds=_FOR_EVER_SECONDS),
        r"/users\S* did not answer within 1 s",
        passes=True,
    ),
    "a body that drips": Fault(
        lambda good: Answer(good.body, drip_seconds=0.02),
        r"/users\S* did not (finish its )?answer within 1 s",
        passes=True,
    ),
    "a connection that is reset in mid-body": Fault(
        lambda good: _cut_off(good, reset=True), f"{_CONNECTION_LOST}ConnectionResetError", passes=True
    ),
    "a connection that is closed in mid-body": Fault(_cut_off, f"{_CONNECTION_LOST}IncompleteRead", passes=True),
    "half a body that calls itself whole": Fault(
        lambda good: Answer(good.content()[: len(good.content()) // 2]), f"{_NO_JSON}EOF while parsing", passes=False
    ),
    "a body that never ends": Fault(lambda good: Answer(_poured_out(good)), _TOO_LARGE, passes=False),
    "a body that unpacks to hundreds of megabytes": Fault(
        lambda good: Answer(_BOMB, headers={"Content-Encoding": "gzip"}), _TOO_LARGE, passes=False
    ),
    "a body that is not packed as it says": Fault(
        lambda good: Answer(good.body, headers={"Content-Encoding": "gzip"}), "not packed as it says", passes=False
    ),
    "HTML": Fault(
        lambda good: Answer((PAYLOADS / "html-instead-of-json.html").read_bytes(), content_type="text/html"),
        f"{_NO_JSON}it is HTML",
        passes=False,
    ),
    "a picture": Fault(
        lambda good: Answer(b"\x89PNG\r\n\x1a\n" + good.content(), content_type="image/png"), _NO_JSON, passes=False
    ),
    "another shape": Fault(
        lambda good: Answer({"people": [sample_user(1)]}), "(no list of users|is not about this user)", passes=False
    ),
    "redirects in a circle": Fault(_to("/users?skip=40"), r"/users\S* redirects more than 3 times", passes=False),
    "a redirect to nobody": Fault(_to("http://127.0.0.1:1/users"), f"{_CONNECTION_LOST}ConnectionRefused", passes=True),
}


class Spoiled:
    """Answers as the source does, but for users behind the first twenty as the fault wants it, until it has passed."""

    def __init__(self, users: DummyJsonLike, fault: Fault) -> None:
        self._users = users
        self._fault = fault
        self.is_broken = True

    def __call__(self, path: str, query: Query) -> Answer:
        good = self._users(path, query)
        last = path.rsplit("/", 1)[1]
        concerned = int(last) > DONE if last.isdigit() else int(query.get("skip", 0)) >= DONE
        return self._fault.spoil(good) if self.is_broken and concerned else good


@dataclass
class Injection:
    """A worker, the source that it reads, and a fault in the source's answers about users behind the first twenty."""

    worker: LocalWorker
    source: FakeSource
    users: DummyJsonLike
    fault: Fault
    job: Job

    def __post_init__(self) -> None:
        if self.job != Job.SYNC_USERS:
            self.source.respond = self.users
            self.worker.call(Job.SYNC_USERS)
            self.worker.execute(f"DELETE FROM {self.table}")
            self.source.requests.clear()
        self.spoiled = Spoiled(self.users, self.fault)
        self.source.respond = self.spoiled

    @property
    def table(self) -> str:
        tables = {Job.SYNC_USERS: "users", Job.ENRICH_MISSING_ADDRESSES: "addresses"}
        return tables.get(self.job, "credit_cards")

    def is_hit(self, caplog: pytest.LogCaptureFixture) -> None:
        """Does the run up to the fault: in bounded time, with the reason noted, and what was done before is kept."""
        began = time.monotonic()
        self._call()
        assert time.monotonic() - began < _MOST_SECONDS
        assert self.rows_done() == DONE
        chunk = self._chunk()
        assert re.search(self.fault.sentence, chunk["error_message"])
        assert not SECRETS.search(chunk["error_message"] + caplog.text)

    def ends(self) -> None:
        """The run is over, and says why."""
        run = self._run()
        assert (run["status"], run["inserted"]) == ("failed", DONE)
        assert run["error_class"] in ("ProviderError", "ProviderUnavailable", "ProviderRefused")
        assert re.search(self.fault.sentence, run["error_message"])
        assert self._chunk()["status"] == "failed"

    def waits(self) -> None:
        """The run is open, and tried again when it is due."""
        chunk = self._chunk()
        assert (chunk["status"], chunk["position"], chunk["error_class"]) == ("queued", DONE, "ProviderUnavailable")
        (retry,) = self.worker.retries
        assert self.fault.retry_after <= retry.seconds < 60

    def goes_on(self) -> None:
        """The fault has passed: the rest is done, and nothing is asked for twice."""
        self.spoiled.is_broken = False
        self.source.requests.clear()
        self.worker.execute("UPDATE run_chunks SET not_before = created_at")
        self._perform(ChunkMessage(self.job, self._chunk()["id"]))
        run = self._run()
        assert (run["status"], run["inserted"], run["unchanged"]) == ("succeeded", USERS, 0)
        assert self.rows_done() == USERS
        # A full last page may not be the end of the users.
        end = [USERS] if self.job == Job.SYNC_USERS else []
        assert [int(query["skip"]) for _, query in self.source.requests] == [20, 30, 40, *end]

    def rows_done(self) -> int:
        return int(self.worker.rows(f"SELECT count(*) AS n FROM {self.table}")[0]["n"])

    def _run(self) -> dict[str, Any]:
        (run,) = self.worker.rows(f"SELECT * FROM runs WHERE task = '{self.job}' AND trigger = 'cli'")
        return dict(run)

    def _chunk(self) -> dict[str, Any]:
        """Of this run, which is small enough to have only one."""
        (chunk,) = self.worker.rows(f"SELECT * FROM run_chunks WHERE run_id = {self._run()['id']}")
        return dict(chunk)

    def _call(self) -> None:
        """The run alone, without what follows from it."""
        message_id = uuid4().hex
        chunk_id = runs.receive(
            self.worker.context, self.job, message_id, None if self.job == Job.SYNC_USERS else USERS
        )
        assert chunk_id is not None
        self._perform(ChunkMessage(self.job, chunk_id), message_id)

    def _perform(self, message: ChunkMessage, message_id: str | None = None) -> None:
        with suppress(ProviderError):
            self.worker.perform(message, message_id)
            # On a busy machine it may have gone on in a message of its own.
            while self.worker.queue and (message := self.worker.queue.popleft()).job == self.job:
                self.worker.perform(message)
