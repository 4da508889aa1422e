"""Failures as pages: what is wrong, and what a person can do about it."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.api.errors import is_database_down
from app.api.page import part_wanted, render

logger = logging.getLogger(__name__)


class PageRoute(APIRoute):
    """A route whose failures are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                return _bad_input(request, error)
            except HTTPException as error:
                return _locked(request) if error.status_code == 401 else _refused(request, error)
            except Exception as error:
                if not is_database_down(error):
                    raise
                logger.error("the database is out of reach: %s", error)
                return _database_down(request)

        return handle


def _locked(request: Request) -> Response:
    shown = {"was_wrong": "authorization" in request.headers}
    return render(request, "locked.html", shown, status_code=401, headers={"WWW-Authenticate": "Bearer"})


def _refused(request: Request, error: HTTPException) -> Response:
    title = "There is nothing here" if error.status_code == 404 else "This cannot be shown"
    return _problem(request, title, [str(error.detail)], status_code=error.status_code)


def _bad_input(request: Request, error: RequestValidationError) -> Response:
    if any(problem["loc"][0] == "path" for problem in error.errors()):
        return _problem(request, "There is nothing here", ["This address names no user and no run."], status_code=404)
    sentences = [_explain(problem) for problem in error.errors()]
    return _problem(request, "This address asks for what cannot be shown", sentences, status_code=422)


def _explain(problem: dict[str, Any]) -> str:
    """Such as: limit: Input should be less than or equal to 100."""
    return f"{problem['loc'][-1]}: {problem['msg'].removeprefix('Value error, ')}."


def _database_down(request: Request) -> Response:
    sentences = [
        "The users themselves are safe there. This page asks again by itself every few seconds.",
        "If it goes on: see whether the database runs, whether DATABASE_URL is right, and what the api logs.",
    ]
    return _problem(request, "The database is out of reach", sentences, status_code=503, headers={"Retry-After": "5"})


def _problem(
    request: Request, title: str, sentences: list[str], *, status_code: int, headers: dict[str, str] | None = None
) -> Response:
    shown = {
        "title": title,
        "sentences": sentences,
        "retries": status_code == 503,
        "id": "results" if part_wanted(request) == "results" else "problem",
    }
    return render(request, "problem.html", shown, status_code=status_code, headers=headers)
