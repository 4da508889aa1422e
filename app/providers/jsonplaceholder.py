"""JSONPlaceholder: a plain list of users with their addresses, whole whatever page is asked for; no cards."""

from collections.abc import Sequence
from typing import Any, Required

from typing_extensions import TypedDict

from app.errors import ProviderError
from app.providers.http import Params
from app.providers.source import KeyedSource, Mapper, Noun, WirePage
from app.providers.wire import Identity, Latitude, Longitude, Text, joined
from app.records import AddressRecord, UserRecord


class WireCompany(TypedDict, total=False):
    name: Text


class WireUser(TypedDict, total=False):
    id: Required[Identity]
    name: Text
    username: Text
    email: Text
    phone: Text
    website: Text
    company: WireCompany | None


class WireGeo(TypedDict, total=False):
    lat: Latitude | None
    lng: Longitude | None


class WireAddress(TypedDict, total=False):
    street: Text
    suite: Text
    city: Text
    zipcode: Text
    geo: WireGeo | None


class WireAddressOwner(TypedDict, total=False):
    address: WireAddress | None


def to_user(wire: WireUser) -> UserRecord | None:
    name = wire.get("name")
    if name is None:
        return None
    company = wire.get("company")
    return UserRecord(
        external_id=wire["id"],
        name=name,
        username=wire.get("username"),
        email=wire.get("email"),
        phone=wire.get("phone"),
        website=wire.get("website"),
        company_name=company.get("name") if company else None,
    )


def to_address(wire: WireAddressOwner) -> AddressRecord | None:
    address = wire.get("address")
    if address is None:
        return None
    geo = address.get("geo") or {}
    record = AddressRecord(
        street=joined(address.get("street"), address.get("suite")),
        city=address.get("city"),
        postal_code=address.get("zipcode"),
        lat=geo.get("lat"),
        lng=geo.get("lng"),
    )
    return None if record == AddressRecord() else record


class JsonPlaceholder(KeyedSource):
    name = "jsonplaceholder"
    title = "JSONPlaceholder"
    mappers = {Noun.USER: Mapper(WireUser, to_user), Noun.ADDRESS: Mapper(WireAddressOwner, to_address)}

    def recognises(self, body: Any) -> bool:
        first = body[0] if isinstance(body, list) and body else None
        return isinstance(first, dict) and "id" in first and "uid" not in first

    def page_params(self, skip: int, limit: int, select: Sequence[str]) -> Params:
        return {}

    def item_params(self, select: Sequence[str]) -> Params:
        return {}

    def unwrap(self, body: Any) -> WirePage:
        if not isinstance(body, list):
            raise ProviderError("the answer is not a plain list of users, as JSONPlaceholder's is")
        return WirePage(body, len(body), complete=True)


SOURCE = JsonPlaceholder()
