"""Doing a chunk: lease, steps, progress, and what becomes of it when something fails."""

import contextvars
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection

from app import tracing
from app.errors import Abandoned, LeaseLost
from app.logging_config import log_ids
from app.queries import chunks as queries
from app.queries import runs as run_queries
from app.records import ChunkMessage, Claim, Counts, Failure, Status, UserPage
from app.services import retries
from app.services.context import Context
from app.services.runs import count, end_run_if_done, publish_all

T = TypeVar("T")

# A run is shared out in no more chunks, however large it is: longer ones go on in several messages.
MOST_CHUNKS = 1_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """What was fetched, ready to be written in one transaction.

    position: how much of the chunk is done then. shares: the run's work in pieces, the first of them for this chunk,
    when this step plans the run. failure: raised after the write. progress: whether the attempts count anew.
    last: whether the chunk is done with it, so that running out of time just then costs nothing. page: the users that
    are written, whose ids are noted for the end of the run.
    """

    position: int
    write: Callable[[Connection], Counts] = lambda _: Counts()
    shares: list[dict[str, Any]] | None = None
    failure: Exception | None = None
    progress: bool = True
    last: bool = False
    page: UserPage | None = None


Steps = Callable[[Context, Claim], Iterator[Step]]


@dataclass(frozen=True)
class Retry:
    """The chunk is to be tried again after so many seconds, because of this error."""

    seconds: int
    error: Exception


def perform(
    context: Context, chunk_id: int, message_id: str, steps: Steps, interruptions: tuple[type[Exception], ...] = ()
) -> Retry | None:
    """Does a chunk, or the part of it that fits into its time; the rest is published as a message of its own.

    interruptions: further errors after which the chunk is tried again. Raises what stopped the chunk for good, after
    noting it. Does nothing when the chunk is done or in other hands.
    """
    with context.database.transaction() as connection:
        claim = queries.claim(connection, chunk_id, message_id, context.settings.chunk_lease_seconds)
        if claim is not None:
            run_queries.start(connection, claim.run_id, tracing.kept_trace_id())
    if claim is None:
        logger.info("chunk %d is done, not due or in other hands", chunk_id)
        return None
    tracing.annotate(synergyway__run_id=claim.run_id, synergyway__chunk_id=chunk_id)
    with log_ids(run_id=claim.run_id):
        return _Performance(context, claim, interruptions).perform(steps)


class _Performance:
    """One worker's try at a chunk."""

    def __init__(self, context: Context, claim: Claim, interruptions: tuple[type[Exception], ...]) -> None:
        self._context = context
        self._claim = claim
        self._interruptions = interruptions
        self._attempt = claim.attempt
        self._most_attempts = context.settings.chunk_max_attempts

    def perform(self, steps: Steps) -> Retry | None:
        try:
            return self._try(steps)
        except LeaseLost as error:
            logger.warning("%s", error)
            return None

    def _try(self, steps: Steps) -> Retry | None:
        """Raises LeaseLost when another worker has the chunk: whatever has happened here is no concern of its."""
        try:
            if self._attempt > self._most_attempts:
                raise Abandoned(f"{self._most_attempts} workers in a row died of the chunk or lost it")
            done = self._work(steps)
            if done:
                self._end(Status.SUCCEEDED)
            else:
                self._release(0)
                publish_all(self._context, [ChunkMessage(self._claim.job, self._claim.chunk_id)])
        except LeaseLost:
            raise
        except Exception as error:
            if self._attempt >= self._most_attempts or not self._may_pass(error):
                self._end(Status.FAILED, error)
                raise
            seconds = retries.delay_seconds(self._attempt, error)
            self._release(seconds, error)
            return Retry(seconds, error)
        return None

    def _work(self, steps: Steps) -> bool:
        """Whether the chunk is done, and not only its time."""
        settings = self._context.settings
        deadline = time.monotonic() + settings.chunk_seconds
        for step in _ahead(steps(self._context, self._claim)):
            messages = self._write(step)
            if step.progress:
                self._attempt = 1
            publish_all(self._context, messages)
            if step.failure is not None:
                raise step.failure
            if time.monotonic() > deadline:
                return step.last
        return True

    def _write(self, step: Step) -> list[ChunkMessage]:
        """Writes the step and the chunk's progress in one transaction: neither counts without the other."""
        lease_seconds = self._context.settings.chunk_lease_seconds
        with self._context.database.transaction() as connection:
            counts = step.write(connection)
            messages = queries.share_out(connection, self._claim, step.shares) if step.shares else []
            if not queries.advance(
                connection,
                self._claim,
                step.position,
                counts,
                lease_seconds=lease_seconds,
                progress=step.progress,
                page=step.page,
            ):
                raise self._lost()
        for result, number in asdict(counts).items():
            self._context.metrics.rows.labels(self._claim.job, result).inc(number)
        return messages

    def _may_pass(self, error: Exception) -> bool:
        return retries.passes(error) or isinstance(error, self._interruptions)

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"chunk {self._claim.chunk_id} was taken over by another worker")

    def _release(self, seconds: int, error: Exception | None = None) -> None:
        failure = Failure.of(error) if error else None
        with self._context.database.transaction() as connection:
            if not queries.release(connection, self._claim, seconds, failure):
                raise self._lost()

    def _end(self, status: Status, error: Exception | None = None) -> None:
        failure = Failure.of(error) if error else None
        with self._context.database.transaction() as connection:
            run_queries.lock(connection, self._claim.run_id)
            if not queries.end(connection, self._claim, status, failure):
                raise self._lost()
            ended = end_run_if_done(connection, self._context, self._claim.run_id)
        if ended is not None:
            count(self._context, ended)
            publish_all(self._context, ended.messages)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each next one made in a thread while the caller works on the one before."""
    logged_ids = contextvars.copy_context()

    def following() -> list[T]:
        return list(islice(items, 1))

    with ThreadPoolExecutor(1, "fetch") as pool:
        future = pool.submit(logged_ids.run, following)
        while item := future.result():
            future = pool.submit(logged_ids.run, following)
            yield item[0]
