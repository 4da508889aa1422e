"""Leaving without dropping a request: after SIGUSR1 each answer asks its client to connect anew elsewhere.

Kubernetes takes a pod out of its Service and then has preStop run, but clients go on using the connections that they
have. SIGTERM closes those that are idle at once, also under a client that is just sending its next request.
"""

import asyncio
import signal
import threading

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Draining:
    """ASGI middleware that adds ``Connection: close`` to every answer once the process has received SIGUSR1."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Elsewhere than in the main thread, as in tests, no signal arrives.
        if scope["type"] == "lifespan" and threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._start)
        if not self._draining or scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_last)

    def _start(self) -> None:
        self._draining = True
