"""A span around each request, below that of whoever sent it."""

from collections.abc import Iterable

from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing

# Asked for every few seconds by probes, and by every page.
_UNTRACED = ("/healthz", "/readyz", "/static/")
_CARRIERS = frozenset({b"traceparent", b"tracestate", b"baggage"})


class TracedRequests:
    """Middleware in plain ASGI, which costs nothing while nothing is traced.

    Of the address only the path is told: a query may hold what people look for, and their tokens.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not tracing.is_set_up() or scope["path"].startswith(_UNTRACED):
            await self._app(scope, receive, send)
            return
        status = 500  # what is raised is answered so, further out

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"]
        with tracing.span(
            method,
            SpanKind.SERVER,
            carrier=_carrier(scope["headers"]),
            http__request__method=method,
            url__path=scope["path"],
        ) as span:
            try:
                await self._app(scope, receive, send_and_look)
            finally:
                span.set_attribute("http.response.status_code", status)
                route = getattr(scope.get("route"), "path", None)
                if route is not None:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)


def _carrier(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in _CARRIERS}
