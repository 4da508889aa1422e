"""random-data-api: addresses (v1, v2), credit cards (v1, v2) and Stripe cards, invented anew at each call."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Required

from pydantic import AliasChoices, BeforeValidator, Field
from typing_extensions import TypedDict

from app.errors import ProviderError
from app.providers.http import Params
from app.providers.source import Mapper, Noun, PoolSource
from app.providers.wire import CutCardNumber, Expiry, Latitude, Longitude, Month, Text, Year, joined
from app.records import AddressRecord, CardRecord


class WireAddress(TypedDict, total=False):
    street_address: Required[Text]
    secondary_address: Text
    city: Text
    state: Text
    zip_code: Text
    country: Text
    latitude: Latitude | None
    longitude: Longitude | None


def _month_and_year(expiry: object) -> object:
    """``2028-05-31`` is May 2028."""
    try:
        day = date.fromisoformat(str(expiry))
    except ValueError:
        raise ValueError("is not a date like 2031-01-31") from None
    return day.month, day.year


class WireCard(TypedDict, total=False):
    number: Required[Annotated[CutCardNumber, Field(validation_alias=AliasChoices("credit_card_number", "valid_card"))]]
    credit_card_type: Text
    credit_card_expiry_date: Annotated[Expiry, BeforeValidator(_month_and_year)] | None
    month: Month | None
    year: Year | None


def to_address(wire: WireAddress) -> AddressRecord | None:
    record = AddressRecord(
        street=joined(wire["street_address"], wire.get("secondary_address")),
        city=wire.get("city"),
        state=wire.get("state"),
        postal_code=wire.get("zip_code"),
        country=wire.get("country"),
        lat=wire.get("latitude"),
        lng=wire.get("longitude"),
    )
    return None if record == AddressRecord() else record


def to_card(wire: WireCard) -> CardRecord:
    number = wire["number"]
    month, year = wire.get("credit_card_expiry_date") or (wire.get("month"), wire.get("year"))
    return CardRecord(
        last4=number.last4, brand=wire.get("credit_card_type") or number.brand, exp_month=month, exp_year=year
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
