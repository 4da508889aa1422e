"""What a worker does beside its tasks: the dead-letter queue, the reaper, the heartbeat."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from kombu.entity import Exchange, Queue

from app.services import runs
from app.services.retries import DATABASE_DOWN
from app.worker.heartbeat import beat_heart

DEAD_QUEUE = Queue("synergyway.dead", Exchange("synergyway.dlx", "fanout"), queue_arguments={"x-queue-type": "quorum"})
HEARTBEAT_SECONDS = 10
# The main loop of a healthy worker comes around every second.
_LOOP_STUCK_SECONDS = 60
_PRUNE_SECONDS = 3_600

logger = logging.getLogger(__name__)


class DeadLetters(bootsteps.ConsumerStep):
    """Declares the queue for what no worker could do, each time the worker connects to RabbitMQ."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def get_consumers(self, channel: Any) -> list[Any]:
        return []

    def start(self, consumer: Any) -> None:
        if consumer.connection.transport.driver_type == "amqp":
            with consumer.connection.channel() as channel:
                DEAD_QUEUE(channel).declare()


class Reaper(bootsteps.StartStopStep):
    """Publishes abandoned chunks again and prunes old runs, on a timer of its own."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._stopped = threading.Event()
        self._next_prune = 0.0

    def start(self, parent: Any) -> None:
        interval = parent.app.context.settings.reaper_interval_seconds
        _every(interval, self._stopped, "reaper", lambda: self._reap(parent.app.context))

    def stop(self, parent: Any) -> None:
        self._stopped.set()

    def _reap(self, context: Any) -> None:
        runs.reap(context)
        if time.monotonic() >= self._next_prune:
            runs.prune(context)
            self._next_prune = time.monotonic() + _PRUNE_SECONDS


class Heartbeat(bootsteps.StartStopStep):
    """Touches the heartbeat file while the main loop comes around, or while the worker is reconnecting."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._stopped = threading.Event()
        self._loop_seen = time.monotonic()

    def start(self, parent: Any) -> None:
        parent.timer.call_repeatedly(1, self._see_loop)
        _every(HEARTBEAT_SECONDS, self._stopped, "heartbeat", lambda: self._beat(parent))

    def stop(self, parent: Any) -> None:
        self._stopped.set()

    def _see_loop(self) -> None:
        self._loop_seen = time.monotonic()

    def _beat(self, parent: Any) -> None:
        consumer = getattr(parent, "consumer", None)
        # While the broker is away the loop stands still: that is no reason to restart the worker.
        reconnecting = consumer is None or consumer.blueprint.state != bootsteps.RUN
        if reconnecting or time.monotonic() - self._loop_seen < _LOOP_STUCK_SECONDS:
            beat_heart(parent.app.context.settings.heartbeat_file)


def _every(seconds: float, stopped: threading.Event, name: str, function: Callable[[], None]) -> None:
    def loop() -> None:
        while True:
            try:
                function()
            except DATABASE_DOWN as error:
                logger.warning("the %s cannot use the database and will try again: %s", name, error)
            except Exception:
                # The next round tries again: a reaper that died of a lost database would reap nothing ever after.
                logger.warning("the %s failed and will try again", name, exc_info=True)
            if stopped.wait(seconds):
                return

    threading.Thread(target=loop, name=name, daemon=True).start()
