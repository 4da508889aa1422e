"""What is answered where no route takes the request: an address with a slash too many, or another method."""

from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.routing import Match, Mount
from starlette.types import Receive, Scope, Send

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def add_unmatched(app: FastAPI) -> None:
    """Answers in place of FastAPI, which redirects to whatever host and scheme it believes to have been asked by, and
    tells the methods of the first route alone that has the path.
    """
    router = app.router
    router.redirect_slashes = False

    async def redirect_or_not_found(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if scope["type"] != "http" or path == scope["path"] or not _methods(app, {**scope, "path": path}):
            await router.not_found(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        # Relative: behind a proxy that ends TLS, this process does not know how its client has reached it.
        response = RedirectResponse(f"{quote(path)}?{query}" if query else quote(path))
        await response(scope, receive, send)

    router.default = redirect_or_not_found
    app.add_exception_handler(405, _answer_other_method)


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """The methods that the routes of a path take, files apart, which say so themselves."""
    routes = [route for route in app.routes if not isinstance(route, Mount)]
    return [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _answer_other_method(request: Request, error: Exception) -> JSONResponse:
    methods = ", ".join(_methods(request.app, request.scope)) or getattr(error, "headers", {})["Allow"]
    detail = f"This address does not take {request.method}: it takes {methods}."
    return JSONResponse({"detail": detail}, status_code=405, headers={"Allow": methods})
