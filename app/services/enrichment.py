"""Filling in what users lack: the same for addresses and cards."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from app.errors import ProviderUnavailable
from app.providers.catalogue import sources
from app.providers.collection import find_source
from app.providers.lookup import Lookup, open_lookup
from app.providers.source import Noun
from app.queries import enrichment as queries
from app.records import Answers, Claim, Counts, Rejected
from app.services.chunks import MOST_CHUNKS, Step
from app.services.context import Context
from app.services.rejections import log_rejected

# How long a user is left alone whose record the source does not have or answers badly: doubled each time.
FIRST_PAUSE_SECONDS = 600
_MOST_DOUBLINGS = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Enrichment:
    """What is filled in, and from where."""

    noun: Noun
    lacking: queries.Lacking
    url: str
    source: str
    ticks_a_day: float


def steps(context: Context, claim: Claim, enrichment: Enrichment) -> Iterator[Step]:
    """Looks up the chunk's users in parts; the first chunk of a run picks the users and shares them out.

    A chunk's work: source (its name), user_ids (our own ids).
    """
    settings = context.settings
    work = claim.work
    if work is None:
        shares = _share(context, enrichment, claim.batch_size or settings.enrich_batch_size)
        if not shares:
            return
        work = shares[0]
        yield Step(0, shares=shares, progress=False)
    lookup = open_lookup(
        context.http,
        enrichment.url,
        sources()[work["source"]],
        enrichment.noun,
        page_size=settings.users_page_size,
        parallelism=settings.provider_parallelism,
    )
    user_ids: list[int] = work["user_ids"]
    last_attempt = claim.attempt >= settings.chunk_max_attempts
    for start in range(claim.position, len(user_ids), lookup.most_at_once):
        part = user_ids[start : start + lookup.most_at_once]
        with context.database.reading() as connection:
            candidates = queries.candidates(connection, enrichment.lacking, part)
        waiting = {candidate.external_id: candidate for candidate in candidates}
        while waiting:
            some = list(waiting)
            if last_attempt:
                # Only those whom this reaches for certain: whoever is left without an answer is put off.
                some = some[: settings.provider_parallelism]
            answers = _ask(lookup, some, settings.chunk_seconds, last_attempt)
            log_rejected(logger, enrichment.noun, answers.rejected)
            log_rejected(logger, enrichment.noun, [Rejected(str(i), reason) for i, reason in answers.bad.items()])
            asked = {external_id: waiting.pop(external_id) for external_id in answers.answered()}
            position = start if waiting else start + len(part)
            write = partial(_write, enrichment.lacking, asked, answers)
            useful = bool(answers.records or answers.missing)
            last = position == len(user_ids)
            yield Step(position, write, failure=answers.failure, progress=useful, last=last)
            if answers.failure is not None:
                # The next step is made while this one is written: nothing may be asked before its failure is raised.
                return
            last_attempt = last_attempt and not useful


def _share(context: Context, enrichment: Enrichment, batch_size: int) -> list[dict[str, Any]]:
    with context.database.reading() as connection:
        user_ids = list(connection.execute(queries.due(enrichment.lacking, batch_size)).scalars())
        a_day = int(context.settings.enrich_batch_size * enrichment.ticks_a_day)
        backlog = connection.execute(queries.count_up_to(enrichment.lacking, a_day + 1)).scalar_one()
    if backlog > a_day:
        logger.warning(
            "more than %d users lack %s: that takes more than a day at ENRICH_BATCH_SIZE=%d a tick; raise it",
            a_day,
            enrichment.noun,
            context.settings.enrich_batch_size,
        )
    if not user_ids:
        return []
    source = find_source(context.http, enrichment.url, enrichment.source)
    rows = max(context.settings.chunk_rows, math.ceil(len(user_ids) / MOST_CHUNKS))
    parts = (user_ids[start : start + rows] for start in range(0, len(user_ids), rows))
    return [{"source": source.name, "user_ids": part} for part in parts]


def _ask(lookup: Lookup, external_ids: list[int], seconds: float, last_attempt: bool) -> Answers:
    try:
        return lookup.ask(external_ids, seconds)
    except ProviderUnavailable as error:
        if not last_attempt or error.throttled:
            raise
        # The source answers others, or has had its time: these users must not stand before all who wait behind them.
        return Answers(bad=dict.fromkeys(external_ids, str(error)), failure=error)


def _write(
    lacking: queries.Lacking, asked: dict[int, queries.Candidate], answers: Answers, connection: Connection
) -> Counts:
    if answers.missing or answers.bad:
        # Those that are written and those that are put off, all in one order.
        queries.lock(connection, [candidate.user_id for candidate in asked.values()])
    records = {asked[external_id].user_id: record for external_id, record in answers.records.items()}
    counts = queries.write(connection, lacking, records)
    by_checks: dict[int, list[int]] = {}
    for external_id in [*answers.missing, *answers.bad]:
        by_checks.setdefault(asked[external_id].checks, []).append(asked[external_id].user_id)
    for checks, user_ids in sorted(by_checks.items()):
        pause_seconds = FIRST_PAUSE_SECONDS * 2 ** min(checks, _MOST_DOUBLINGS)
        queries.postpone(connection, lacking, user_ids, pause_seconds)
    rejected = len(answers.bad) + len(answers.rejected)
    return replace(counts, rejected=rejected, missing=len(answers.missing))
