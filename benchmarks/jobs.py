"""The jobs, one way after the other in one process: `python -m benchmarks.jobs PAGE_SIZE ROUNDS`.

A process a page size, since settings are read once. Prints a line of JSON a measurement: work, way, rows a second.
"""

import json
import os
import sys
import time
from collections.abc import Callable

import psycopg

from app.records import Job
from benchmarks import limit, ours, usual
from benchmarks.servers import plain

_USERS = 10_000
# The usual way takes so long that a part of them has to do; its pace does not depend on how many there are.
_USERS_OF_USUAL_SYNC = 2_000
_USERS_OF_USUAL_ENRICHMENT = 300


def main() -> None:
    page_size, rounds = int(sys.argv[1]), int(sys.argv[2])
    sqlalchemy_url, source = os.environ["DATABASE_URL"], os.environ["USERS_API_URL"]
    url = plain(sqlalchemy_url)

    def measure(work: str, way: str, rows: int, function: Callable[[], object]) -> None:
        start = time.perf_counter()
        function()
        print(json.dumps([work, way, rows / (time.perf_counter() - start)]), flush=True)

    with limit.syncing(url, source, page_size) as limit_sync:
        syncs: dict[str, Callable[[], object]] = {
            "usual": lambda: usual.sync(sqlalchemy_url, source, page_size, _USERS_OF_USUAL_SYNC),
            "ours": lambda: ours.run(Job.SYNC_USERS),
            "limit": limit_sync,
        }
        for number in range(rounds + 1):
            for way, sync in syncs.items():
                rows = _USERS_OF_USUAL_SYNC if way == "usual" else _USERS
                _empty(url)
                if number == 0:
                    sync()  # connections, caches and the source's answers are made
                    continue
                measure("sync", way, rows, sync)
                _settle(url)
                versions = _versions(url)
                measure("sync again", way, rows, sync)
                if way == "ours" and _versions(url) != versions:
                    raise SystemExit("a sync of unchanged users has written to the users' table")
            if number:
                measure(
                    "enrichment",
                    "usual",
                    _USERS_OF_USUAL_ENRICHMENT,
                    lambda: usual.enrich(sqlalchemy_url, source, _USERS_OF_USUAL_ENRICHMENT),
                )
                _forget_addresses(url)
                measure("enrichment", "ours", _USERS, lambda: ours.run(Job.ENRICH_MISSING_ADDRESSES, _USERS))


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE users, runs RESTART IDENTITY CASCADE")
        connection.execute("CHECKPOINT")


def _settle(url: str) -> None:
    """Neither way pays for the statistics of what it has written."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE users")
        connection.execute("CHECKPOINT")


def _forget_addresses(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM addresses")
        connection.execute("VACUUM ANALYZE users, addresses")
        connection.execute("CHECKPOINT")


def _versions(url: str) -> int:
    """Differs as soon as one row of the users' table is written: where each stands and who wrote it."""
    with psycopg.connect(url, autocommit=True) as connection:
        ((number,),) = connection.execute(
            "SELECT bit_xor(hashtextextended(ctid::text || xmin::text, 0)) FROM users"
        ).fetchall()
    return int(number)


if __name__ == "__main__":
    main()
