"""The part of a worker that holds its connection to the broker."""

from typing import Any

from celery.utils.threads import bound_open_broker_sockets
from celery.worker import consumer
from kombu.common import ignore_errors

_CLOSE_SECONDS = 1


class Consumer(consumer.Consumer):
    """Outlives the loss of Redis at any moment.

    A channel of Redis that waits for a message (kombu 5.7) reads on when it is closed. When the connection is dead,
    that ends the closing halfway, and what Celery does next takes the channel's transport away: whatever the channel
    is asked after that, to give messages back or to acknowledge them, ends the worker with an AttributeError.
    """

    connection: Any  # None while there is none

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Gets the channel's last reading over, so that it is closed as a whole."""
        if self.task_consumer is not None and self.connection.transport.driver_type == "redis":
            bound_open_broker_sockets(self.connection, _CLOSE_SECONDS)
            ignore_errors(self.connection, self.task_consumer.channel.close)
        super().on_connection_error_after_connected(exc)

    def shutdown(self) -> None:
        """Ends in peace while the broker is away too: as they close their channels, Celery's steps ask the connection
        which errors to overlook, and there may be none just then.
        """
        self.connection = self.connection or self.app.connection_for_read()
        super().shutdown()
