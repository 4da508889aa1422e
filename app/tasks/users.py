"""The task that mirrors users."""

from celery import Task

from app.celery_app import TASKS, celery
from app.errors import SynergyWayError
from app.records import Job
from app.services.users import sync_steps
from app.tasks.work import work


@celery.task(bind=True, name=TASKS[Job.SYNC_USERS], max_retries=None, throws=(SynergyWayError,))
def sync_users(task: Task, *, chunk_id: int | None = None) -> None:
    """Reads all pages of USERS_API_URL into the database."""
    work(task, Job.SYNC_USERS, sync_steps, chunk_id)
