"""Users that the source no longer has: marked at the end of a sync that can tell."""

import logging

from sqlalchemy import Connection

from app.queries import removals as queries
from app.queries import runs as run_queries
from app.queries.removals import Seen
from app.records import FinishedRun

logger = logging.getLogger(__name__)


def settle(connection: Connection, finished: FinishedRun) -> None:
    """Marks the users that a sync has not seen, if it has seen all there are, and forgets whom it has seen.

    This happens in the transaction that ends the run: it is complete and its users are marked, or neither.
    """
    if finished.failure is None:
        absent = queries.count_absent(connection, finished.run_id)
        if absent:
            _mark(connection, finished, absent)
    queries.forget(connection, finished.run_id)


def _mark(connection: Connection, finished: FinishedRun, absent: int) -> None:
    doubt = _doubt(finished, queries.seen_by(connection, finished.run_id))
    if doubt is None:
        removed = queries.mark_absent(connection, finished.run_id)
        run_queries.note_removals(connection, finished.run_id, removed, None)
        logger.info("run %d marked %d users as removed: the source no longer has them", finished.run_id, removed)
    else:
        note = f"{absent} users were not seen and are not marked as removed: {doubt}"
        run_queries.note_removals(connection, finished.run_id, 0, note)
        logger.warning("run %d: %s", finished.run_id, note)


def _doubt(finished: FinishedRun, seen: Seen) -> str | None:
    """Why the run may have missed users that the source has; None when it has not."""
    if seen.users == 0:
        return "the source gave no user at all"
    unknown = finished.counts.total() - seen.records
    if unknown:
        return f"{unknown} of the records that were read have no id that could be read"
    if seen.smallest_total is None or seen.largest_total is None:
        return "the source does not say how many users it has, so that the last page may not have been its end"
    if seen.smallest_total != seen.largest_total:
        return (
            f"the source said that it has {seen.smallest_total} users and then {seen.largest_total}, or the other way "
            "round: it changed while it was read, and the next sync looks again"
        )
    if seen.users != seen.largest_total:
        return f"the source said that it has {seen.largest_total} users and gave {seen.users}"
    return None
