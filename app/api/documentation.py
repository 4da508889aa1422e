"""The OpenAPI document, with examples as they are, and the page that shows it."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from app.api.page import render
from app.schemas import RunOut, UserOut

# Swagger UI holds its icons as data in its own files.
_IMAGES_AS_DATA = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}


def document(app: FastAPI) -> None:
    """Makes the app describe itself with the nulls in its examples, which FastAPI leaves out, at /docs too.

    FastAPI's own page loads its scripts from another host.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            for model in (UserOut, RunOut):
                described = model.model_json_schema()
                schema["components"]["schemas"][model.__name__]["examples"] = described["examples"]
            app.openapi_schema = schema
        return app.openapi_schema

    # The way that FastAPI's own documentation shows.
    app.openapi = openapi  # type: ignore[method-assign]
    app.add_api_route("/docs", _show, include_in_schema=False)


async def _show(request: Request) -> Response:
    return render(request, "docs.html", {}, headers=_IMAGES_AS_DATA)
