"""The task that fills in addresses."""

from celery import Task

from app.celery_app import TASKS, celery
from app.errors import SynergyWayError
from app.records import Job
from app.services.addresses import address_steps
from app.tasks.work import work


@celery.task(bind=True, name=TASKS[Job.ENRICH_MISSING_ADDRESSES], max_retries=None, throws=(SynergyWayError,))
def enrich_missing_addresses(task: Task, batch_size: int | None = None, *, chunk_id: int | None = None) -> None:
    """Fills in the addresses of up to ``batch_size`` users (1 to 100,000; default ENRICH_BATCH_SIZE)."""
    work(task, Job.ENRICH_MISSING_ADDRESSES, address_steps, chunk_id, batch_size)
