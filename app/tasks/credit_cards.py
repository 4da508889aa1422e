"""The task that fills in credit cards."""

from celery import Task

from app.celery_app import TASKS, celery
from app.errors import SynergyWayError
from app.records import Job
from app.services.credit_cards import card_steps
from app.tasks.work import work


@celery.task(bind=True, name=TASKS[Job.ENRICH_MISSING_CARDS], max_retries=None, throws=(SynergyWayError,))
def enrich_missing_cards(task: Task, batch_size: int | None = None, *, chunk_id: int | None = None) -> None:
    """Fills in the cards of up to ``batch_size`` users (1 to 100,000; default ENRICH_BATCH_SIZE)."""
    work(task, Job.ENRICH_MISSING_CARDS, card_steps, chunk_id, batch_size)
