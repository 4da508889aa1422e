"""What is counted, and the port that shows it. Metrics are made per process and registry, never at import."""

import logging
import platform
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from app import __version__

# Up to the longest time that a provider may take, and up to a task's time limit.
_ANSWER_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
TASK_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

# When each series began would be a second series for each.
disable_created_metrics()  # type: ignore[no-untyped-call]  # as in the library

logger = logging.getLogger(__name__)


class JobMetrics:
    """What jobs count, in whichever process they run.

    Until somebody serves the registry nobody sees them, which is all that `celery call` needs.
    Labels: task is the job's short name, result a field of records.Counts, status the one that a run ended with, source
    the source's name, outcome ok or how providers.http sorts the failure, name the Celery task's name.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.rows = Counter(
            "synergyway_rows",
            "What became of rows, counted when they are committed.",
            ["task", "result"],
            registry=registry,
        )
        self.runs = Counter("synergyway_runs", "Runs that have ended.", ["task", "status"], registry=registry)
        self.provider_requests = Counter(
            "synergyway_provider_requests", "Requests to sources.", ["source", "outcome"], registry=registry
        )
        self.provider_duration = Histogram(
            "synergyway_provider_request_duration_seconds",
            "Seconds from a request to a source to the end of its answer, redirects included.",
            ["source"],
            buckets=_ANSWER_SECONDS,
            registry=registry,
        )
        self.sent = Counter(
            "celery_task_sent", "Task messages that the broker took.", ["name", "queue_name"], registry=registry
        )


class MetricsServer:
    """The thread that shows a registry."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server

    @property
    def port(self) -> int:
        return self._server.server_port

    def close(self) -> None:
        """Ends the thread and gives the port back."""
        self._server.shutdown()
        self._server.server_close()

    def close_in_child(self) -> None:
        """A child that outlives its parent must not keep the parent's port."""
        self._server.socket.close()


def serve(registry: CollectorRegistry, *, role: str, host: str, port: int) -> MetricsServer | None:
    """Shows the registry at ``http://host:port/metrics`` from a thread of its own.

    None when the port is 0, or when it cannot be had: a role does its work without being measured.
    """
    if port == 0:
        return None
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        logger.warning(
            "no metrics are shown: port %d on %s cannot be had (%s); METRICS_PORT chooses another one, or 0 for none",
            port,
            host,
            error.strerror or error,
        )
        return None
    ProcessCollector(registry=registry)
    build = Gauge("synergyway_build_info", "What runs here.", ["version", "role", "python_version"], registry=registry)
    build.labels(__version__, role, platform.python_version()).set(1)
    return MetricsServer(server)
