"""What beat alone measures, so that replicas of the other roles do not repeat it: freshness, backlogs and queues."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from celery.signals import beat_init
from prometheus_client import Counter, Gauge

from app.metrics import serve
from app.records import Job, Status
from app.services import freshness
from app.services.ticks import schedules
from app.tracing import set_up_tracing, trace_database
from app.worker.bootsteps import DEAD_QUEUE
from app.worker.pool_metrics import watch_pool
from app.worker.queues import Queues

_INTERVAL_SECONDS = 10
# A tick is skipped while a long run is open, and one that fails is made up for by the next.
_LEAST_STALE_SECONDS = 3_600

logger = logging.getLogger(__name__)


class Observer:
    """Looks at the database and at the broker every few seconds, each from a thread of its own.

    Neither of them holds up the other, nor beat's ticks. What could not be looked at is not shown at all: an old number
    would look like a good one.
    """

    def __init__(self, app: Any, last_look: Callable[[], float]) -> None:
        self._app = app
        self._queues = Queues(app)
        registry = app.context.metrics.registry

        def gauge(name: str, documentation: str, *labels: str) -> Gauge:
            return Gauge(name, documentation, labels, registry=registry)

        self._success = gauge(
            "synergyway_last_success_timestamp_seconds", "When a run of the task last succeeded; 0: never.", "task"
        )
        self._backlog = gauge(
            "synergyway_backlog_users", "Users that lack the row, due now or put off.", "noun", "state"
        )
        self._age = gauge(
            "synergyway_oldest_missing_age_seconds",
            "How long the oldest user has been here that nobody has asked the source about; 0: there is none.",
            "noun",
        )
        self._length = gauge("celery_queue_length", "Messages that no worker has taken yet.", "queue_name")
        self._consumers = gauge("celery_active_consumer_count", "Workers' channels on the queue.", "queue_name")
        self._failures = Counter(
            "synergyway_observation_failures", "Times that a part could not be looked at.", ["part"], registry=registry
        )
        limits = gauge(
            "synergyway_stale_after_seconds",
            "How old the last success may become: three times the longest gap of the schedule, an hour at least.",
            "task",
        )
        for job, cron in schedules(app.context.settings).items():
            limits.labels(job).set(max(_LEAST_STALE_SECONDS, 3 * cron.longest_gap_seconds()))
        gauge("synergyway_beat_last_look_timestamp_seconds", "When beat last looked for what is due.").set_function(
            last_look
        )

    def start(self) -> None:
        for part, look, shown in (
            ("database", self._look_at_database, (self._success, self._backlog, self._age)),
            ("broker", self._look_at_broker, (self._length, self._consumers)),
        ):
            self._failures.labels(part)
            threading.Thread(target=self._keep_looking, args=(part, look, shown), name=part, daemon=True).start()

    def _keep_looking(self, part: str, look: Callable[[], None], shown: tuple[Gauge, ...]) -> None:
        was_seen = True
        while True:
            try:
                look()
                was_seen = True
            except Exception as error:
                self._failures.labels(part).inc()
                for metric in shown:
                    metric.clear()
                if was_seen:
                    logger.warning("the %s cannot be looked at, its metrics are left out: %s", part, error)
                was_seen = False
            time.sleep(_INTERVAL_SECONDS)

    def _look_at_database(self) -> None:
        seen = freshness.look(self._app.context)
        for job, succeeded in seen.last_successes.items():
            self._success.labels(job).set(succeeded.timestamp() if succeeded else 0)
        for noun, backlog in seen.backlogs.items():
            self._backlog.labels(noun, "waiting").set(backlog.waiting)
            self._backlog.labels(noun, "put_off").set(backlog.put_off)
            age = time.time() - backlog.oldest.timestamp() if backlog.oldest else 0
            self._age.labels(noun).set(max(age, 0))

    def _look_at_broker(self) -> None:
        depths = self._queues.depths([self._app.conf.task_default_queue, DEAD_QUEUE.name])
        # A queue may be gone since.
        self._length.clear()
        self._consumers.clear()
        for name, depth in depths.items():
            self._length.labels(name).set(depth.messages)
            if depth.consumers is not None:
                self._consumers.labels(name).set(depth.consumers)


@beat_init.connect(weak=False)
def observe(sender: Any, **_: Any) -> None:
    """In beat, once it is set up and before its first tick."""
    app = sender.app
    settings = app.context.settings
    if set_up_tracing("beat"):
        trace_database(app.context.database.engine)
    observer = Observer(app, lambda: sender.scheduler.last_look)
    metrics = app.context.metrics
    # A counter that begins with its first event hides that event from increase().
    for job in Job:
        metrics.runs.labels(job, Status.SKIPPED)
    watch_pool(app.context.database, metrics.registry)
    if serve(metrics.registry, role="beat", host=settings.metrics_host, port=settings.metrics_port) is not None:
        observer.start()
