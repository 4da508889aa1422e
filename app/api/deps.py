"""What routes ask for: the database, the settings, checked parameters."""

from typing import Annotated

from fastapi import Depends, Path, Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from app.async_db import AsyncDatabase
from app.queries.users import UserFilter
from app.settings import Settings

_LARGEST = 2**63 - 1


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


DatabaseDep = Annotated[AsyncDatabase, Depends(get_database)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
UserId = Annotated[int, Path(ge=1, le=_LARGEST, description="Our own id of the user.")]

_Tristate = Annotated[bool | None, BeforeValidator(_none_if_blank)]
_Position = Annotated[int, Field(ge=0, le=_LARGEST)]


class KeysetQuery(BaseModel):
    """Which users, and the page of them behind an id."""

    has_address: _Tristate = Field(None, description="Only users with (true) or without (false) an address.")
    has_card: _Tristate = Field(None, description="Only users with (true) or without (false) a card.")
    q: Annotated[str | None, AfterValidator(_plain)] = Field(
        None, description="Only users with this text in name, username or email.", max_length=100
    )
    limit: int = Field(20, ge=1, le=100, description="Users a page.")
    after: Annotated[_Position | None, BeforeValidator(_none_if_blank)] = Field(
        None, description="Only users with a greater id: paging at the same cost however deep."
    )

    @property
    def wanted(self) -> UserFilter:
        return UserFilter(self.has_address, self.has_card, self.q)


class PageQuery(KeysetQuery):
    """The same, or the page from an offset on."""

    offset: _Position = Field(0, description="Users to leave out; `after` is the cheaper way.")
    count: bool = Field(False, description="Count the matching users, which reads an index of all of them.")
