"""What a worker counts: its parent in memory of its own, its children in one file a pool slot.

A recycled or killed child's counters stay, since the next child of the slot goes on in its file, and there are never
more files than slots. The parent shows all of them, and counts what a child cannot: its own death. Names and labels are
those of celery-exporter, which dashboards know.
"""

import os
import shutil
import tempfile
import time
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from billiard.process import current_process
from celery import current_app
from celery.exceptions import Terminated
from celery.signals import (
    task_failure,
    task_prerun,
    task_received,
    task_rejected,
    task_retry,
    task_revoked,
    task_success,
    task_unknown,
    worker_shutdown,
)
from celery.worker import state
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from app.metrics import TASK_SECONDS, MetricsServer, serve
from app.records import Counts, Job, Status
from app.services.context import open_context
from app.worker.pool_metrics import watch_pool
from app.worker.request import NamedRequest

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# What a message names that is no task of ours is one series, whatever it names.
_UNKNOWN = "unknown"
_PARENT = "main"


class TaskMetrics:
    """The counters of tasks, by the task's name."""

    def __init__(self) -> None:
        registry = CollectorRegistry()

        def counter(event: str, *labels: str) -> Counter:
            return Counter(f"celery_task_{event}", f"Tasks {event}.", ["name", *labels], registry=registry)

        def histogram(name: str, documentation: str) -> Histogram:
            return Histogram(name, documentation, ["name"], buckets=TASK_SECONDS, registry=registry)

        self.received = counter("received")
        self.started = counter("started")
        self.succeeded = counter("succeeded")
        self.failed = counter("failed", "exception")
        self.retried = counter("retried")
        self.rejected = counter("rejected")
        self.revoked = counter("revoked")
        self.runtime = histogram("celery_task_runtime", "Seconds that succeeded tasks took.")
        self.queue_wait = histogram(
            "celery_task_queue_wait_time",
            "Seconds from a message's publication, or the time it was delayed to, to its task's start.",
        )


class _Measuring:
    """What this process measures with, made anew in each child."""

    def __init__(self) -> None:
        self.tasks = TaskMetrics()
        self.server: MetricsServer | None = None
        self.began = 0.0


_here = _Measuring()


class MeasuredRequest(NamedRequest):
    """Counts in the parent what became of a child that could not say so itself."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        lost = isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt)
        if lost and not isinstance(error, Terminated):
            _here.tasks.failed.labels(self.task_name, WorkerLostError.__name__).inc()
        return super().on_failure(exc_info, send_failed_event, return_ok)


def measure_worker(worker: Any) -> None:
    """In the parent, before it has children. Does nothing when no metrics are to be had, or their port is taken."""
    settings = worker.app.context.settings
    registry = CollectorRegistry()
    Gauge("celery_worker_up", "1 while the worker's main process runs.", registry=registry).set(1)
    active = Gauge("celery_worker_tasks_active", "Tasks that the pool works on just now.", registry=registry)
    active.set_function(lambda: len(state.active_requests))
    processes = Gauge("celery_worker_pool_processes", "Processes that the pool should have.", registry=registry)
    processes.set_function(lambda: worker.concurrency or 0)
    _here.server = serve(registry, role="worker", host=settings.metrics_host, port=settings.metrics_port)
    if _here.server is None:
        return
    # From here on the port is ours, and with it the folder of its name.
    os.environ[_FOLDER_VARIABLE] = str(_empty_folder(_here.server.port))
    _open_slot(worker.app)
    _show_zeros(worker.app)
    MultiProcessCollector(registry, os.environ[_FOLDER_VARIABLE])
    worker.app.Task.Request = MeasuredRequest


def measure_child() -> None:
    """In a child: all its metrics are new, so that no lock is taken over that another thread held during the fork."""
    # A pool without processes of its own sends this signal too.
    if _here.server is not None and _slot() != _PARENT:
        _here.server.close_in_child()
        _open_slot(current_app)


@task_received.connect(weak=False)
def count_received(request: Any, **_: Any) -> None:
    _here.tasks.received.labels(request.name).inc()


@task_rejected.connect(weak=False)
@task_unknown.connect(weak=False)
def count_rejected(**_: Any) -> None:
    _here.tasks.rejected.labels(_UNKNOWN).inc()


@task_revoked.connect(weak=False)
def count_revoked(sender: Any, **_: Any) -> None:
    _here.tasks.revoked.labels(sender.name).inc()


@task_prerun.connect(weak=False)
def count_started(task: Any, **_: Any) -> None:
    _here.began = time.perf_counter()
    _here.tasks.started.labels(task.name).inc()
    published = getattr(task.request, "published_at", None)
    if isinstance(published, float):
        eta = task.request.eta
        due = max(published, datetime.fromisoformat(eta).timestamp() if eta else 0)
        # The clocks of two machines may disagree.
        _here.tasks.queue_wait.labels(task.name).observe(max(time.time() - due, 0))


@task_success.connect(weak=False)
def count_succeeded(sender: Any, **_: Any) -> None:
    _here.tasks.succeeded.labels(sender.name).inc()
    _here.tasks.runtime.labels(sender.name).observe(time.perf_counter() - _here.began)


@task_retry.connect(weak=False)
def count_retried(sender: Any, **_: Any) -> None:
    _here.tasks.retried.labels(sender.name).inc()
    # Celery has published the message by itself.
    current_app.context.metrics.sent.labels(sender.name, current_app.conf.task_default_queue).inc()


@task_failure.connect(weak=False)
def count_failed(sender: Any, exception: BaseException, **_: Any) -> None:
    """Sent in the child, and in the parent when the task ran past its hard time limit."""
    if not isinstance(exception, WorkerLostError):
        _here.tasks.failed.labels(sender.name, type(exception).__name__).inc()


@worker_shutdown.connect(weak=False)
def tidy_up(sender: Any, **_: Any) -> None:
    if _here.server is not None:
        _here.server.close()
        shutil.rmtree(os.environ[_FOLDER_VARIABLE], ignore_errors=True)
    # Whoever closes SQLite's last connection tidies up its log; an interpreter that ends beside threads closes none.
    sender.app.context.database.dispose()


def _show_zeros(app: Any) -> None:
    """A counter that begins with its first event hides that event from rate() and increase()."""
    tasks, jobs = _here.tasks, app.context.metrics
    for name in app.tasks:
        if name.startswith("app."):
            for metric in (tasks.received, tasks.started, tasks.succeeded, tasks.retried, tasks.revoked, tasks.runtime):
                metric.labels(name)
            for death in (WorkerLostError, TimeLimitExceeded):
                tasks.failed.labels(name, death.__name__)
    tasks.rejected.labels(_UNKNOWN)
    for job in Job:
        for status in (Status.SUCCEEDED, Status.FAILED, Status.SKIPPED):
            jobs.runs.labels(job, status)
        for result in fields(Counts):
            jobs.rows.labels(job, result.name)


def _slot() -> int | str:
    """The place in the pool of this process, which its successor takes over."""
    return getattr(current_process(), "index", _PARENT)


def _open_slot(app: Any) -> None:
    """Lets what is counted from here on be kept in the files of this process's slot."""
    values.ValueClass = values.MultiProcessValue(_slot)
    _here.tasks = TaskMetrics()
    app.context = open_context(app.context.settings, app.context.publish)
    watch_pool(app.context.database, CollectorRegistry())


def _empty_folder(port: int) -> Path:
    """A folder in memory, where a write is cheap, and empty: counters begin anew with the worker."""
    memory = Path("/dev/shm")  # noqa: S108  # nosec B108  # only the owner may write what is made there
    parent = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    folder = parent / f"synergyway-metrics-{os.getuid()}-{port}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder
