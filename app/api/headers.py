"""Headers that every answer has unless its route says otherwise."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEFAULT_HEADERS = {
    # A browser takes JSON for JSON, whatever is in it,
    b"x-content-type-options": b"nosniff",
    # lets nothing in it act, and shows it in nobody else's page,
    b"content-security-policy": b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    # and tells no other site where it has been: addresses hold ids and what people look for.
    b"referrer-policy": b"no-referrer",
    # What is not meant to be kept is about people.
    b"cache-control": b"no-store",
}
_ITEMS = tuple(DEFAULT_HEADERS.items())


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
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(item for item in _ITEMS if item[0] not in given)]
            await send(message)

        await self._app(scope, receive, send_with_defaults)
