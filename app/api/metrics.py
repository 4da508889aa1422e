"""How many requests there are, how they end and how long they take, as Prometheus counts them."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope

from app.api.refusals import Refusals
from app.db import POOL_DOCUMENTATION, PoolUse

# Half of the requests end before the second of these, and clients give up around the last.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Files and FastAPI's own pages have no template, and whatever is asked for that is not there is one series.
_OTHER_ROUTE, _NO_ROUTE = "other", "none"


class _Pool(Collector):
    """The pool of connections to the database, which counts for itself."""

    def __init__(self, use: Callable[[], PoolUse]) -> None:
        self._use = use

    def collect(self) -> Iterator[Metric]:
        use = self._use()
        for part, family in (
            ("in_use", GaugeMetricFamily),
            ("size", GaugeMetricFamily),
            ("failures", CounterMetricFamily),
        ):
            yield family(f"synergyway_database_pool_{part}", POOL_DOCUMENTATION[part], value=getattr(use, part))


class HttpMetrics:
    """The api's metrics, in a registry of their own.

    in_flight: requests being answered just now. The event loop alone counts them, so it takes no lock.
    """

    def __init__(self, pool_use: Callable[[], PoolUse]) -> None:
        self.registry = registry = CollectorRegistry()
        self._duration = Histogram(
            "http_request_duration_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = 0
        in_flight = Gauge("http_requests_in_flight", "Requests being answered just now.", registry=registry)
        in_flight.set_function(lambda: self.in_flight)
        registry.register(_Pool(pool_use))
        registry.register(Refusals())
        # Finding a child by its labels costs more than counting with it.
        self._known: dict[tuple[str, str, int], Histogram] = {}

    def count(self, scope: Scope, status: int, seconds: float, trace_id: str | None) -> None:
        """Counts a request; with the id of its trace one gets from a panel to the trace of a request in it."""
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
