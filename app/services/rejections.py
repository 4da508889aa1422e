"""Naming rejected records in the log: which and why, never their values."""

from collections.abc import Sequence
from logging import Logger

from app.records import Rejected

_MOST_NAMED = 10


def log_rejected(logger: Logger, noun: str, rejected: Sequence[Rejected]) -> None:
    """One warning for each of the first records, one for how many more there are."""
    for record in rejected[:_MOST_NAMED]:
        logger.warning("rejected one of the %s: id %s: %s", noun, record.external_id, record.reason)
    if len(rejected) > _MOST_NAMED:
        logger.warning("rejected %d more of the %s on the same page", len(rejected) - _MOST_NAMED, noun)
