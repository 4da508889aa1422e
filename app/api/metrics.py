"""How many requests there are, how they end and how long they take, as Prometheus counts them."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing
from app.db import PoolUse

# Half of the requests end before the second of these, and clients give up around the last.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Files and FastAPI's own pages have no template, and whatever is asked for that is not there is one series.
_OTHER_ROUTE, _NO_ROUTE = "other", "none"


class HttpMetrics:
    """The api's metrics, in a registry of their own."""

    def __init__(self, pool_use: Callable[[], PoolUse]) -> None:
        self.registry = registry = CollectorRegistry()
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("http_requests_in_flight", "Requests being answered just now.", registry=registry)
        for name, documentation, read in (
            ("in_use", "Connections to the database that are lent out just now.", lambda: pool_use().in_use),
            ("size", "Connections to the database that may be lent out at once.", lambda: pool_use().size),
        ):
            Gauge(f"synergyway_database_pool_{name}", documentation, registry=registry).set_function(read)


class MeasuredRequests:
    """Middleware in plain ASGI: it wraps neither request nor answer and makes no task, so it costs microseconds."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._duration = metrics.duration
        self._in_flight = metrics.in_flight
        # Finding a child by its labels costs more than counting with it.
        self._known: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what is raised is answered so, further out

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._in_flight.inc()
        began = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_look)
        finally:
            seconds = time.perf_counter() - began
            self._in_flight.dec()
            trace_id = tracing.kept_trace_id() if tracing.is_set_up() else None
            # From a panel to the trace of one of the requests in it.
            self._child(scope, status).observe(seconds, None if trace_id is None else {"trace_id": trace_id})

    def _child(self, scope: Scope, status: int) -> Histogram:
        untold = _OTHER_ROUTE if "endpoint" in scope else _NO_ROUTE
        key = (scope["method"], getattr(scope.get("route"), "path", untold), status)
        child = self._known.get(key)
        if child is None:
            method, route, _ = key
            labels = (method if method in _METHODS else "other", route, str(status))
            child = self._duration.labels(*labels)
            if method in _METHODS:
                self._known[key] = child
        return child
