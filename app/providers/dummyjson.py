"""DummyJSON: users with their addresses and cards, in pages of ``limit`` from ``skip`` on."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Required

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from typing_extensions import TypedDict

from app.errors import ProviderError
from app.providers.http import Params
from app.providers.source import KeyedSource, Mapper, Noun, WirePage
from app.providers.wire import WIRE, CutCardNumber, Expiry, Identity, Latitude, Longitude, Text, joined
from app.records import AddressRecord, CardRecord, UserRecord

_EXPIRY = re.compile(r"(\d{1,2})/(\d{2}|\d{4})", re.ASCII)


class WireCompany(TypedDict, total=False):
    name: Text


class WireUser(TypedDict, total=False):
    id: Required[Identity]
    firstName: Text
    lastName: Text
    username: Text
    email: Text
    phone: Text
    company: WireCompany | None


class WireCoordinates(TypedDict, total=False):
    lat: Latitude | None
    lng: Longitude | None


class WireAddress(TypedDict, total=False):
    address: Text
    city: Text
    state: Text
    postalCode: Text
    country: Text
    coordinates: WireCoordinates | None


class WireAddressOwner(TypedDict, total=False):
    address: WireAddress | None


def _month_and_year(expiry: object) -> object:
    """``05/28`` is May 2028."""
    match = _EXPIRY.fullmatch(str(expiry).strip())
    if match is None:
        raise ValueError("is not an expiry like 05/28")
    return int(match[1]), int(match[2] if len(match[2]) == 4 else f"20{match[2]}")


class WireBank(TypedDict, total=False):
    cardNumber: CutCardNumber | None
    cardType: Text
    cardExpire: Annotated[Expiry, BeforeValidator(_month_and_year)] | None


class WireCardOwner(TypedDict, total=False):
    bank: WireBank | None


class WireEnvelope(BaseModel):
    model_config = WIRE

    users: list[Any]
    total: int | None = Field(None, ge=0, lt=2**63)


def to_user(wire: WireUser) -> UserRecord | None:
    name = joined(wire.get("firstName"), wire.get("lastName"))
    if name is None:
        return None
    company = wire.get("company")
    return UserRecord(
        external_id=wire["id"],
        name=name,
        username=wire.get("username"),
        email=wire.get("email"),
        phone=wire.get("phone"),
        company_name=company.get("name") if company else None,
    )


def to_address(wire: WireAddressOwner) -> AddressRecord | None:
    address = wire.get("address")
    if address is None:
        return None
    coordinates = address.get("coordinates") or {}
    record = AddressRecord(
        street=address.get("address"),
        city=address.get("city"),
        state=address.get("state"),
        postal_code=address.get("postalCode"),
        country=address.get("country"),
        lat=coordinates.get("lat"),
        lng=coordinates.get("lng"),
    )
    return None if record == AddressRecord() else record


def to_card(wire: WireCardOwner) -> CardRecord | None:
    bank = wire.get("bank") or {}
    number = bank.get("cardNumber")
    if number is None:
        return None
    month, year = bank.get("cardExpire") or (None, None)
    return CardRecord(last4=number.last4, brand=bank.get("cardType") or number.brand, exp_month=month, exp_year=year)


class DummyJson(KeyedSource):
    name = "dummyjson"
    title = "DummyJSON"
    mappers = {
        Noun.USER: Mapper(WireUser, to_user, ("firstName", "lastName", "username", "email", "phone", "company")),
        Noun.ADDRESS: Mapper(WireAddressOwner, to_address, ("address",)),
        Noun.CARD: Mapper(WireCardOwner, to_card, ("bank",)),
    }

    def recognises(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("users"), list)

    def page_params(self, skip: int, limit: int, select: Sequence[str]) -> Params:
        return {"limit": limit, "skip": skip, "select": ",".join(select)}

    def item_params(self, select: Sequence[str]) -> Params:
        return {"select": ",".join(select)}

    def unwrap(self, body: Any) -> WirePage:
        try:
            envelope = WireEnvelope.model_validate(body)
        except ValidationError:
            raise ProviderError("the answer has no list of users with a total, as DummyJSON's has") from None
        return WirePage(envelope.users, envelope.total, complete=False)


SOURCE = DummyJson()
