"""Beat's scheduler: a tick is a row in the runs table first and a message second."""

import logging
import time
from datetime import UTC, datetime
from typing import Any

from celery.beat import Scheduler
from sqlalchemy.exc import SQLAlchemyError

from app.services.ticks import Ticks
from app.tracing import stop_tracing
from app.worker.heartbeat import beat_heart

_AGAIN_SECONDS = 5

logger = logging.getLogger(__name__)


class TickScheduler(Scheduler):
    """Starts each job's run when its CRON expression comes.

    What counts is what the runs table says, so beat may restart, or run twice, at any time: a tick gets one run.
    last_look: the time of the last look that could read the runs table, in seconds since 1970; 0 before the first.
    It keeps no file and needs no broker: what cannot be published now is published by the reaper.
    """

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(app, *args, **kwargs)
        self._ticks = Ticks(app.context)
        self.last_look = 0.0

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Starts what is due; the seconds until the next look."""
        beat_heart(self.app.context.settings.heartbeat_file)
        now = datetime.now(UTC)
        try:
            self._ticks.start_due(now)
        except SQLAlchemyError as error:
            # Out of reach, or without its tables yet.
            logger.warning("the runs table cannot be read, beat tries again in %d s: %s", _AGAIN_SECONDS, error)
            return _AGAIN_SECONDS
        self.last_look = time.time()
        # A CRON expression comes at the start of a minute.
        return min(float(self.max_interval), 60 - now.second)

    def close(self) -> None:
        super().close()
        stop_tracing()
        # Beside threads that never end nobody else would close them, and SQLite would leave its log behind.
        self.app.context.database.dispose()
