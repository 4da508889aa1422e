"""What the use cases work with."""

from collections.abc import Callable
from dataclasses import dataclass

from app.db import Database
from app.metrics import JobMetrics
from app.providers.http import HttpClient
from app.records import ChunkMessage
from app.settings import Settings


@dataclass(frozen=True)
class Context:
    """publish puts a message into the queue, or raises BrokerUnavailable."""

    settings: Settings
    database: Database
    http: HttpClient
    publish: Callable[[ChunkMessage], None]
    metrics: JobMetrics


def open_context(settings: Settings, publish: Callable[[ChunkMessage], None]) -> Context:
    """A context that has connected to nothing yet."""
    metrics = JobMetrics()
    return Context(
        settings,
        # One connection writes a step while another reads for the next.
        Database(settings.database_url.get_secret_value(), pool_size=2),
        HttpClient(
            connect_timeout_seconds=settings.provider_connect_timeout_seconds,
            timeout_seconds=settings.provider_timeout_seconds,
            max_body_bytes=settings.provider_max_body_bytes,
            connections=settings.provider_parallelism,
            metrics=metrics,
        ),
        publish,
        metrics,
    )
