"""What an operator asks first: whether the mirror is fresh, and what waits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.queries import freshness as queries
from app.queries.enrichment import ADDRESSES, CARDS
from app.queries.freshness import Backlog
from app.records import Job
from app.services.context import Context

LACKING = {"addresses": ADDRESSES, "cards": CARDS}


@dataclass(frozen=True)
class Freshness:
    """When each job last succeeded, and what users lack."""

    last_successes: Mapping[Job, datetime | None]
    backlogs: Mapping[str, Backlog]


def look(context: Context) -> Freshness:
    """Read now, by a few statements."""
    with context.database.reading() as connection:
        return Freshness(
            queries.last_successes(connection),
            {noun: queries.backlog(connection, lacking) for noun, lacking in LACKING.items()},
        )
