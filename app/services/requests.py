"""Runs that somebody asks for, over HTTP or in a shell."""

import logging

from app.errors import BrokerUnavailable, ConfigurationError, KeyReused, RunNotStarted
from app.queries import chunks as chunk_queries
from app.queries import runs as queries
from app.records import ChunkMessage, Failure, Job, Trigger
from app.services import runs
from app.services.context import Context

logger = logging.getLogger(__name__)


def request_run(
    context: Context, job: Job, trigger: Trigger, batch_size: int | None = None, key: str | None = None
) -> int:
    """The id of a run that was published, or that is skipped because another one of the job is open.

    A second request with the same idempotency key gets the first one's run. Raises ConfigurationError for a wrong
    batch size, KeyReused when the key was used for something else, and RunNotStarted, with the run noted as failed,
    when the broker does not take the message: unlike beat's, such a run is not published again later, since whoever
    asked for it is told so and may ask again.
    """
    problem = runs.batch_problem(job, batch_size)
    if problem is not None:
        raise ConfigurationError(problem)
    identity = {} if key is None else {"idempotency_key": key, "idempotency_fingerprint": f"{job} {batch_size}"}
    if job in runs.ENRICHMENTS and batch_size is None:
        batch_size = context.settings.enrich_batch_size
    with context.database.transaction() as connection:
        known = queries.find_key(connection, key) if key is not None else None
        if known is None:
            opened = runs.open_run(connection, job, trigger, batch_size, **identity)
            # Another request with this key may have come in between.
            known = queries.find_key(connection, key) if key is not None and opened.run_id is None else None
    if known is not None:
        if known[1] != identity["idempotency_fingerprint"]:
            raise KeyReused(f"the idempotency key belongs to run {known[0]}, which was asked for something else")
        return known[0]
    if opened.run_id is None:
        raise BrokerUnavailable(f"runs of {job} came and went while this one was to start")
    runs.count(context, opened)
    for message in opened.messages:
        _publish(context, opened.run_id, message)
    return opened.run_id


def _publish(context: Context, run_id: int, message: ChunkMessage) -> None:
    try:
        context.publish(message)
    except BrokerUnavailable as error:
        with context.database.transaction() as connection:
            queries.lock(connection, run_id)
            if not chunk_queries.give_up(connection, message.chunk_id, Failure.of(error)):
                logger.info("run %d was received although the broker did not confirm it", run_id)
                return
            # So that the request can be sent again as it is.
            queries.forget_key(connection, run_id)
            ended = runs.end_run_if_done(connection, context, run_id)
            if ended is not None and ended.messages:
                # What follows is published by the reaper: the broker is away.
                chunk_queries.expect_soon(connection, [following.chunk_id for following in ended.messages])
        if ended is not None:
            runs.count(context, ended)
        raise RunNotStarted(run_id, str(error)) from error
