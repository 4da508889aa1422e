"""random-data-api: addresses (v1, v2), credit cards (v1, v2) and Stripe cards, invented anew at each call."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from app.errors import ProviderError
from app.providers.http import Params
from app.providers.source import Mapper, Noun, PoolSource
from app.providers.wire import CutCardNumber, Expiry, Latitude, Longitude, Month, Text, Wire, Year, joined
from app.records import AddressRecord, CardRecord

_ADDRESS_KEY = "street_address"
_CARD_KEYS = ("credit_card_number", "valid_card")


class WireAddress(Wire):
    street: Text = Field(alias=_ADDRESS_KEY)
    secondary: Text = Field(None, alias="secondary_address")
    city: Text = None
    state: Text = None
    postal_code: Text = Field(None, alias="zip_code")
    country: Text = None
    lat: Latitude | None = Field(None, alias="latitude")
    lng: Longitude | None = Field(None, alias="longitude")


def _month_and_year(expiry: object) -> object:
    """``2028-05-31`` is May 2028."""
    try:
        day = date.fromisoformat(str(expiry))
    except ValueError:
        raise ValueError("is not a date like 2031-01-31") from None
    return day.month, day.year


class WireCard(Wire):
    number: CutCardNumber = Field(validation_alias=AliasChoices(*_CARD_KEYS))
    brand: Text = Field(None, alias="credit_card_type")
    expiry: Annotated[Expiry, BeforeValidator(_month_and_year)] | None = Field(None, alias="credit_card_expiry_date")
    month: Month | None = None
    year: Year | None = None


def to_address(wire: WireAddress) -> AddressRecord | None:
    record = AddressRecord(
        street=joined(wire.street, wire.secondary),
        city=wire.city,
        state=wire.state,
        postal_code=wire.postal_code,
        country=wire.country,
        lat=wire.lat,
        lng=wire.lng,
    )
    return None if record == AddressRecord() else record


def to_card(wire: WireCard) -> CardRecord:
    month, year = wire.expiry or (wire.month, wire.year)
    return CardRecord(
        last4=wire.number.last4,
        brand=wire.brand or wire.number.brand,
        exp_month=month,
        exp_year=year,
    )


class RandomDataApi(PoolSource):
    name = "random_data_api"
    title = "random-data-api"
    mappers = {Noun.ADDRESS: Mapper(WireAddress, to_address), Noun.CARD: Mapper(WireCard, to_card)}
    most_at_once = 100

    def recognises(self, body: Any) -> bool:
        first = body[0] if isinstance(body, list) and body else body
        return isinstance(first, dict) and "uid" in first

    def draw_params(self, size: int) -> Params:
        return {"size": size}

    def unwrap(self, body: Any) -> Sequence[Any]:
        items = body if isinstance(body, list) else [body]
        if not all(isinstance(item, dict) for item in items):
            raise ProviderError("the answer is not a list of records, as random-data-api's is")
        return items


SOURCE = RandomDataApi()
