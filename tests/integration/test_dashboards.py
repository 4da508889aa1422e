"""Every panel of every dashboard shows something, on a Prometheus that has scraped the roles while they worked."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.deployment import Deployment, eventually
from tests.fake_source import DummyJsonLike, FakeSource
from tests.integration.test_brokers import ADDRESSES, SYNC
from tests.otlp import Collector
from tests.scrape import free_ports, scrape
from tests.test_alerts import DASHBOARDS, RULES

LABELS = {"namespace": "synergyway", "release": "synergyway"}


class Prometheus:
    """A server of its own, which scrapes every second."""

    def __init__(self, folder: Path, targets: list[int]) -> None:
        (self._port,) = free_ports(1)
        config = folder / "prometheus.json"  # JSON is YAML
        job = {
            "job_name": "synergyway",
            "static_configs": [{"targets": [f"127.0.0.1:{p}" for p in targets], "labels": LABELS}],
        }
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "scrape_configs": [job],
                    "rule_files": [str(RULES)],
                }
            )
        )
        with (folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--enable-feature=exemplar-storage",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def values(self, expression: str) -> list[float]:
        return [float(sample["value"][1]) for sample in self.ask("query", query=expression)["result"]]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture
def ports() -> dict[str, int]:
    return dict(zip(("api", "worker", "beat", "http"), free_ports(4), strict=True))


@pytest.fixture
def prometheus(tmp_path: Path, ports: dict[str, int]) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path, [ports[role] for role in ("api", "worker", "beat")])
    yield server
    server.close()


def queries() -> dict[str, str]:
    """By dashboard and panel, with Grafana's variables filled in."""
    found = {}
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"]
                for name, value in {
                    "$namespace": LABELS["namespace"],
                    "$release": LABELS["release"],
                    "$__rate_interval": "5m",
                    "$__range": "5m",
                }.items():
                    expression = expression.replace(name, value)
                found[f"{file.stem}: {panel['title']}: {target['refId']}"] = expression
    return found


@pytest.mark.prometheus
@pytest.mark.parametrize("deployment", ["rabbitmq"], indirect=True)
def test_every_panel_shows_what_the_roles_have_done(
    deployment: Deployment,
    source: FakeSource,
    sample: Callable[[int], DummyJsonLike],
    prometheus: Prometheus,
    ports: dict[str, int],
    collector: Collector,
) -> None:
    started = time.time()
    users = sample(60)
    for number in (1, 2):
        users.users[number].pop("address")
    source.respond = users
    worker = deployment.worker(METRICS_PORT=str(ports["worker"]))
    deployment.start("beat", METRICS_PORT=str(ports["beat"]))
    api = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(ports["http"]), "--no-access-log"],
        cwd=PROJECT,
        env=deployment.environment
        | {"METRICS_PORT": str(ports["api"]), "LOG_LEVEL": "ERROR", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
    )
    try:
        _work(deployment, source, users, f"http://127.0.0.1:{ports['http']}", ports["worker"])
        assert eventually_all(prometheus, f"http://127.0.0.1:{ports['http']}") == []
        assert worker.process.poll() is None

        # The numbers are those of what was done. While the api lives: Prometheus forgets what it can no longer scrape.
        assert prometheus.values('sum(synergyway_rows_total{task="sync_users",result="inserted"})') == [60]
        # Beat looks every ten seconds.
        for gauge in (
            'max(synergyway_backlog_users{noun="addresses",state="put_off"})',
            'max(celery_queue_length{queue_name="synergyway.dead"})',
        ):
            eventually(lambda gauge=gauge: prometheus.values(gauge) == [2])
        assert prometheus.values('sum(http_request_duration_seconds_count{status="404"})') == [5]
        # From a dot on a panel to the trace of a request in it.
        dots = prometheus.ask(
            "query_exemplars",
            query='http_request_duration_seconds_bucket{route="/users"}',
            start=str(started),
            end=str(time.time()),
        )
        trace_id, *_ = [dot["labels"]["trace_id"] for series in dots for dot in series["exemplars"]]
        # Spans are sent every five seconds.
        eventually(lambda: [span for span in collector.trace(trace_id) if span.name == "GET /users"])
        assert {rule["health"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]} == {"ok"}
    finally:
        api.terminate()
        api.wait(30)


def _work(deployment: Deployment, source: FakeSource, users: DummyJsonLike, url: str, worker_port: int) -> None:
    """A bit of everything that a dashboard tells of."""
    done = "SELECT count(*) FROM users WHERE has_card AND (has_address OR address_checks > 0)"
    eventually(lambda: deployment.pg.value(done) == 60, 60)
    # A fault that passes, a run that fails for good, and a message that no worker knows.
    source.answer(b"busy", status=503, headers={"Retry-After": "1"})
    deployment.call(SYNC)
    eventually(lambda: scrape(worker_port).value("celery_task_retried_total") >= 1)
    source.answer({"people": []})
    eventually(lambda: (run := deployment.run_ended()) and run["status"] == "failed")
    deployment.call("app.tasks.users.no_such_task")
    source.respond = users
    # Rows that are written while they are watched: the first ones may have come before the first scrape.
    deployment.pg.rows("DELETE FROM addresses WHERE user_id IN (SELECT id FROM users WHERE external_id > 50)")
    deployment.call(ADDRESSES)
    eventually(lambda: urllib.request.urlopen(f"{url}/readyz", timeout=5).close() is None)
    for path in ["/users/999"] * 5:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(url + path, timeout=10)


def eventually_all(prometheus: Prometheus, url: str) -> list[str]:
    """The panels that show nothing, when there have been enough scrapes for all to show something."""
    empty: list[str] = []

    def none_is_empty() -> bool:
        # A series that a scrape finds for the first time has no rate yet.
        for path in ("/users", "/users/1", "/users/ui"):
            urllib.request.urlopen(url + path, timeout=10).close()
        # NaN, a ratio of nothing, is nothing to look at.
        empty[:] = [name for name, query in queries().items() if not [v for v in prometheus.values(query) if v == v]]
        return not empty

    with suppress(AssertionError):  # the caller names them
        eventually(none_is_empty, 45)
    return empty
