"""The OpenAPI document against the service: whatever is sent, the answer is one that the document describes."""

from collections.abc import Callable

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema

from app.records import AddressRecord, CardRecord, UserRecord
from tests.conftest import LocalWorker, Mirror

TOKEN = "correct-horse-battery-staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
WITH_PARAMETERS = ["GET /users", "GET /users/{user_id}", "GET /runs", "POST /runs", "GET /runs/{run_id}"]
WITHOUT = ["GET /healthz", "GET /readyz"]
MODES = [
    *((operation, mode) for operation in WITH_PARAMETERS for mode in GenerationMode),
    *((operation, GenerationMode.POSITIVE) for operation in WITHOUT),
]


@pytest.fixture
def described(open_client: Callable[..., TestClient], worker: LocalWorker, mirror: Mirror) -> BaseSchema:
    """The service with some users and runs, and what it says of itself."""
    emily, olga = UserRecord(1, "Emily"), UserRecord(2, "Olga")
    mirror.add(emily, olga, address=AddressRecord(city="Lyon"), card=CardRecord("1234"))
    client = open_client(worker.context, API_TOKEN=TOKEN)
    for _ in range(2):
        client.post("/runs", json={"task": "sync_users"}, headers=BEARER)
    return schemathesis.openapi.from_asgi("/openapi.json", client.app)


def test_every_operation_is_held_to_the_document(described: BaseSchema) -> None:
    assert sorted(found.ok().label for found in described.get_all_operations()) == sorted(WITH_PARAMETERS + WITHOUT)


@pytest.mark.parametrize(("operation", "mode"), MODES)
def test_every_answer_is_one_that_the_document_describes(
    described: BaseSchema, mirror: Mirror, operation: str, mode: GenerationMode
) -> None:
    found = described.find_operation_by_label(operation)
    assert found is not None

    @settings(
        max_examples=25,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=found.as_strategy(generation_mode=mode))
    def hold(case: schemathesis.Case) -> None:
        query = case.query or {}
        # What no schema says: the two ways of paging exclude each other, and a blank filter is none.
        assume(not {"after", "offset"} <= query.keys() and "" not in query.values())
        # Nor that a key which was used for another body is refused.
        mirror.execute("UPDATE runs SET idempotency_key = NULL")
        case.call_and_validate(headers=BEARER)

    hold()
