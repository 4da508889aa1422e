"""Reading a keyed source's collection page by page."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.errors import ProviderError
from app.providers.catalogue import AUTO, recognise, sources
from app.providers.http import HttpClient, Params
from app.providers.source import KeyedSource, Noun, RecordError, Source
from app.providers.wire import WIRE, Identity
from app.records import Rejected, UserPage, UserRecord

# Unknown sources are asked as DummyJSON is: the others ignore what they do not know.
_FIRST_ASKED = "dummyjson"
_SMALLEST_ID, _LARGEST_ID = -(2**63), 2**63 - 1

# As the id of a user is read.
_identity = TypeAdapter(Identity, config=WIRE).validator.validate_python


def find_source(http: HttpClient, url: str, name: str) -> Source:
    """The named source, or for ``auto`` the one whose shape the address answers with.

    Raises ProviderError when the address answers with another shape: else a wrong address would look like a source
    that has none of the users.
    """
    # Nothing but ids: what is not asked for cannot leak.
    body = http.get_json(url, {"limit": 1, "select": "id"}, source=name)
    if name == AUTO:
        return recognise(body, url)
    sources()[name].unwrap(body)
    return sources()[name]


def read_users(http: HttpClient, url: str, name: str, skip: int, limit: int) -> tuple[str, UserPage]:
    """A page of users and the name of the source that read it.

    Raises ProviderUnavailable, or ProviderError when the answer is of an unknown shape or no record in the first
    page can be used.
    """
    asked = sources()[_FIRST_ASKED if name == AUTO else name]
    asked.mapper(Noun.USER)
    body = http.get_json(url, _page_params(asked, skip, limit), source=name)
    source = asked if name != AUTO else recognise(body, url)
    mapper = source.mapper(Noun.USER)
    if not isinstance(source, KeyedSource):
        raise ProviderError(f"{source.title} has no collection of users: choose another USERS_API_URL")
    wire = source.unwrap(body)
    users: list[UserRecord] = []
    rejected: list[Rejected] = []
    seen: set[int] = set()
    unknown = 0
    for item in wire.items:
        try:
            user = mapper.read(item)
            reason = "has no name"
        except RecordError as error:
            user, reason = None, str(error)
        if user is not None:
            users.append(user)
            seen.add(user.external_id)
            continue
        rejected.append(Rejected(name_of(item), reason))
        external_id = record_id(item)
        if external_id is None or not _SMALLEST_ID <= external_id <= _LARGEST_ID:
            unknown += 1
        else:
            seen.add(external_id)
    if skip == 0 and rejected and not users:
        raise ProviderError(f"none of the first {len(rejected)} users can be used: {rejected[0].reason}")
    return source.name, UserPage(users, rejected, len(wire.items), wire.total, wire.complete, frozenset(seen), unknown)


def record_id(item: Any) -> int | None:
    """The id of a record that has not been read yet; None when it has none that is a number."""
    given = item.get("id") if isinstance(item, dict) else None
    if type(given) is int:
        return given
    try:
        number: int = _identity(given)
    except ValidationError:
        return None
    return number


def name_of(item: Any) -> str:
    """What a record is called in logs."""
    given = record_id(item)
    return "?" if given is None else str(given)[:40]


def _page_params(source: Source, skip: int, limit: int) -> Params:
    if not isinstance(source, KeyedSource):
        return {}
    return source.page_params(skip, limit, source.mapper(Noun.USER).select)
