"""The tests of the API once more, on the database that it is deployed with, and what only that one can show."""

import pytest
from fastapi.testclient import TestClient

from app.records import UserRecord
from tests.conftest import Mirror
from tests.deployment import PostgresDatabase
from tests.test_api import *  # noqa: F403  # the tests and their fixtures; the database is this folder's

OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.mark.parametrize("url", ["/users", "/users/1", "/readyz"])
def test_connections_that_died_are_replaced_within_the_request(
    client: TestClient, mirror: Mirror, pg: PostgresDatabase, url: str
) -> None:
    mirror.add(UserRecord(1, "Ada"))
    assert client.get(url).status_code == 200

    pg.rows(OTHERS)

    assert client.get(url).status_code == 200


def test_a_database_that_comes_back_is_found_again(client: TestClient, mirror: Mirror, pg: PostgresDatabase) -> None:
    mirror.add(UserRecord(1, "Ada"))
    mirror.database.dispose()
    assert client.get("/users").status_code == 200
    maintenance = PostgresDatabase(pg.server, "postgres")
    maintenance.rows(f"ALTER DATABASE {pg.name} ALLOW_CONNECTIONS false")
    maintenance.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{pg.name}'")

    assert client.get("/users").status_code == 503
    assert client.get("/readyz").status_code == 503

    maintenance.rows(f"ALTER DATABASE {pg.name} ALLOW_CONNECTIONS true")
    assert client.get("/users").json()[0]["name"] == "Ada"
