"""What a source is: how it is recognised, asked and read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError, with_config

from app.errors import ProviderError
from app.providers.http import Params
from app.providers.wire import WIRE
from app.records import AddressRecord, CardRecord, UserRecord

W = TypeVar("W")
R = TypeVar("R", UserRecord, AddressRecord, CardRecord)


class Noun(StrEnum):
    """What can be read from a source."""

    USER = "users"
    ADDRESS = "addresses"
    CARD = "credit cards"


class RecordError(ValueError):
    """A record cannot be used. The message names fields and faults, never values."""


@dataclass(frozen=True)
class Mapper(Generic[W, R]):
    """From a source's JSON to one of our records.

    wire: a TypedDict of the fields that are read. to_record gives None when the source's record lacks the wanted part.
    select: the fields of the source that are needed, for sources that can leave the others out.
    """

    wire: type[W]
    to_record: Callable[[W], R | None]
    select: tuple[str, ...] = ()

    def read(self, item: Any) -> R | None:
        """Raises RecordError."""
        try:
            return self.to_record(self._validate(item))
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            reason = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'record'}: {p['msg']}" for p in problems)
        except ValueError as error:
            reason = str(error)
        # Raised out here, so that the validation error, which holds the record, is not kept as its context.
        raise RecordError(reason)

    @cached_property
    def _validate(self) -> Callable[[Any], W]:
        return TypeAdapter(with_config(WIRE)(self.wire)).validator.validate_python


@dataclass(frozen=True, slots=True)
class WirePage:
    """The records in an answer, unread. total: of the whole collection; complete: this is the whole collection."""

    items: Sequence[Any]
    total: int | None
    complete: bool


class Source(ABC):
    """A public API. One instance, named SOURCE, in a module of its own."""

    name: ClassVar[str]
    title: ClassVar[str]
    mappers: ClassVar[Mapping[Noun, Mapper[Any, Any]]]

    @abstractmethod
    def recognises(self, body: Any) -> bool:
        """Whether this is an answer of the source."""

    @abstractmethod
    def unwrap(self, body: Any) -> Any:
        """The records of an answer. Raises ProviderError when it has another shape."""

    def mapper(self, noun: Noun) -> Mapper[Any, Any]:
        """Raises ProviderError when the source has none of these."""
        if noun not in self.mappers:
            has = " and ".join(self.mappers)
            raise ProviderError(f"{self.title} has no {noun} that could be used, only {has}: choose another address")
        return self.mappers[noun]


class KeyedSource(Source):
    """A source that knows the users' own records: ``GET {url}/{external_id}``, and a collection in pages."""

    @abstractmethod
    def page_params(self, skip: int, limit: int, select: Sequence[str]) -> Params:
        """The query for a page of the collection."""

    @abstractmethod
    def item_params(self, select: Sequence[str]) -> Params:
        """The query for one record."""

    @abstractmethod
    def unwrap(self, body: Any) -> WirePage:
        """The records of a page. Raises ProviderError when the answer has another shape."""


class PoolSource(Source):
    """A source that draws records that belong to nobody, ``most_at_once`` at the most."""

    most_at_once: ClassVar[int]

    @abstractmethod
    def draw_params(self, size: int) -> Params:
        """The query for so many records."""

    @abstractmethod
    def unwrap(self, body: Any) -> Sequence[Any]:
        """The records drawn. Raises ProviderError when the answer has another shape."""
