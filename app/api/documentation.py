"""The OpenAPI document, with examples as they are."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.schemas import RunOut, UserOut


def document(app: FastAPI) -> None:
    """Makes the app describe itself with the nulls in its examples, which FastAPI leaves out."""

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
