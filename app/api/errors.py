"""How failures are answered."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError

from app.schemas import ErrorOut
from app.services.retries import DATABASE_DOWN

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorOut, "description": "There is no such user."}}
UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorOut, "description": "The database is out of reach."}
}

logger = logging.getLogger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, _answer_bad_input)
    for error_class in (*DATABASE_DOWN, DBAPIError):
        app.add_exception_handler(error_class, _answer_database_down)


def bad_query(field: str, message: str, value: object) -> RequestValidationError:
    """The error for query parameters that are right each by itself and wrong together."""
    return RequestValidationError([{"type": "value_error", "loc": ("query", field), "msg": message, "input": value}])


def is_database_down(error: BaseException) -> bool:
    """Whether the error says that the database is out of reach, and not that a statement is wrong."""
    return isinstance(error, DATABASE_DOWN) or (isinstance(error, DBAPIError) and error.connection_invalidated)


async def _answer_bad_input(_: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    # Without the input: it may hold what JSON cannot, and the client knows it.
    problems = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in found]
    return JSONResponse({"detail": jsonable_encoder(problems)}, status_code=422)


async def _answer_database_down(_: Request, error: Exception) -> JSONResponse:
    if not is_database_down(error):
        raise error
    logger.error("the database is out of reach: %s", error)
    return JSONResponse(
        {"detail": "The database is out of reach. Try again in a moment."},
        status_code=503,
        headers={"Retry-After": "5"},
    )
