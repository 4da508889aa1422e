"""DummyJSON: users with their addresses and cards, in pages of ``limit`` from ``skip`` on."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from app.errors import ProviderError
from app.providers.http import Params
from app.providers.source import KeyedSource, Mapper, Noun, WirePage
from app.providers.wire import CutCardNumber, Expiry, Identity, Latitude, Longitude, Text, Wire, joined
from app.records import AddressRecord, CardRecord, UserRecord

_EXPIRY = re.compile(r"(\d{1,2})/(\d{2}|\d{4})", re.ASCII)


class WireCompany(Wire):
    name: Text = None


class WireUser(Wire):
    id: Identity
    first_name: Text = Field(None, alias="firstName")
    last_name: Text = Field(None, alias="lastName")
    username: Text = None
    email: Text = None
    phone: Text = None
    company: WireCompany | None = None


class WireCoordinates(Wire):
    lat: Latitude | None = None
    lng: Longitude | None = None


class WireAddress(Wire):
    address: Text = None
    city: Text = None
    state: Text = None
    postal_code: Text = Field(None, alias="postalCode")
    country: Text = None
    coordinates: WireCoordinates | None = None


class WireAddressOwner(Wire):
    address: WireAddress | None = None


def _month_and_year(expiry: object) -> object:
    """``05/28`` is May 2028."""
    match = _EXPIRY.fullmatch(str(expiry).strip())
    if match is None:
        raise ValueError("is not an expiry like 05/28")
    return int(match[1]), int(match[2] if len(match[2]) == 4 else f"20{match[2]}")


class WireBank(Wire):
    card_number: CutCardNumber | None = Field(None, alias="cardNumber")
    card_type: Text = Field(None, alias="cardType")
    card_expire: Annotated[Expiry, BeforeValidator(_month_and_year)] | None = Field(None, alias="cardExpire")


class WireCardOwner(Wire):
    bank: WireBank | None = None


class WireEnvelope(Wire):
    users: list[Any]
    total: int | None = Field(None, ge=0, lt=2**63)


def to_user(wire: WireUser) -> UserRecord | None:
    name = joined(wire.first_name, wire.last_name)
    if name is None:
        return None
    return UserRecord(
        external_id=wire.id,
        name=name,
        username=wire.username,
        email=wire.email,
        phone=wire.phone,
        company_name=wire.company.name if wire.company else None,
    )


def to_address(wire: WireAddressOwner) -> AddressRecord | None:
    address = wire.address
    if address is None:
        return None
    coordinates = address.coordinates or WireCoordinates()
    record = AddressRecord(
        street=address.address,
        city=address.city,
        state=address.state,
        postal_code=address.postal_code,
        country=address.country,
        lat=coordinates.lat,
        lng=coordinates.lng,
    )
    return None if record == AddressRecord() else record


def to_card(wire: WireCardOwner) -> CardRecord | None:
    bank = wire.bank
    if bank is None or bank.card_number is None:
        return None
    month, year = bank.card_expire or (None, None)
    return CardRecord(
        last4=bank.card_number.last4, brand=bank.card_type or bank.card_number.brand, exp_month=month, exp_year=year
    )


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
