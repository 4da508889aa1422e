"""How failures are answered."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from app.errors import DatabaseUnavailable
from app.schemas import BadInputOut, ErrorOut

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorOut, "description": "There is no such user."}}
BAD_INPUT: dict[int | str, dict[str, Any]] = {
    422: {"model": BadInputOut, "description": "A parameter is wrong; the answer names it."}
}
UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorOut, "description": "The database is out of reach."}
}

logger = logging.getLogger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, _answer_bad_input)
    app.add_exception_handler(DatabaseUnavailable, _answer_database_down)


def bad_query(field: str, message: str, value: object) -> RequestValidationError:
    """The error for query parameters that are right each by itself and wrong together."""
    return RequestValidationError([{"type": "value_error", "loc": ("query", field), "msg": message, "input": value}])


async def _answer_bad_input(_: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    # Without the input: it may hold what JSON cannot, and the client knows it.
    problems = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in found]
    return JSONResponse({"detail": jsonable_encoder(problems)}, status_code=422)


async def _answer_database_down(_: Request, error: Exception) -> JSONResponse:
    logger.error("the database is out of reach: %s", error)
    return JSONResponse(
        {"detail": "The database is out of reach. Try again in a moment."},
        status_code=503,
        headers={"Retry-After": "5"},
    )
