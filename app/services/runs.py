"""Runs of the jobs: opening one, following up, finding what died on the way."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection

from app import tracing
from app.errors import BrokerUnavailable, ConfigurationError
from app.queries import chunks as chunk_queries
from app.queries import runs as queries
from app.records import ChunkMessage, Failure, FinishedRun, Job, Status, Trigger
from app.services.context import Context
from app.services.removals import settle
from app.services.retries import DATABASE_DOWN

MOST_ROWS = 100_000
_TRIES = 3
ENRICHMENTS = (Job.ENRICH_MISSING_ADDRESSES, Job.ENRICH_MISSING_CARDS)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunChange:
    """What a transaction made of a run: opened it, unless another one stands in its way, or ended it.

    run_id: None when the tick or message that it was for got its run from somebody else meanwhile. messages, ended:
    what is to be published and counted after the commit: the first chunks of runs that begin, and the runs that are
    over.
    """

    run_id: int | None = None
    messages: Sequence[ChunkMessage] = ()
    ended: Sequence[tuple[Job, Status]] = ()


def start_tick(context: Context, job: Job, scheduled_for: datetime) -> int | None:
    """Starts beat's run for a tick; its id, or None when the tick has a run already."""
    batch_size = context.settings.enrich_batch_size if job in ENRICHMENTS else None
    with context.database.transaction() as connection:
        if queries.find_tick(connection, job, scheduled_for) is not None:
            return None
        opened = open_run(connection, job, Trigger.BEAT, batch_size, scheduled_for=scheduled_for)
    count(context, opened)
    if opened.messages:
        logger.info("run %d of %s starts for the tick of %s", opened.run_id, job, scheduled_for.isoformat())
    publish_all(context, opened.messages)
    return opened.run_id


def receive(context: Context, job: Job, message_id: str, batch_size: int | None) -> int | None:
    """The first chunk of the run that a message from a shell asks for; None when there is nothing to do.

    The same message delivered again finds the run that it has started. Raises ConfigurationError, and notes the run as
    failed, when the batch size is wrong.
    """
    if job in ENRICHMENTS and batch_size is None:
        batch_size = context.settings.enrich_batch_size
    problem = batch_problem(job, batch_size)
    with context.database.transaction() as connection:
        run_id = queries.find_message(connection, message_id)
        if run_id is not None:
            return chunk_queries.first_of(connection, run_id)
        if problem is None:
            opened = open_run(connection, job, Trigger.CLI, batch_size, message_id=message_id)
        else:
            failure = Failure.of(ConfigurationError(problem))
            queries.insert_ended(connection, job, Trigger.CLI, Status.FAILED, failure, message_id=message_id)
            opened = RunChange(ended=[(job, Status.FAILED)])
    count(context, opened)
    if problem is not None:
        raise ConfigurationError(problem)
    return opened.messages[0].chunk_id if opened.messages else None


def end_run_if_done(connection: Connection, context: Context, run_id: int) -> RunChange | None:
    """Ends a run whose chunks are all done, and opens what follows from it; None while one of them is open.

    The caller has locked the run, and counts it and publishes its messages after the commit.
    """
    finished = queries.end_if_done(connection, run_id)
    if finished is None:
        return None
    counts = ", ".join(f"{number} {name}" for name, number in asdict(finished.counts).items())
    if finished.failure is None:
        logger.info("run %d of %s succeeded: %s", run_id, finished.job, counts)
    else:
        logger.error("run %d of %s failed: %s (%s)", run_id, finished.job, finished.failure.message, counts)
    if finished.job == Job.SYNC_USERS:
        settle(connection, finished)
    status = Status.FAILED if finished.failure else Status.SUCCEEDED
    following = _follow_up(connection, context, finished)
    return RunChange(
        run_id,
        [message for opened in following for message in opened.messages],
        [(finished.job, status), *(ended for opened in following for ended in opened.ended)],
    )


def count(context: Context, committed: RunChange) -> None:
    """Counts the runs whose end is committed: one that is rolled back comes to its end again."""
    for job, status in committed.ended:
        context.metrics.runs.labels(job, status).inc()


def reap(context: Context) -> int:
    """Publishes again what dead workers and a lost queue left behind; how many chunks that were. Safe in parallel."""
    with context.database.transaction() as connection:
        messages = chunk_queries.reap(connection)
        lost = len(messages)
        ended_runs: list[RunChange] = []
        for run_id in queries.open_without_open_chunks(connection):
            queries.lock(connection, run_id)
            if (ended := end_run_if_done(connection, context, run_id)) is not None:
                ended_runs.append(ended)
    for ended in ended_runs:
        count(context, ended)
        messages += ended.messages
    if lost:
        logger.warning("%d chunks were abandoned or never received: published again", lost)
    publish_all(context, messages)
    return lost


def prune(context: Context) -> int:
    """Deletes old runs; how many."""
    with context.database.transaction() as connection:
        return queries.prune(connection, context.settings.runs_keep_days)


def publish_all(context: Context, messages: Sequence[ChunkMessage]) -> None:
    """Publishes what it can: the reaper publishes the rest, since the chunks are in the database."""
    for number, message in enumerate(messages):
        try:
            context.publish(message)
        except BrokerUnavailable as error:
            logger.warning("chunk %d of %s will be published later: %s", message.chunk_id, message.job, error)
            _put_off(context, messages[number:])
            return


def _put_off(context: Context, messages: Sequence[ChunkMessage]) -> None:
    try:
        with context.database.transaction() as connection:
            chunk_queries.expect_soon(connection, [message.chunk_id for message in messages])
    except DATABASE_DOWN as error:
        logger.warning("that they are to be published soon could not be noted, so it will take a minute: %s", error)


def open_run(
    connection: Connection, job: Job, trigger: Trigger, batch_size: int | None, **identity: object
) -> RunChange:
    """A queued run, or a skipped one while another is open. identity: the tick, message or key that it is for.

    The caller counts it and publishes its message after the commit.
    """
    for _ in range(_TRIES):
        values = {"batch_size": batch_size, "trace_id": tracing.kept_trace_id(), **identity}
        run_id = queries.insert_queued(connection, job, trigger, **values)
        if run_id is not None:
            return RunChange(run_id, [ChunkMessage(job, chunk_queries.insert_first(connection, run_id))])
        blocker = queries.find_open(connection, job)
        if blocker is not None:
            failure = Failure("Skipped", f"run {blocker} of {job} is open")
            logger.info("a run of %s is skipped: %s", job, failure.message)
            more = {"batch_size": batch_size, "blocked_by": blocker, **identity}
            run_id = queries.insert_ended(connection, job, trigger, Status.SKIPPED, failure, **more)
            return RunChange(run_id, ended=[] if run_id is None else [(job, Status.SKIPPED)])
    return RunChange()


def _follow_up(connection: Connection, context: Context, finished: FinishedRun) -> list[RunChange]:
    """New users are enriched at once; so are those whose follow-up found the finished run in its way.

    A follow-up of the largest size has not reached all new users, so another one comes after it.
    """
    wanted: dict[Job, int] = {}
    if finished.job == Job.SYNC_USERS and finished.counts.inserted:
        wanted = dict.fromkeys(ENRICHMENTS, finished.counts.inserted)
    elif finished.trigger == Trigger.FOLLOWUP and finished.batch_size == MOST_ROWS and finished.counts.inserted:
        wanted = {finished.job: MOST_ROWS}
    elif (waiting := queries.waiting_followup(connection, finished.run_id)) is not None:
        wanted = {finished.job: waiting}
    return [
        open_run(connection, job, Trigger.FOLLOWUP, min(max(rows, context.settings.enrich_batch_size), MOST_ROWS))
        for job, rows in wanted.items()
    ]


def batch_problem(job: Job, batch_size: object) -> str | None:
    """What is wrong with a batch size that somebody gave; None when nothing is."""
    if batch_size is None:
        return None
    if job not in ENRICHMENTS:
        return f"{job} reads all users and takes no batch_size"
    if type(batch_size) is int and 1 <= batch_size <= MOST_ROWS:
        return None
    return f"batch_size must be a whole number from 1 to {MOST_ROWS}, for example 20; it is {batch_size!r}"
