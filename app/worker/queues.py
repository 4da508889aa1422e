"""How much waits in the queues, as the broker says."""

from dataclasses import dataclass
from typing import Any

_SECONDS = 2
# Without these a broker that is paused would keep whoever asks it waiting.
_BOUNDED = {
    "amqp": {"read_timeout": _SECONDS, "write_timeout": _SECONDS},
    "amqps": {"read_timeout": _SECONDS, "write_timeout": _SECONDS},
    "redis": {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS},
    "rediss": {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS},
}


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages that no worker has taken yet. consumers: None where the broker does not know them."""

    messages: int
    consumers: int | None


class Queues:
    """Asks the broker by a connection of its own, which is kept for the next time."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connection: Any = None

    def depths(self, names: list[str]) -> dict[str, Depth]:
        """The depth of each queue; one that is not declared is left out. Raises what the broker's client raises.

        Declaring a queue passively asks for it, on RabbitMQ, Redis and the broker of files alike.
        """
        if self._connection is None:
            scheme = self._app.conf.broker_url.partition(":")[0]
            options = {**self._app.conf.broker_transport_options, **_BOUNDED.get(scheme, {})}
            # Nobody would answer heartbeats between two questions.
            self._connection = self._app.connection_for_read(
                connect_timeout=_SECONDS, heartbeat=0, transport_options=options
            )
        try:
            asked = {name: self._depth(name) for name in names}
        except Exception:
            self.close()
            raise
        return {name: depth for name, depth in asked.items() if depth is not None}

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect()

    def _depth(self, name: str) -> Depth | None:
        is_amqp = self._connection.transport.driver_type == "amqp"
        # A channel of its own: RabbitMQ closes it when there is no such queue.
        channel = self._connection.channel()
        try:
            declared = channel.queue_declare(queue=name, passive=True)
        except self._connection.channel_errors:
            # Redis and the broker of files forget a queue that is empty.
            return None if is_amqp else Depth(0, None)
        else:
            return Depth(declared.message_count, declared.consumer_count if is_amqp else None)
        finally:
            channel.close()
