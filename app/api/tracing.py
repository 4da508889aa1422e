"""A span around each request, below that of whoever sent it."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode
from starlette.types import Scope

from app import tracing

# Asked for every few seconds by probes, and by every page.
_UNTRACED = ("/healthz", "/readyz", "/static/")
_CARRIERS = frozenset({b"traceparent", b"tracestate", b"baggage"})
_NO_SPAN = nullcontext(INVALID_SPAN)


def request_span(scope: Scope) -> AbstractContextManager[Span]:
    """The request's span, which records nothing when it is not traced.

    Of the address only the path is told: a query may hold what people look for, and their tokens.
    """
    path = scope["path"]
    if not tracing.is_set_up() or path.startswith(_UNTRACED):
        return _NO_SPAN
    method = scope["method"]
    carrier = _carrier(scope["headers"])
    return tracing.span(method, SpanKind.SERVER, carrier=carrier, http__request__method=method, url__path=path)


def describe(span: Span, scope: Scope, status: int) -> str | None:
    """Adds how the request was answered; the id of its trace when that can be looked up later."""
    if not span.is_recording():
        return None
    span.set_attribute("http.response.status_code", status)
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
    return tracing.kept_trace_id()


def _carrier(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in _CARRIERS}
