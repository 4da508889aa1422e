"""What worker and beat tell of their connections to the database, by the names that the api uses."""

from typing import Any
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry

from app.db import POOL_DOCUMENTATION, Database


def watch_pool(database: Database, registry: CollectorRegistry) -> None:
    """Shows the database's pool in the registry. In a worker's child the numbers are added to those of its siblings."""

    def gauge(part: str) -> Gauge:
        name = f"synergyway_database_pool_{part}"
        return Gauge(name, POOL_DOCUMENTATION[part], registry=registry, multiprocess_mode="sum")

    in_use, size = gauge("in_use"), gauge("size")
    failures = Counter("synergyway_database_pool_failures", POOL_DOCUMENTATION["failures"], registry=registry)
    # What a killed child had lent out is what its successor in the slot would go on counting from.
    in_use.set(0)
    size.set(database.pool_use().size)
    lent: WeakSet[ConnectionPoolEntry] = WeakSet()

    def lend(_connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        lent.add(record)
        in_use.inc()

    def take_back(_connection: Any, record: ConnectionPoolEntry) -> None:
        # A connection that could not be made anew is given back without having been lent.
        if record in lent:
            lent.discard(record)
            in_use.dec()

    event.listen(database.engine, "checkout", lend)
    event.listen(database.engine, "checkin", take_back)
    database.on_failure = failures.inc
