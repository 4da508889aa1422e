"""From the source to the page on real parts, and nowhere a card number."""

import json
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.sample_provider import user as sample_user
from app.settings import Settings
from tests.deployment import Deployment, eventually
from tests.fake_source import Answer, DummyJsonLike, FakeSource, Query

USERS = 40


def forms_of(number: str) -> list[str]:
    """A card number as it might be written."""
    groups = [number[start : start + 4] for start in range(0, len(number), 4)]
    return [number, "-".join(groups), " ".join(groups)]


def secrets() -> list[str]:
    users = [sample_user(number) for number in range(1, USERS + 1)]
    numbers = [form for user in users for form in forms_of(user["bank"]["cardNumber"])]
    return [*numbers, *(user["password"] for user in users), *(user["ssn"] for user in users)]


class Spoiler:
    """Answers badly in every way that might make an error quote the answer."""

    def __init__(self, users: DummyJsonLike) -> None:
        self.users = users
        for number in range(1, 6):
            self.users.users[number]["bank"]["cardExpire"] = "13/99"
        self.users.users[6]["bank"]["cardNumber"] += "x"
        self.asked = 0

    def __call__(self, path: str, query: Query) -> Answer:
        answer = self.users(path, query)
        self.asked += 1
        if "bank" in query.get("select", "") and self.asked % 3 == 0:
            body = answer.content()
            return Answer(body[: len(body) - 20])
        return answer


@pytest.mark.parametrize("deployment", ["rabbitmq"], indirect=True)
def test_no_card_number_leaves_the_mapper(
    deployment: Deployment, source: FakeSource, make_settings: Callable[..., Settings]
) -> None:
    users = DummyJsonLike({number: sample_user(number) for number in range(1, USERS + 1)})
    source.respond = Spoiler(users)
    worker = deployment.worker(LOG_LEVEL="DEBUG", USERS_PAGE_SIZE="10")
    deployment.call("app.tasks.users.sync_users")
    cards = "SELECT count(*) FROM users WHERE has_card OR card_checks > 0"
    eventually(lambda: deployment.pg.value(cards) == USERS, 90)
    eventually(lambda: deployment.run_ended("enrich_missing_cards"))
    source.respond = lambda path, query: Answer(users(path, query).content()[:-30])
    deployment.call("app.tasks.users.sync_users")
    eventually(lambda: deployment.pg.value("SELECT count(*) FROM runs WHERE task = 'sync_users'") == 2)
    eventually(lambda: deployment.run_ended("sync_users"), 60)
    worker.stop()

    seen: dict[str, str] = {"log": worker.log()}
    for table in ("users", "addresses", "credit_cards", "runs", "run_chunks"):
        seen[table] = json.dumps(deployment.pg.rows(f"SELECT * FROM {table}"), default=str)
    with TestClient(create_app(make_settings())) as client:
        for path in ("/users?limit=100", "/users/1", "/users/ui?limit=100", "/openapi.json"):
            seen[path] = client.get(path).text
    last4 = sample_user(7)["bank"]["cardNumber"][-4:]
    # What may be seen is seen, so that looking in vain below means something.
    assert last4 in seen["credit_cards"]
    assert last4 in seen["/users?limit=100"]
    assert "ProviderError" in seen["runs"]
    assert '"number":' in seen["/users?limit=100"].replace(" ", "")
    assert "**** **** **** " in seen["/users/ui?limit=100"]
    leaks = [(place, secret) for place, text in seen.items() for secret in secrets() if secret in text]
    assert leaks == []
    assert deployment.pg.value("SELECT count(*) FROM credit_cards WHERE last4 !~ '^[0-9]{4}$'") == 0
