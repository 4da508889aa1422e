"""`make bench`: the usual way, ours and the limit side by side. BENCH_ROUNDS is how often each is measured (5)."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack

import psycopg

from app.records import Job
from benchmarks import start
from benchmarks.load import requests_a_second
from benchmarks.report import Figures, plot, write
from benchmarks.servers import PROJECT, addresses, api, plain, postgresql, server

_PAGE_SIZES = (100, 500)
_LOAD_SECONDS = 3
_PATHS = ("/users?limit=20", "/users/77")


def main() -> None:
    rounds = int(os.environ.get("BENCH_ROUNDS", "5"))
    figures = Figures()
    with ExitStack() as opened:
        url = opened.enter_context(postgresql())
        source = opened.enter_context(server("benchmarks.source:app", "/users/1"))
        environment = os.environ | {"DATABASE_URL": url, "LOG_LEVEL": "ERROR", **addresses(source)}
        for page_size in _PAGE_SIZES:
            _measure_jobs(figures, page_size, rounds, environment)
        _fill(url, environment)
        servers = {
            "usual": opened.enter_context(server("benchmarks.usual:app", "/users/1", DATABASE_URL=url)),
            "ours": opened.enter_context(api("/users/1", DATABASE_URL=url, LOG_LEVEL="WARNING")),
            "limit": opened.enter_context(server("benchmarks.limit:app", "/users/1", DATABASE_URL=url)),
        }
        _measure_api(figures, servers, rounds)
    seconds = start.measure(rounds)
    plot("compare", figures)
    text = f"{figures.table()}\n\n![The same as bars](compare.svg)\n\n{start.table(seconds)}"
    write("compare", "The usual way, ours, and the limit", text, {**figures.rounds, "start": seconds})


def _measure_jobs(figures: Figures, page_size: int, rounds: int, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "benchmarks.jobs", str(page_size), str(rounds)]
    environment = environment | {"USERS_PAGE_SIZE": str(page_size)}
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as jobs:
        for line in jobs.stdout or ():
            work, way, figure = json.loads(line)
            print(f"{work}, {page_size} a page, {way}: {figure:,.0f} rows/s", flush=True)
            figures.add(f"{work}, {page_size} a page", way, "rows/s", figure)
    if jobs.returncode:
        raise SystemExit(f"the jobs ended with exit code {jobs.returncode}")


def _fill(url: str, environment: dict[str, str]) -> None:
    """Users with addresses and cards, as a day of jobs leaves them."""
    code = f"from benchmarks import ours; ours.run({str(Job.ENRICH_MISSING_CARDS)!r}, 10_000)"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, check=True)
    with psycopg.connect(plain(url), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _measure_api(figures: Figures, servers: dict[str, str], rounds: int) -> None:
    for number in range(rounds + 1):
        for path in _PATHS:
            for way, url in servers.items():
                figure = requests_a_second(url, path, _LOAD_SECONDS if number else 1)
                if number:
                    print(f"GET {path}, {way}: {figure:,.0f} requests/s", flush=True)
                    figures.add(f"GET {path}", way, "requests/s", figure)


if __name__ == "__main__":
    main()
