"""Starting runs from the api, whose one loop must wait for no broker and no transaction of the jobs."""

from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from prometheus_client import CollectorRegistry

from app.metrics import JobMetrics
from app.records import Job, Status, Trigger
from app.services.context import Context
from app.services.requests import request_run
from app.settings import Settings
from app.tracing import trace_database

if TYPE_CHECKING:
    from app.celery_app import SynergyWay

# With the retry, a broker that is away costs less than the three seconds within which a client is to be told so.
_PUBLISH_SECONDS = 0.5
_MOST_AT_ONCE = 8


class Starter:
    """Making one connects to nothing. context: what the use cases work with, by default Celery's own.

    registry: where what they count is shown.
    """

    def __init__(self, settings: Settings, registry: CollectorRegistry, context: Context | None = None) -> None:
        self._settings = settings
        self._context = context
        self._metrics = JobMetrics() if context is None else context.metrics
        # A counter that begins with its first event hides that event from increase().
        for job in Job:
            for status in (Status.FAILED, Status.SKIPPED):
                self._metrics.runs.labels(job, status)
        registry.register(self._metrics.registry)
        self._celery: SynergyWay | None = None
        self._lock = Lock()
        self._limiter = CapacityLimiter(_MOST_AT_ONCE)

    async def start(self, job: Job, batch_size: int | None, key: str | None) -> int:
        """The id of the run. Raises what request_run raises."""
        return await to_thread.run_sync(partial(self._start, job, batch_size, key), limiter=self._limiter)

    def close(self) -> None:
        """Closes the connections of what was opened here."""
        if self._celery is not None:
            self._celery.close()
            self._celery.context.database.dispose()

    def _start(self, job: Job, batch_size: int | None, key: str | None) -> int:
        return request_run(self._open_context(), job, Trigger.API, batch_size, key)

    def _open_context(self) -> Context:
        with self._lock:
            if self._context is None:
                # On first use: an api that starts no runs comes up faster without Celery.
                from app.celery_app import create_celery

                self._celery = create_celery(self._settings, _PUBLISH_SECONDS)
                self._context = self._celery.context = replace(self._celery.context, metrics=self._metrics)
                trace_database(self._context.database.engine)
            return self._context
