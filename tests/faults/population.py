"""A source whose users come, change and go, and which can be in trouble."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from app.sample_provider import user as sample_user
from tests.fake_source import Answer, DummyJsonLike, Query

# Every so many users lack the record.
_WITHOUT_ADDRESS, _WITHOUT_CARD = 97, 89

# What is answered instead of the usual answer; None leaves that as it is.
Trouble = Callable[[str, Query, Answer], Answer | None]


@dataclass(frozen=True)
class Expected:
    """What must be mirrored of a user."""

    user: dict[str, Any]
    address: dict[str, Any] | None
    card: dict[str, Any] | None


class Population:
    """A responder that is answered as DummyJSON does, by ``answer_seconds`` later."""

    def __init__(self, count: int, random: Random, answer_seconds: float = 0.02) -> None:
        self._random = random
        self._answer_seconds = answer_seconds
        self._lock = threading.Lock()
        self._next = 1
        self._source = DummyJsonLike({})
        self.card_numbers: set[str] = set()
        self.trouble: Trouble | None = None
        with self._lock:
            self._add(count)

    def __call__(self, path: str, query: Query) -> Answer:
        answer = self.usual(path, query)
        trouble = self.trouble
        return (trouble and trouble(path, query, answer)) or answer

    def usual(self, path: str, query: Query) -> Answer:
        """What is answered while there is no trouble."""
        with self._lock:
            answer = self._source(path, query)
        answer.wait_seconds = self._answer_seconds
        return answer

    def change(self) -> None:
        """A few users come, a few get another name or phone, and one goes."""
        with self._lock:
            self._add(self._random.randint(2, 6))
            numbers = sorted(self._source.users)
            for number in self._random.sample(numbers, 5):
                self._source.users[number] = self._source.users[number] | {
                    "lastName": f"Changed{self._random.randrange(10**6)}",
                    "phone": f"+1 555-{self._random.randrange(10**6):06d}",
                }
            if self._random.random() < 0.5:
                del self._source.users[self._random.choice(numbers)]

    def expected(self) -> dict[int, Expected]:
        """What a mirror must hold, by external id."""
        with self._lock:
            return {number: _expected(user) for number, user in self._source.users.items()}

    def _add(self, count: int) -> None:
        for number in range(self._next, self._next + count):
            user = sample_user(number)
            self.card_numbers.add(user["bank"]["cardNumber"])
            if number % _WITHOUT_ADDRESS == 0:
                del user["address"]
            if number % _WITHOUT_CARD == 0:
                del user["bank"]
            self._source.users[number] = user
        self._next += count


def _expected(user: dict[str, Any]) -> Expected:
    address = card = None
    if given := user.get("address"):
        address = {
            "street": given["address"],
            "city": given["city"],
            "state": given["state"],
            "postal_code": given["postalCode"],
            "country": given["country"],
            **given["coordinates"],
        }
    if bank := user.get("bank"):
        month, _, year = bank["cardExpire"].partition("/")
        card = {
            "last4": bank["cardNumber"][-4:],
            "brand": bank["cardType"],
            "exp_month": int(month),
            "exp_year": 2000 + int(year),
        }
    mirrored = {
        "name": f"{user['firstName']} {user['lastName']}",
        "username": user["username"],
        "email": user["email"],
        "phone": user["phone"],
        "website": None,
        "company_name": user["company"]["name"],
    }
    return Expected(mirrored, address, card)
