"""Our own jobs through the functions that Celery calls; what they publish is done here, one after another."""

from collections import deque
from dataclasses import replace
from uuid import uuid4

from celery import Task

from app.celery_app import celery
from app.records import ChunkMessage, Job
from app.tasks import addresses, credit_cards, users

FUNCTIONS: dict[Job, Task] = {
    Job.SYNC_USERS: users.sync_users,
    Job.ENRICH_MISSING_ADDRESSES: addresses.enrich_missing_addresses,
    Job.ENRICH_MISSING_CARDS: credit_cards.enrich_missing_cards,
}


def run(job: Job, batch_size: int | None = None) -> None:
    """A run of the job from its message to its end; the follow-ups that it starts are left alone."""
    queue: deque[ChunkMessage] = deque()
    celery.context = replace(celery.context, publish=queue.append)
    arguments = [] if batch_size is None else [batch_size]
    FUNCTIONS[job].apply(arguments, task_id=uuid4().hex, throw=True)
    while queue:
        message = queue.popleft()
        if message.job == job:
            FUNCTIONS[job].apply(kwargs={"chunk_id": message.chunk_id}, task_id=uuid4().hex, throw=True)
