"""What happens at Celery's own moments: parts are added, logs are set up, lines get their ids."""

from typing import Any

from celery import current_app
from celery.signals import celeryd_init, setup_logging, task_postrun, task_prerun

from app.logging_config import add_log_ids, configure_logging
from app.worker.bootsteps import DeadLetters, Heartbeat, Reaper

_role = "beat"


@celeryd_init.connect(weak=False)
def add_parts(instance: Any, **_: Any) -> None:
    """Called in workers only, before they are put together."""
    global _role  # noqa: PLW0603  # Celery's logging signal does not say whose logs are set up
    _role = "worker"
    instance.app.steps["worker"].update({Reaper, Heartbeat})
    instance.app.steps["consumer"].add(DeadLetters)


@setup_logging.connect(weak=False)
def set_up_logs(**_: Any) -> None:
    """Being connected keeps Celery from setting up logs of its own."""
    settings = current_app.context.settings
    configure_logging(level=settings.log_level, app_env=settings.app_env, role=_role)


@task_prerun.connect(weak=False)
def name_task(task_id: str, task: Any, **_: Any) -> None:
    add_log_ids(task_id=task_id, task_name=task.name)


@task_postrun.connect(weak=False)
def forget_task(**_: Any) -> None:
    add_log_ids(task_id=None, task_name=None)
