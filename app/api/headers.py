"""Headers that every answer has unless its route says otherwise."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DEFAULTS = {
    # A browser takes JSON for JSON, whatever is in it.
    b"x-content-type-options": b"nosniff",
    # What is not meant to be kept is about people.
    b"cache-control": b"no-store",
}


class DefaultHeaders:
    """Middleware in plain ASGI, which costs microseconds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_defaults(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _completed(message["headers"])
            await send(message)

        await self._app(scope, receive, send_with_defaults)


def _completed(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    missing = _DEFAULTS
    for name, _ in headers:
        if name in _DEFAULTS:
            missing = {other: value for other, value in missing.items() if other != name}
    return [*headers, *missing.items()]
