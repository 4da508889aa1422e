"""What is measured and traced of each request."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.metrics import HttpMetrics
from app.api.tracing import describe, request_span


class ObservedRequests:
    """Middleware in plain ASGI: it wraps neither request nor answer and makes no task, so it costs microseconds.

    One for metrics and traces: each layer between server and route costs about as much as what it does.
    """

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

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

        metrics = self._metrics
        with request_span(scope) as span:
            metrics.in_flight += 1
            began = time.perf_counter()
            try:
                await self._app(scope, receive, send_and_look)
            finally:
                seconds = time.perf_counter() - began
                metrics.in_flight -= 1
                metrics.count(scope, status, seconds, describe(span, scope, status))
