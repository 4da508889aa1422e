"""What metrics and traces cost: the CPU that GET /users takes the api without them, and with each, side by side.

`python -m benchmarks.observability_cost`; BENCH_ROUNDS is how often each is measured (40). An api's CPU is what limits
its requests/s, and it stays the same while others use the machine. The figure is the median of the rounds' own ratios:
in a round all are measured one after another.
"""

import os
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from typing import Any

from app.api.observing import ObservedRequests
from app.main import create_app
from app.records import Job
from app.settings import load_settings
from benchmarks.load import requests_a_second
from benchmarks.servers import PROJECT, addresses, free_port, postgresql, server
from tests.dockerfile import UVICORN_VARIABLES

_PATH = "/users?limit=20"
_SECONDS = 0.5


def bare() -> Any:
    """The API as it would be if nothing were counted or traced."""
    app = create_app(load_settings())
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls is not ObservedRequests]
    return _telling_its_cpu(app)


def observed() -> Any:
    """The API as it is."""
    return _telling_its_cpu(create_app(load_settings()))


def _telling_its_cpu(app: Any) -> Any:
    app.add_api_route("/cpu-seconds", lambda: time.process_time())  # noqa: PLW0108  # it has no signature
    return app


async def sink(scope: Any, receive: Any, send: Any) -> None:
    """A collector that takes what comes and keeps nothing."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    rounds = int(os.environ.get("BENCH_ROUNDS", "40"))
    with ExitStack() as opened:
        url = opened.enter_context(postgresql())
        source = opened.enter_context(server("benchmarks.source:app", "/users/1"))
        environment = os.environ | {"DATABASE_URL": url, "LOG_LEVEL": "ERROR", **addresses(source)}
        for job in Job:
            batch_size = None if job == Job.SYNC_USERS else 10_000
            code = f"from benchmarks import ours; ours.run({str(job)!r}, {batch_size})"
            subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, check=True)
        collector = opened.enter_context(server("benchmarks.observability_cost:sink", "/"))
        sampled = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
        ways = {
            "without": ("bare", {"METRICS_PORT": "0"}),
            "metrics": ("observed", {}),
            "metrics, a trace of 20": ("observed", sampled | {"OTEL_TRACES_SAMPLER_ARG": "0.05"}),
            "metrics, all traces": ("observed", sampled | {"OTEL_TRACES_SAMPLER_ARG": "1"}),
        }
        servers = {}
        for way, (factory, variables) in ways.items():
            app = f"benchmarks.observability_cost:{factory}"
            port = {"METRICS_PORT": str(free_port()), "METRICS_HOST": "127.0.0.1"}
            environment = {"DATABASE_URL": url, "LOG_LEVEL": "WARNING", **port, **UVICORN_VARIABLES, **variables}
            servers[way] = opened.enter_context(server(app, "/users/1", "--factory", **environment))
        ratios = _measure(servers, rounds)
    for way, values in ratios.items():
        spread = f"{min(values):.3f} to {max(values):.3f}"
        print(f"{way}: {statistics.median(values):.3f} of the requests per second of CPU ({spread})")


def _measure(servers: dict[str, str], rounds: int) -> dict[str, list[float]]:
    ratios: dict[str, list[float]] = {way: [] for way in list(servers)[1:]}
    for number in range(rounds + 1):
        # Each is the first of its round in turn.
        order = [*servers][number % len(servers) :] + [*servers][: number % len(servers)]
        figures = {way: _requests_a_cpu_second(servers[way]) for way in order}
        if number:
            print(", ".join(f"{way}: {figures[way]:,.0f}" for way in servers), "requests per second of CPU", flush=True)
            for way, values in ratios.items():
                values.append(figures[way] / figures["without"])
    return ratios


def _requests_a_cpu_second(url: str) -> float:
    before = _cpu_seconds(url)
    answers = requests_a_second(url, _PATH, _SECONDS) * _SECONDS
    return answers / (_cpu_seconds(url) - before)


def _cpu_seconds(url: str) -> float:
    with urllib.request.urlopen(f"{url}/cpu-seconds", timeout=30) as answer:
        return float(answer.read())


if __name__ == "__main__":
    main()
