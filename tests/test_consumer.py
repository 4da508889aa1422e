"""The part of a worker that holds its connection to the broker, where a real one loses it at a rare moment alone."""

from types import SimpleNamespace

from app.celery_app import celery
from app.worker.consumer import Consumer


def test_a_worker_that_ends_between_two_connections_closes_what_is_left() -> None:
    consumer = Consumer.__new__(Consumer)
    consumer.app, consumer.connection = celery, None
    asked: list[tuple[type[BaseException], ...]] = []
    consumer.perform_pending_operations = lambda: None
    # As a step of Celery's does for each channel that it has.
    consumer.blueprint = SimpleNamespace(shutdown=lambda parent: asked.append(parent.connection.connection_errors))

    consumer.shutdown()

    assert asked
    assert asked[0]
