"""How many requests the server has refused before the application saw them.

One tally a process: uvicorn makes its protocols itself, and hands them nothing of the application's.
"""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

# Of a connection that is cut off without an answer.
NO_STATUS = "none"

# A counter that begins with its first event hides that event from increase().
_refused = dict.fromkeys(("400", "408", "414", "431", "503", NO_STATUS), 0)


def count_refusal(status: int | None) -> None:
    """By the event loop alone, so it takes no lock. None: there was no answer."""
    _refused[NO_STATUS if status is None else str(status)] += 1


class Refusals(Collector):
    """Shows the tally."""

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "http_requests_refused",
            "Requests that were answered without asking the application, and connections that were cut off.",
            labels=["status"],
        )
        for status, count in _refused.items():
            family.add_metric([status], count)
        yield family
