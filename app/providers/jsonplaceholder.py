"""JSONPlaceholder: a plain list of users with their addresses, whole whatever page is asked for; no cards."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from app.errors import ProviderError
from app.providers.http import Params
from app.providers.source import KeyedSource, Mapper, Noun, WirePage
from app.providers.wire import Identity, Latitude, Longitude, Text, Wire, joined
from app.records import AddressRecord, UserRecord


class WireCompany(Wire):
    name: Text = None


class WireUser(Wire):
    id: Identity
    name: Text = None
    username: Text = None
    email: Text = None
    phone: Text = None
    website: Text = None
    company: WireCompany | None = None


class WireGeo(Wire):
    lat: Latitude | None = None
    lng: Longitude | None = None


class WireAddress(Wire):
    street: Text = None
    suite: Text = None
    city: Text = None
    postal_code: Text = Field(None, alias="zipcode")
    geo: WireGeo | None = None


class WireAddressOwner(Wire):
    address: WireAddress | None = None


def to_user(wire: WireUser) -> UserRecord | None:
    if wire.name is None:
        return None
    return UserRecord(
        external_id=wire.id,
        name=wire.name,
        username=wire.username,
        email=wire.email,
        phone=wire.phone,
        website=wire.website,
        company_name=wire.company.name if wire.company else None,
    )


def to_address(wire: WireAddressOwner) -> AddressRecord | None:
    address = wire.address
    if address is None:
        return None
    geo = address.geo or WireGeo()
    record = AddressRecord(
        street=joined(address.street, address.suite),
        city=address.city,
        postal_code=address.postal_code,
        lat=geo.lat,
        lng=geo.lng,
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
