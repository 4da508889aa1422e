"""What happens at Celery's own moments: parts are added, logs are set up, lines get their ids."""

import logging
import os
import sys
from typing import Any

import celery.apps.worker
from billiard.util import get_logger
from celery import current_app
from celery.signals import celeryd_init, setup_logging, task_postrun, task_prerun, worker_process_init

from app.logging_config import add_log_ids, configure_logging
from app.worker import observer  # noqa: F401  # it connects itself
from app.worker.bootsteps import DeadLetters, Heartbeat, Reaper
from app.worker.metrics import measure_child, measure_worker
from app.worker.request import NamedRequest
from app.worker.tracing import trace_child

_role = "beat"


@celeryd_init.connect(weak=False)
def add_parts(instance: Any, **_: Any) -> None:
    """Called in workers only, before they are put together."""
    global _role  # noqa: PLW0603  # Celery's logging signal does not say whose logs are set up
    _role = "worker"
    instance.app.steps["worker"].update({Reaper, Heartbeat})
    instance.app.steps["consumer"].add(DeadLetters)
    set_up_logs()  # before Celery's own moment for it, which comes after its first warnings
    instance.app.Task.Request = NamedRequest
    measure_worker(instance)
    # Celery has no setting for the form of what it says when it is told to stop.
    celery.apps.worker.safe_say = _say


@worker_process_init.connect(weak=False)
def set_up_child(**_: Any) -> None:
    """Measuring comes first: it gives the child the database whose statements are traced."""
    measure_child()
    trace_child()


@setup_logging.connect(weak=False)
def set_up_logs(**_: Any) -> None:
    """Being connected keeps Celery from setting up logs of its own."""
    settings = current_app.context.settings
    configure_logging(level=settings.log_level, app_env=settings.app_env, role=_role)
    # The pool tells by a logger apart that a child was killed, which would print lines of a form of its own.
    pool_logger = get_logger()
    pool_logger.propagate = True
    pool_logger.setLevel(logging.WARNING)


@task_prerun.connect(weak=False)
def name_task(task_id: str, task: Any, **_: Any) -> None:
    add_log_ids(task_id=task_id, task_name=task.name)


@task_postrun.connect(weak=False)
def forget_task(**_: Any) -> None:
    add_log_ids(task_id=None, task_name=None)


def _say(text: str, _file: Any = None) -> None:
    """Logs from inside a signal handler, where the log's own stream may be in the middle of a line."""
    record = logging.LogRecord("celery.apps.worker", logging.INFO, __file__, 0, text, None, None)
    os.write(sys.stderr.fileno(), f"{logging.getLogger().handlers[0].format(record)}\n".encode())
