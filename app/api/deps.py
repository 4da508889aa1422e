"""What routes ask for: the database, the settings, checked parameters."""

from typing import Annotated, TypeVar

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from app.api.starting import Starter
from app.async_db import AsyncDatabase
from app.queries.run_history import RunFilter
from app.queries.users import UserFilter
from app.records import Job, Status
from app.settings import Settings

_LARGEST = 2**63 - 1
_MOST_A_PAGE = 100


def _plain(text: str | None) -> str | None:
    if text is None:
        return None
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


async def get_run_filter(
    task: Annotated[Blank[Job], Query(description="Only runs of this job.")] = None,
    status: Annotated[Blank[Status], Query(description="Only runs in this state.")] = None,
) -> RunFilter:
    return RunFilter(task, status)


DatabaseDep = Annotated[AsyncDatabase, Depends(get_database)]
StarterDep = Annotated[Starter, Depends(get_starter)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
RunFilterDep = Annotated[RunFilter, Depends(get_run_filter)]
Limit = Annotated[int, Query(ge=1, le=_MOST_A_PAGE, description="How many a page.")]
Before = Annotated[
    Annotated[int, Field(ge=1, le=_LARGEST)] | None,
    BeforeValidator(_none_if_blank),
    Query(description="Only runs with a smaller id: the ones before."),
]
RunId = Annotated[int, Path(ge=1, le=_LARGEST, description="The id of the run.")]
UserId = Annotated[int, Path(ge=1, le=_LARGEST, description="Our own id of the user.")]

_Position = Annotated[int, Field(ge=0, le=_LARGEST)]
# The database adds a page and the user behind it.
_LARGEST_OFFSET = _LARGEST - _MOST_A_PAGE - 1


class KeysetQuery(BaseModel):
    """Which users, and the page of them behind an id."""

    has_address: Blank[bool] = Field(None, description="Only users with (true) or without (false) an address.")
    has_card: Blank[bool] = Field(None, description="Only users with (true) or without (false) a card.")
    removed: Blank[bool] = Field(
        None, description="Only users that the source no longer has (true) or still has (false)."
    )
    q: Annotated[str | None, AfterValidator(_plain)] = Field(
        None, description="Only users with this text in name, username or email.", max_length=100
    )
    limit: int = Field(20, ge=1, le=_MOST_A_PAGE, description="Users a page.")
    after: Blank[_Position] = Field(
        None, description="Only users with a greater id: paging at the same cost however deep."
    )

    @property
    def wanted(self) -> UserFilter:
        return UserFilter(self.has_address, self.has_card, self.q, self.removed)


class PageQuery(KeysetQuery):
    """The same, or the page from an offset on."""

    offset: int = Field(0, ge=0, le=_LARGEST_OFFSET, description="Users to leave out; `after` is the cheaper way.")
    count: bool = Field(False, description="Count the matching users, which reads an index of all of them.")
