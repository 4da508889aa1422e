"""`make bench-growth`: one run's chunks over 1, 2 and 4 worker processes, and one API process beside two.

The source takes 50 ms a page, as one on the internet would: that wait is what more workers share out.
"""

import os
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psycopg

from benchmarks.load import requests_a_second
from benchmarks.report import write
from benchmarks.servers import addresses, api, plain, postgresql, process, rabbitmq, server

_WORKERS = (1, 2, 4)
_DELAY_SECONDS = 0.05
_GOALS = {2: 1.8, 4: 3.2}
_TASK = "app.tasks.users.sync_users"
_LONGEST_RUN_SECONDS = 300


def main() -> None:
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    seconds: dict[int, list[float]] = {workers: [] for workers in _WORKERS}
    with ExitStack() as opened:
        url = opened.enter_context(postgresql())
        broker = opened.enter_context(rabbitmq())
        delay = {"BENCH_DELAY_SECONDS": str(_DELAY_SECONDS)}
        source = opened.enter_context(server("benchmarks.source:app", "/users/1", **delay))
        variables = {"DATABASE_URL": url, "CELERY_BROKER_URL": broker, **addresses(source)}
        for _ in range(rounds):
            for workers in _WORKERS:
                seconds[workers].append(_run_seconds(plain(url), workers, variables))
                print(f"{workers} worker processes: {seconds[workers][-1]:.2f} s", flush=True)
        requests = _api_requests(url, rounds)
    lines = ["| worker processes | seconds a run | times one process | goal |", "|---|---|---|---|"]
    for workers, figures in seconds.items():
        times = median(one / many for one, many in zip(seconds[1], figures, strict=True))
        lines.append(f"| {workers} | {median(figures):.2f} | {times:.2f} | {_GOALS.get(workers, '')} |")
    lines += ["", "| API processes | requests/s | times one process |", "|---|---|---|"]
    for processes, figures in requests.items():
        times = median(many / one for one, many in zip(requests[1], figures, strict=True))
        lines.append(f"| {processes} | {median(figures):,.0f} | {times:.2f} |")
    title = "One run over several workers: 10,000 users, 100 a page, 50 ms a page"
    write("growth", title, "\n".join(lines), {"run_seconds": seconds, "api_requests_a_second": requests})


def _run_seconds(url: str, workers: int, variables: dict[str, str]) -> float:
    """From the start of the run's first chunk to the end of its last one, as the database says."""
    with psycopg.connect(url, autocommit=True) as connection, ExitStack() as opened:
        connection.execute("TRUNCATE users, runs RESTART IDENTITY CASCADE")
        folder = Path(opened.enter_context(TemporaryDirectory()))
        for number in range(workers):
            command = ("celery", "--quiet", "-A", "app.celery_app.celery", "worker", "--concurrency=1")
            quiet = ("--without-gossip", "--without-mingle", "--hostname", f"bench{number}@%h")
            own = {"HEARTBEAT_FILE": str(folder / str(number)), "LOG_LEVEL": "ERROR", "ENRICH_BATCH_SIZE": "1"}
            opened.enter_context(process("a worker", *command, *quiet, **variables, **own))
        _wait_for_consumers(workers, variables)
        with process("the call", "celery", "-A", "app.celery_app.celery", "call", _TASK, **variables) as call:
            call.wait()
        deadline = time.monotonic() + _LONGEST_RUN_SECONDS
        while time.monotonic() < deadline:
            rows = connection.execute(
                "SELECT status, extract(epoch FROM finished_at - started_at)::float FROM runs "
                "WHERE task = 'sync_users' AND finished_at IS NOT NULL"
            ).fetchall()
            if rows:
                ((status, seconds),) = rows
                if status != "succeeded":
                    raise SystemExit(f"the run has {status}")
                return float(seconds)
            time.sleep(0.1)
    raise SystemExit(f"the run did not end within {_LONGEST_RUN_SECONDS} s")


def _wait_for_consumers(workers: int, variables: dict[str, str]) -> None:
    from kombu import Connection  # noqa: PLC0415  # only here

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with Connection(variables["CELERY_BROKER_URL"]) as connection, connection.channel() as channel:
            try:
                if channel.queue_declare("synergyway", passive=True).consumer_count >= workers:
                    return
            except connection.channel_errors:
                pass  # the first worker declares it
        time.sleep(0.3)
    raise SystemExit("the workers did not start within 60 s")


def _api_requests(url: str, rounds: int) -> dict[int, list[float]]:
    figures: dict[int, list[float]] = {1: [], 2: []}
    with ExitStack() as opened:
        variables = {"DATABASE_URL": url, "LOG_LEVEL": "WARNING"}
        servers = {n: opened.enter_context(api("/healthz", "--workers", str(n), **variables)) for n in figures}
        for number in range(rounds + 1):
            for processes, address in servers.items():
                figure = requests_a_second(address, "/users?limit=20", 3 if number else 1)
                if number:
                    figures[processes].append(figure)
                    print(f"{processes} API processes: {figure:,.0f} requests/s", flush=True)
    return figures


if __name__ == "__main__":
    main()
