"""What routes ask for: the database, the settings, checked parameters."""

from typing import Annotated, TypeVar

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator, BeforeValidator, Field

from app.api.starting import Starter
from app.db import AsyncDatabase
from app.queries.run_history import RunFilter
from app.queries.users import UserFilter
from app.records import Job, Status
from app.settings import Settings

_LARGEST = 2**63 - 1


def _plain(text: str) -> str:
    if "\x00" in text:
        raise ValueError("has a NUL character")
    if "\ufffd" in text:
        raise ValueError("is not valid UTF-8")
    return text


def _none_if_blank(value: object) -> object:
    """A form that leaves a filter open sends it blank."""
    return None if value == "" else value


# Asynchronous, though they wait for nothing: FastAPI runs plain functions in threads, which costs more than the query.
async def get_database(request: Request) -> AsyncDatabase:
    database: AsyncDatabase = request.app.state.database
    return database


async def get_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


T = TypeVar("T")
Blank = Annotated[T | None, BeforeValidator(_none_if_blank)]


async def get_starter(request: Request) -> Starter:
    starter: Starter = request.app.state.starter
    return starter


Tristate = Blank[bool]


async def get_filter(
    has_address: Annotated[Tristate, Query(description="Only users with (true) or without (false) an address.")] = None,
    has_card: Annotated[Tristate, Query(description="Only users with (true) or without (false) a card.")] = None,
    removed: Annotated[
        Tristate, Query(description="Only users that the source no longer has (true) or still has (false).")
    ] = None,
    q: Annotated[
        str | None,
        Query(description="Only users with this text in name, username or email.", max_length=100),
        AfterValidator(lambda text: None if text is None else _plain(text)),
    ] = None,
) -> UserFilter:
    return UserFilter(has_address, has_card, q, removed)


async def get_run_filter(
    task: Annotated[Blank[Job], Query(description="Only runs of this job.")] = None,
    status: Annotated[Blank[Status], Query(description="Only runs in this state.")] = None,
) -> RunFilter:
    return RunFilter(task, status)


DatabaseDep = Annotated[AsyncDatabase, Depends(get_database)]
StarterDep = Annotated[Starter, Depends(get_starter)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
FilterDep = Annotated[UserFilter, Depends(get_filter)]
RunFilterDep = Annotated[RunFilter, Depends(get_run_filter)]
Limit = Annotated[int, Query(ge=1, le=100, description="How many a page.")]
Offset = Annotated[int, Query(ge=0, le=_LARGEST, description="Users to leave out; `after` is the cheaper way.")]
After = Annotated[
    Annotated[int, Field(ge=0, le=_LARGEST)] | None,
    BeforeValidator(_none_if_blank),
    Query(description="Only users with a greater id: paging at the same cost however deep."),
]
Before = Annotated[
    Annotated[int, Field(ge=1, le=_LARGEST)] | None,
    BeforeValidator(_none_if_blank),
    Query(description="Only runs with a smaller id: the ones before."),
]
RunId = Annotated[int, Path(ge=1, le=_LARGEST, description="The id of the run.")]
UserId = Annotated[int, Path(ge=1, le=_LARGEST, description="Our own id of the user.")]
