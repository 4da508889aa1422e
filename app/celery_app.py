"""The Celery application: queues, reliability, beat's schedule. ``celery -A app.celery_app.celery``."""

import time
from functools import partial
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import before_task_publish
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError
from kombu.pools import producers
from opentelemetry.trace import SpanKind

from app import tracing
from app.errors import BrokerUnavailable
from app.records import ChunkMessage, Job
from app.services.context import Context, open_context
from app.services.ticks import schedules
from app.settings import Settings, settings_or_exit
from app.utils.cron import Cron

TASKS = {
    Job.SYNC_USERS: "app.tasks.users.sync_users",
    Job.ENRICH_MISSING_ADDRESSES: "app.tasks.addresses.enrich_missing_addresses",
    Job.ENRICH_MISSING_CARDS: "app.tasks.credit_cards.enrich_missing_cards",
}

JOBS_QUEUE = Queue(
    "synergyway",
    Exchange("synergyway", "topic"),
    "synergyway",
    queue_arguments={
        "x-queue-type": "quorum",
        # Killed workers and broker restarts use it up too, so more than the usual 3.
        "x-delivery-limit": 5,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "synergyway.dlx",
        "x-dead-letter-strategy": "at-least-once",
    },
)


_PUBLISH_SECONDS = 2


class SynergyWay(Celery):
    """Celery that carries what the use cases work with, for the worker's own parts."""

    context: Context


def publish(app: SynergyWay, seconds: float, message: ChunkMessage) -> None:
    """Puts a chunk into the queue. Raises BrokerUnavailable; ``seconds`` is the wait for the broker at each step.

    Without such limits a broker that is paused or short of memory blocks the publisher for as long as that lasts. What
    was given up on may be delivered all the same: a chunk that is published twice is done once.
    """
    timeouts = _socket_timeouts(app.context.settings, seconds)
    connection = app.connection_for_write(connect_timeout=seconds, transport_options=timeouts)
    headers: dict[str, Any] = {}
    try:
        with (
            tracing.span(f"publish {message.job}", SpanKind.PRODUCER, synergyway__chunk_id=message.chunk_id),
            producers[connection].acquire(block=True, timeout=seconds) as producer,
        ):
            tracing.add_headers(headers, message.trace_id)
            app.send_task(
                TASKS[message.job],
                kwargs={"chunk_id": message.chunk_id},
                headers=headers,
                # rpc:// would declare a reply queue, which can block for ever while the broker is down.
                ignore_result=True,
                producer=producer,
                retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1},
            )
    except (*connection.connection_errors, *connection.channel_errors, KombuError, OSError) as error:
        raise BrokerUnavailable(f"the broker did not take the message: {error}") from error
    app.context.metrics.sent.labels(TASKS[message.job], JOBS_QUEUE.name).inc()


def _socket_timeouts(settings: Settings, seconds: float) -> dict[str, float]:
    if _scheme(settings) in ("amqp", "amqps"):
        return {"read_timeout": seconds, "write_timeout": seconds}
    if _scheme(settings) in ("redis", "rediss"):
        return {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return {}


@before_task_publish.connect(weak=False)
def stamp(headers: dict[str, Any], **_: Any) -> None:
    """For the time that the message waits, and for retries, which Celery publishes itself."""
    headers["published_at"] = time.time()
    if not headers.get("traceparent"):
        tracing.add_headers(headers)


def _scheme(settings: Settings) -> str:
    return settings.celery_broker_url.get_secret_value().partition(":")[0]


def _transport_options(settings: Settings) -> dict[str, Any]:
    scheme = _scheme(settings)
    if scheme in ("redis", "rediss"):
        # Longer than any task may take; what is delivered again too early finds its chunk in other hands.
        visibility_timeout = max(900, 2 * settings.task_time_limit_seconds)
        return {"visibility_timeout": visibility_timeout, "unacked_restore_throttle": 1}
    if scheme == "filesystem":
        folder = settings.filesystem_broker_dir
        queue = f"{folder}/queue"
        return {
            "data_folder_in": queue,
            "data_folder_out": queue,
            "control_folder": f"{folder}/control",
            "polling_interval": 0.1,
        }
    return {"confirm_publish": True}


def _crontab(cron: Cron) -> crontab:
    minute, hour, day_of_month, month_of_year, day_of_week = cron.text.split()
    return crontab(minute, hour, day_of_week, day_of_month, month_of_year)


def create_celery(settings: Settings, publish_seconds: float = _PUBLISH_SECONDS) -> SynergyWay:
    """The application, which has connected to nothing yet. publish_seconds: see publish."""
    app = SynergyWay(
        "synergyway",
        broker=settings.broker_url,
        backend=settings.celery_result_backend.get_secret_value(),
        include=["app.worker.signals", "app.tasks.users", "app.tasks.addresses", "app.tasks.credit_cards"],
    )
    app.conf.update(
        # Celery prefers the variable CELERY_BROKER_URL to what it is made with, but not to these.
        broker_read_url=settings.broker_url,
        broker_write_url=settings.broker_url,
        task_queues=[JOBS_QUEUE],
        task_default_queue=JOBS_QUEUE.name,
        task_default_exchange=JOBS_QUEUE.exchange.name,
        task_default_exchange_type=JOBS_QUEUE.exchange.type,
        task_default_routing_key=JOBS_QUEUE.routing_key,
        task_create_missing_queues=False,
        broker_transport_options=_transport_options(settings),
        broker_heartbeat=30,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Redis without memory, or that follows another one, answers with an error and is in order again later; on
        # RabbitMQ such an error means that the queue is another one than ours, and passes by no waiting.
        broker_channel_error_retry=_scheme(settings) in ("redis", "rediss"),
        # Status is in the runs table; results of rpc:// can be read only by the thread that sent the task.
        task_ignore_result=True,
        result_expires=3600,
        # A task is gone from the queue when it is done, not when it is begun, whatever becomes of its process.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure=False,
        task_acks_on_timeout=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_soft_time_limit=settings.task_soft_time_limit_seconds,
        task_time_limit=settings.task_time_limit_seconds,
        task_publish_retry_policy={"max_retries": 60, "interval_start": 1, "interval_step": 0, "interval_max": 1},
        worker_consumer="app.worker.consumer:Consumer",
        worker_redirect_stdouts=False,
        timezone="UTC",
        enable_utc=True,
        beat_scheduler="app.worker.scheduler:TickScheduler",
        beat_max_loop_interval=30,
        beat_schedule={
            job.value: {"task": TASKS[job], "schedule": _crontab(cron), "options": {"ignore_result": True}}
            for job, cron in schedules(settings).items()
        },
    )
    app.context = open_context(settings, partial(publish, app, publish_seconds))
    return app


settings = settings_or_exit()
celery = create_celery(settings)
