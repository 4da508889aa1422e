"""How failures are answered."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError

from app.api.headers import DEFAULT_HEADERS
from app.errors import BrokerUnavailable, DatabaseUnavailable, KeyReused, RunNotStarted
from app.schemas import ErrorOut, InvalidOut
from app.services.retries import DATABASE_DOWN

Responses = dict[int | str, dict[str, Any]]


def described(status_code: int, description: str) -> Responses:
    """How OpenAPI shows a failure."""
    return {status_code: {"model": ErrorOut, "description": description}}


NOT_FOUND = described(404, "There is no such user.")
UNAVAILABLE = described(503, "The database is out of reach.")
INVALID: Responses = {422: {"model": InvalidOut, "description": "A parameter is wrong: `loc` names it."}}

logger = logging.getLogger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, _answer_bad_input)
    for error_class in (DatabaseUnavailable, *DATABASE_DOWN, DBAPIError):
        app.add_exception_handler(error_class, _answer_database_down)
    app.add_exception_handler(BrokerUnavailable, _answer_broker_down)
    app.add_exception_handler(KeyReused, _answer_key_reused)
    app.add_exception_handler(Exception, _answer_defect)


def bad_query(field: str, message: str, value: object) -> RequestValidationError:
    """The error for query parameters that are right each by itself and wrong together."""
    return RequestValidationError([{"type": "value_error", "loc": ("query", field), "msg": message, "input": value}])


def is_database_down(error: BaseException) -> bool:
    """Whether the error says that the database is out of reach, and not that a statement is wrong."""
    return isinstance(error, (DatabaseUnavailable, *DATABASE_DOWN)) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


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


async def _answer_broker_down(_: Request, error: Exception) -> JSONResponse:
    logger.error("%s", error)
    headers = {"Retry-After": "5"}
    if isinstance(error, RunNotStarted):
        headers["Location"] = f"/runs/{error.run_id}"
    return JSONResponse({"detail": f"{_sentence(error)} Try again in a moment."}, status_code=503, headers=headers)


async def _answer_key_reused(_: Request, error: Exception) -> JSONResponse:
    problem = {"type": "key_reused", "loc": ["header", "Idempotency-Key"], "msg": _sentence(error)}
    return JSONResponse({"detail": [problem]}, status_code=422)


async def _answer_defect(_: Request, _error: Exception) -> JSONResponse:
    """The error itself goes on to the server, which logs it. No middleware sees this answer."""
    response = JSONResponse({"detail": "The service has a defect. It is in the log of the api."}, status_code=500)
    response.raw_headers.extend(DEFAULT_HEADERS.items())
    return response


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
