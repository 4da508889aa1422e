"""What every task does: find its chunk, do it, and hand Celery what is to be tried again."""

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded

from app.celery_app import celery
from app.records import Job
from app.services import retries, runs
from app.services.chunks import Steps, perform


def work(task: Task, job: Job, steps: Steps, chunk_id: int | None, batch_size: int | None = None) -> None:
    """Does a chunk of a run; without one, as from a shell, starts a run and does its first chunk.

    The tasks set max_retries=None: passed to retry(), None would mean Celery's default of three.
    """
    context = celery.context
    try:
        if chunk_id is None:
            chunk_id = runs.receive(context, job, task.request.id, batch_size)
        if chunk_id is None:
            return
        retry = perform(context, chunk_id, task.request.id, steps, interruptions=(SoftTimeLimitExceeded,))
    except retries.DATABASE_DOWN as error:
        # Nothing can be noted anywhere: the message itself has to wait, however long.
        seconds = retries.delay_seconds(task.request.retries + 1, error)
        raise task.retry(exc=error, countdown=seconds) from error
    if retry is not None:
        # How often is counted in the database, which sees the tries of workers that died too.
        raise task.retry(exc=retry.error, countdown=retry.seconds)
