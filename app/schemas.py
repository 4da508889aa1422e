"""What the API answers with, as its documentation shows it. The database renders the same shapes."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from app.records import Job, Status, Trigger

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
_RUN: dict[str, Any] = {
    "id": 12,
    "task": "sync_users",
    "trigger": "api",
    "status": "running",
    "stale": False,
    "scheduled_for": None,
    "batch_size": None,
    "blocked_by": None,
    "trace_id": None,
    "created_at": "2026-11-23T10:00:00.123456+00:00",
    "started_at": "2026-11-23T10:00:00.234567+00:00",
    "finished_at": None,
    "inserted": 3,
    "updated": 1,
    "unchanged": 96,
    "rejected": 0,
    "missing": 0,
    "removed": 0,
    "chunks": 1,
    "chunks_done": 0,
    "rows_done": 100,
    "rows_total": 208,
    "error_class": None,
    "error_message": None,
    "note": None,
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


class RunIn(BaseModel):
    """What is to be run."""

    model_config = ConfigDict(
        title="RunRequest",
        extra="forbid",
        json_schema_extra={
            "examples": [{"task": "sync_users"}, {"task": "enrich_missing_cards", "batch_size": 100}],
            "if": {"properties": {"task": {"const": "sync_users"}}},
            "then": {"properties": {"batch_size": {"type": "null"}}},
        },
    )

    task: Job = Field(description="The job.")
    batch_size: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="How many users an enrichment looks up at the most; null for ENRICH_BATCH_SIZE. Not for a sync.",
    )

    @field_validator("batch_size", mode="before")
    @classmethod
    def _is_a_number(cls, batch_size: object) -> object:
        if isinstance(batch_size, (bool, str)):
            raise ValueError("is not a number")  # noqa: TRY004  # pydantic wants a ValueError
        return batch_size

    @field_validator("batch_size")
    @classmethod
    def _goes_with_the_task(cls, batch_size: int | None, info: ValidationInfo) -> int | None:
        if batch_size is not None and info.data.get("task") == Job.SYNC_USERS:
            raise ValueError("sync_users reads all users and takes no batch_size")
        return batch_size


class RunOut(BaseModel):
    """One execution of a job, made of chunks that workers do one by one."""

    model_config = ConfigDict(title="Run", json_schema_extra={"examples": [_RUN]})

    id: int = Field(description="The run's id.")
    task: Job = Field(description="The job.")
    trigger: Trigger = Field(description="What asked for it: a tick of beat, this API, a shell, or another run.")
    status: Status = Field(description="`skipped`: another run of the job was open, see `blocked_by`.")
    stale: bool = Field(
        description="Whether the run is open and waits for a worker: its own died, or none has received it in time."
    )
    scheduled_for: datetime | None = Field(description="The tick that it is for, in UTC.")
    batch_size: int | None = Field(description="How many users an enrichment looks up at the most.")
    blocked_by: int | None = Field(description="The run because of which this one was skipped.")
    trace_id: str | None = Field(description="The trace that the run belongs to, when tracing is on.")
    created_at: datetime = Field(description="When it was asked for, in UTC.")
    started_at: datetime | None = Field(description="When a worker began with it, in UTC.")
    finished_at: datetime | None = Field(description="When it was over, in UTC.")
    inserted: int = Field(description="Rows written that were not there before. So far, while the run is open.")
    updated: int = Field(description="Rows written that had changed.")
    unchanged: int = Field(description="Rows left alone.")
    rejected: int = Field(description="Records of the source that were of no use.")
    missing: int = Field(description="Users that the source did not have.")
    removed: int = Field(description="Users that a sync marked as removed.")
    chunks: int = Field(description="The parts of the run.")
    chunks_done: int = Field(description="How many of them are over.")
    rows_done: int = Field(description="The sum of inserted, updated, unchanged, rejected and missing so far.")
    rows_total: int | None = Field(description="How many rows there are to do, as far as the source has told.")
    error_class: str | None = Field(description="The kind of error that failed the run, or that it waits to pass.")
    error_message: str | None = Field(description="The same as a sentence.")
    note: str | None = Field(description="A sentence about a run that succeeded, such as why it removed nobody.")


class ProblemOut(BaseModel):
    """What is wrong with one parameter."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="The kind of problem.")
    loc: list[str | int] = Field(description="Where it is: `query`, `path`, `header` or `body`, and the name.")
    msg: str = Field(description="A sentence for a person.")


class InvalidOut(BaseModel):
    """What is wrong with a request."""

    model_config = ConfigDict(
        title="Invalid",
        json_schema_extra={
            "examples": [
                {
                    "detail": [
                        {
                            "type": "greater_than_equal",
                            "loc": ["query", "limit"],
                            "msg": "Input should be greater than or equal to 1",
                        }
                    ]
                }
            ]
        },
    )

    detail: list[ProblemOut] = Field(description="A problem for each parameter that is wrong.")


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
