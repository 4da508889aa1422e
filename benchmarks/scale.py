"""`make bench-scale`: what grows with the number of users and what does not. BENCH_SIZES are the sizes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from sqlalchemy import Executable
from sqlalchemy.dialects import postgresql as dialect

from app.queries import enrichment
from app.queries.users import UserFilter, list_users
from app.records import Job
from benchmarks.report import RESULTS, write
from benchmarks.servers import PROJECT, addresses, plain, postgresql, server

_SIZES = "10000,100000,1000000"
_PAGE_SIZE = 500
_TIMES = 30

Question = tuple[Executable, dict[str, Any]]


def main() -> None:
    sizes = [int(size) for size in os.environ.get("BENCH_SIZES", _SIZES).split(",")]
    figures = {}
    with postgresql() as url:
        for size in sizes:
            figures[size] = _measure(url, size)
            print(json.dumps({size: figures[size]}), flush=True)
    lines = [f"| | {' | '.join(f'{size:,}' for size in sizes)} |", f"|---{'|---' * len(sizes)}|"]
    lines += [f"| {name} | {' | '.join(str(figures[size][name]) for size in sizes)} |" for name in figures[sizes[0]]]
    note = "Times are medians in the database's client; the plans are in `plans-*.txt`."
    write("scale", f"From {sizes[0]:,} to {sizes[-1]:,} users", "\n".join([*lines, "", note]), figures)


def _measure(url: str, size: int) -> dict[str, str]:
    figures: dict[str, str] = {}
    with ExitStack() as opened:
        source = opened.enter_context(server("benchmarks.source:app", "/users/1", SAMPLE_USERS=str(size)))
        variables = {"DATABASE_URL": url, "LOG_LEVEL": "ERROR", "USERS_PAGE_SIZE": str(_PAGE_SIZE), **addresses(source)}
        connection = opened.enter_context(psycopg.connect(plain(url), autocommit=True))
        connection.execute("TRUNCATE users, runs RESTART IDENTITY CASCADE")
        for name in ("first sync", "sync again"):
            before = _wal_bytes(connection)
            seconds, memory = _sync(variables)
            figures[f"{name}, rows/s"] = f"{size / seconds:,.0f}"
            figures[f"{name}, peak memory of the worker, MB"] = f"{memory / 1024:,.0f}"
            figures[f"{name}, WAL, bytes a user"] = f"{(_wal_bytes(connection) - before) / size:,.0f}"
            figures[f"{name}, dead rows in users"] = f"{_dead_rows(connection):,}"
            connection.execute("VACUUM ANALYZE users")
        # As it is after some days: all but a few are complete.
        for table, values in (("addresses", "'Main Street'"), ("credit_cards", "'0044'")):
            column = "street" if table == "addresses" else "last4"
            connection.execute(
                f"INSERT INTO {table} (user_id, {column}, created_at, updated_at) "
                f"SELECT id, {values}, now(), now() FROM users WHERE id % 1000 <> 0"
            )
        connection.execute("VACUUM ANALYZE")
        plans = []
        for name, question in _questions(size).items():
            sql, parameters = _rendered(question)
            figures[f"{name}, ms"] = (
                f"{_milliseconds(lambda q=(sql, parameters): connection.execute(*q).fetchall()):.2f}"
            )
            rows = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {sql}", parameters).fetchall()
            plans += [f"-- {name}", *(row[0] for row in rows), ""]
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"plans-{size}.txt").write_text("\n".join(plans))
    return figures


def _questions(size: int) -> dict[str, Question]:
    deep = size - 100
    nobody = UserFilter(has_address=False, has_card=False)
    return {
        "first page": list_users(UserFilter(), limit=21),
        "deep page by after": list_users(UserFilter(), limit=21, after=deep),
        "deep page by offset": list_users(UserFilter(), limit=21, offset=deep),
        "page of complete users": list_users(UserFilter(has_address=True, has_card=True), limit=21, after=deep),
        "page of users that lack both": list_users(nobody, limit=21),
        "search for a name": list_users(UserFilter(q=f"abe{deep}"), limit=21),
        "pick of 20 users without address": (enrichment.due(enrichment.ADDRESSES, 20), {}),
    }


def _rendered(question: Question) -> tuple[str, dict[str, Any]]:
    statement, parameters = question
    compiled = statement.compile(dialect=dialect.psycopg.dialect())  # type: ignore[attr-defined]
    return str(compiled), {**compiled.params, **parameters}


def _milliseconds(function: Callable[[], object]) -> float:
    times = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return median(times) * 1_000


def _sync(variables: dict[str, str]) -> tuple[float, int]:
    """Seconds, and the peak memory in KiB of a process that does nothing else, as Linux tells it."""
    command = [sys.executable, "-m", "benchmarks.scale", "sync"]
    done = subprocess.run(command, cwd=PROJECT, env=os.environ | variables, check=True, stdout=subprocess.PIPE)
    seconds, memory = json.loads(done.stdout)
    return seconds, memory


def _sync_here() -> None:
    from benchmarks import ours  # noqa: PLC0415  # it reads the settings

    start = time.perf_counter()
    ours.run(Job.SYNC_USERS)
    seconds = time.perf_counter() - start
    # getrusage would tell the most that its parent had, when that was more.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps([seconds, int(status["VmHWM"].removesuffix("kB"))]))


def _wal_bytes(connection: psycopg.Connection[Any]) -> int:
    ((number,),) = connection.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')").fetchall()
    return int(number)


def _dead_rows(connection: psycopg.Connection[Any]) -> int:
    connection.execute("SELECT pg_stat_force_next_flush()")
    time.sleep(1.5)  # what other connections did is reported within a second of their end
    ((number,),) = connection.execute("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'users'").fetchall()
    return int(number)


if __name__ == "__main__":
    _sync_here() if sys.argv[1:] == ["sync"] else main()
