"""A small DummyJSON-shaped server with generated users, for demos, tests and clusters without internet.

``uvicorn app.sample_provider:app``. SAMPLE_USERS is how many users it has (default 208). A user is computed from
their id, so any number of them takes no memory and looks the same at every start. The card numbers are invented,
start with a test prefix and pass the Luhn check.
"""

import asyncio
import os
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_FIRST = "Ada Bela Chen Dalia Emeka Freya Goran Hana Ingrid Jamal Keiko Lars Mei Noor Olga Pavel Quinn Rosa Sven Tove"
_LAST = "Abe Berg Costa Diaz Eriksen Fischer García Haddad Ivanova Jensen Kim Larsen Müller Novák O'Neil Petrov Quist"
_STREETS = "Main Street,Oak Avenue,Harbour Road,Mill Lane,Station Road,Church Street,High Street,Park Row,Bridge Street"
_CITIES = (
    ("Phoenix", "Arizona", "United States", 33.45, -112.07),
    ("Lyon", "Auvergne-Rhône-Alpes", "France", 45.76, 4.84),
    ("Kraków", "Lesser Poland", "Poland", 50.06, 19.94),
    ("Osaka", "Osaka", "Japan", 34.69, 135.5),
    ("Recife", "Pernambuco", "Brazil", -8.05, -34.88),
    ("Perth", "Western Australia", "Australia", -31.95, 115.86),
    ("Nairobi", "Nairobi", "Kenya", -1.29, 36.82),
)
_BRANDS = (("Visa", "400000"), ("Mastercard", "510000"), ("Discover", "601100"), ("Maestro", "500000"))
_COMPANIES = "Northwind Looms,Blue Kettle,Harbour & Sons,Quiet Robotics,Paper Lantern,Green Anvil,Seventh Ferry"
_DEFAULT_LIMIT = 30
_LONGEST_DELAY_MILLISECONDS = 5_000

_first, _last = _FIRST.split(), _LAST.split()
_streets, _companies = _STREETS.split(","), _COMPANIES.split(",")


def user(number: int) -> dict[str, Any]:
    """The user with this id, in DummyJSON's shape, secrets that nobody should keep included."""
    first, last = _first[number % len(_first)], _last[number // len(_first) % len(_last)]
    username = f"{first}{last}{number}".lower().replace("'", "")
    city, state, country, lat, lng = _CITIES[number % len(_CITIES)]
    brand, prefix = _BRANDS[number % len(_BRANDS)]
    return {
        "id": number,
        "firstName": first,
        "lastName": last,
        "username": username,
        "email": f"{username}@example.com",
        "phone": f"+1 555-{number % 900 + 100:03d}-{number % 9_000 + 1_000:04d}",
        "password": f"{first.lower()}-secret-{number}",
        "ssn": f"900-{number % 900 + 100:03d}-{number % 900 + 100:03d}",
        "address": {
            "address": f"{number % 900 + 1} {_streets[number % len(_streets)]}",
            "city": city,
            "state": state,
            "postalCode": f"{10_000 + number * 7 % 90_000}",
            "country": country,
            "coordinates": {"lat": lat, "lng": lng},
        },
        "bank": {
            "cardNumber": _with_check_digit(f"{prefix}{number % 10**9:09d}"),
            "cardType": brand,
            "cardExpire": f"{number % 12 + 1:02d}/{28 + number % 5}",
            "currency": "EUR",
        },
        "company": {"name": _companies[number % len(_companies)], "department": "Engineering"},
    }


def _with_check_digit(digits: str) -> str:
    doubled = (int(digit) * (2 - index % 2) for index, digit in enumerate(reversed(digits)))
    return digits + str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def _selected(record: dict[str, Any], select: str | None) -> dict[str, Any]:
    if not select:
        return record
    wanted = {"id", *select.split(",")}
    return {name: value for name, value in record.items() if name in wanted}


def _total() -> int:
    return int(os.environ.get("SAMPLE_USERS", "208"))


async def _wait(request: Request) -> None:
    delay = request.query_params.get("delay", "0")
    if delay.isdigit():
        await asyncio.sleep(min(int(delay), _LONGEST_DELAY_MILLISECONDS) / 1_000)


async def list_users(request: Request) -> Response:
    """``limit`` (0: all) users from ``skip`` on; the answer's limit is how many there are in it, as DummyJSON's is."""
    await _wait(request)
    query = request.query_params
    try:
        limit, skip = int(query.get("limit", _DEFAULT_LIMIT)), int(query.get("skip", 0))
    except ValueError:
        return JSONResponse({"message": "limit and skip must be numbers"}, status_code=400)
    total = _total()
    numbers = range(total)[max(skip, 0) :][: limit if limit > 0 else total]
    users = [_selected(user(number + 1), query.get("select")) for number in numbers]
    return JSONResponse({"users": users, "total": total, "skip": skip, "limit": len(users)})


async def get_user(request: Request) -> Response:
    """One user."""
    await _wait(request)
    number = request.path_params["number"]
    if not 1 <= number <= _total():
        return JSONResponse({"message": f"User with id '{number}' not found"}, status_code=404)
    return JSONResponse(_selected(user(number), request.query_params.get("select")))


async def healthz(_: Request) -> Response:
    """For probes."""
    return JSONResponse({"status": "ok"})


app = Starlette(
    routes=[Route("/users", list_users), Route("/users/{number:int}", get_user), Route("/healthz", healthz)]
)
