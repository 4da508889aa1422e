"""What the API answers with, as its documentation shows it. The database renders the same shapes."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_ADDRESS: dict[str, Any] = {
    "street": "626 Main Street",
    "city": "Phoenix",
    "state": "Mississippi",
    "postal_code": "29112",
    "country": "United States",
    "lat": -77.16213,
    "lng": -92.084824,
}
_CARD: dict[str, Any] = {
    "number": "**** **** **** 5044",
    "last4": "5044",
    "brand": "Visa",
    "exp_month": 5,
    "exp_year": 2028,
}


class AddressOut(BaseModel):
    """The one address of a user."""

    model_config = ConfigDict(title="Address", json_schema_extra={"examples": [_ADDRESS]})

    street: str | None = Field(description="Street with house number.")
    city: str | None = Field(description="City.")
    state: str | None = Field(description="State or region.")
    postal_code: str | None = Field(description="Postal code.")
    country: str | None = Field(description="Country.")
    lat: float | None = Field(description="Latitude in degrees, -90 to 90.")
    lng: float | None = Field(description="Longitude in degrees, -180 to 180.")


class CreditCardOut(BaseModel):
    """The one credit card of a user. The full number is nowhere in this service."""

    model_config = ConfigDict(title="CreditCard", json_schema_extra={"examples": [_CARD]})

    number: str = Field(description="The masked number.", pattern=r"^\*{4} \*{4} \*{4} \d{4}$")
    last4: str = Field(description="The last four digits of the number.", pattern=r"^\d{4}$")
    brand: str | None = Field(description="The card's brand, as the source calls it.")
    exp_month: int | None = Field(description="The month in which the card expires, 1 to 12.")
    exp_year: int | None = Field(description="The year in which the card expires.")


class UserOut(BaseModel):
    """A user of the source."""

    model_config = ConfigDict(
        title="User",
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "external_id": 1,
                    "name": "Emily Johnson",
                    "username": "emilys",
                    "email": "emily.johnson@x.dummyjson.com",
                    "phone": "+81 965-431-3024",
                    "website": "emily.example",
                    "company_name": "Dooley, Kozey and Cronin",
                    "created_at": "2026-11-23T10:00:00.123456+00:00",
                    "updated_at": "2026-11-23T10:00:00.123456+00:00",
                    "removed_at": None,
                    "address": _ADDRESS,
                    "credit_card": _CARD,
                }
            ]
        },
    )

    id: int = Field(description="Our own id.")
    external_id: int = Field(description="The id that the source knows the user by.")
    name: str = Field(description="Full name.")
    username: str | None = Field(description="User name.")
    email: str | None = Field(description="Email address, as the source gives it.")
    phone: str | None = Field(description="Phone number, as the source gives it.")
    website: str | None = Field(description="Website, as the source gives it.")
    company_name: str | None = Field(description="The company that the user works for.")
    created_at: datetime = Field(description="When the user was first seen, in UTC.")
    updated_at: datetime = Field(description="When one of the values above, or the next one, last changed, in UTC.")
    removed_at: datetime | None = Field(
        description="When a complete sync first missed the user, in UTC; null while the source has them."
    )
    address: AddressOut | None = Field(description="The address; null while none is known.")
    credit_card: CreditCardOut | None = Field(description="The credit card; null while none is known.")


class ErrorOut(BaseModel):
    """Why a request could not be answered."""

    model_config = ConfigDict(title="Error", json_schema_extra={"examples": [{"detail": "There is no user 999."}]})

    detail: str = Field(description="A sentence for a person.")


class HealthOut(BaseModel):
    """The process answers."""

    model_config = ConfigDict(title="Health")

    status: Literal["ok"] = "ok"


class UnreadyOut(BaseModel):
    """The process cannot do its work now."""

    model_config = ConfigDict(title="Unready")

    status: Literal["unavailable"] = "unavailable"
    failing: list[str] = Field(description="The parts that are out of reach.", examples=[["database"]])
