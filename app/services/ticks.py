"""Which runs beat owes."""

from datetime import datetime

from app import tracing
from app.queries import runs as queries
from app.records import Job
from app.services import runs
from app.services.context import Context
from app.settings import Settings
from app.utils.cron import Cron


def schedules(settings: Settings) -> dict[Job, Cron]:
    """When beat starts each job."""
    return {
        Job.SYNC_USERS: settings.users_schedule_cron,
        Job.ENRICH_MISSING_ADDRESSES: settings.enrich_addr_cron,
        Job.ENRICH_MISSING_CARDS: settings.enrich_cc_cron,
    }


class Ticks:
    """Starts a run for each tick that has come since beat started, and for what was missed before.

    A tick that cannot be noted in the database is tried again at the next look.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._crons = schedules(context.settings)
        self._handled: dict[Job, datetime] = {}

    def start_due(self, now: datetime) -> None:
        """Starts what is due at ``now`` (aware)."""
        for job, cron in self._crons.items():
            tick = cron.previous(now)
            handled = self._handled.get(job)
            if tick is None or tick == handled:
                continue
            if handled is not None and tick < handled:
                # The clock was set back. What comes next may have its run already; waiting for the time that the clock
                # once showed might take years.
                self._handled[job] = tick
                continue
            due = self._due_at_start(job, tick, now) if handled is None else tick
            if due is not None:
                # Each tick is a trace of its own, whatever else beat does.
                with tracing.span(f"tick {job}", carrier={}):
                    runs.start_tick(self._context, job, due)
            self._handled[job] = tick

    def _due_at_start(self, job: Job, tick: datetime, now: datetime) -> datetime | None:
        """A job that never succeeded is due now; ticks missed while beat was away are made up for by one run."""
        with self._context.database.reading() as connection:
            if not queries.has_succeeded(connection, job):
                return now.replace(second=0, microsecond=0)
            last = queries.last_tick(connection, job)
        return tick if last is None or tick > last else None
