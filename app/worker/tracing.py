"""A span around each task, below that of the message which asked for it.

By hand, since opentelemetry-instrumentation-celery loses the publisher's span when publishing fails or the task is not
registered, and leaves tasks that fail with one of our own errors unmarked.
"""

from contextlib import ExitStack
from typing import Any

from celery import current_app
from celery.signals import (
    task_failure,
    task_postrun,
    task_prerun,
    task_retry,
    worker_process_shutdown,
)
from opentelemetry.trace import SpanKind

from app import tracing
from app.utils.masking import redact

# A child works on one task at a time.
_open = ExitStack()


def trace_child() -> None:
    """In a child, once it has the database that it works with."""
    if tracing.set_up_tracing("worker"):
        tracing.trace_database(current_app.context.database.engine)


@worker_process_shutdown.connect(weak=False)
def send_the_rest(**_: Any) -> None:
    tracing.stop_tracing()


@task_prerun.connect(weak=False)
def open_span(task: Any, **_: Any) -> None:
    request = task.request
    carrier = {name: getattr(request, name, None) for name in ("traceparent", "tracestate", "baggage")}
    name = task.name.rpartition(".")[2]
    _open.enter_context(
        tracing.span(
            f"run {name}",
            SpanKind.CONSUMER,
            carrier={name: value for name, value in carrier.items() if value},
            messaging__system="celery",
            messaging__operation__name="run",
            messaging__message__id=request.id,
            celery__task_name=task.name,
            celery__retries=request.retries,
        )
    )


@task_postrun.connect(weak=False)
def close_span(**_: Any) -> None:
    _open.close()


@task_failure.connect(weak=False)
def mark_failed(exception: BaseException, **_: Any) -> None:
    tracing.mark_failed(exception)


@task_retry.connect(weak=False)
def mark_retried(reason: Any, **_: Any) -> None:
    tracing.annotate(celery__retry_reason=redact(str(reason)))
