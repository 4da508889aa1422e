"""Real PostgreSQL, RabbitMQ and Redis in containers, and the roles as real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from testcontainers.core.container import DockerContainer

from tests.conftest import migrate
from tests.deployment import (
    Deployment,
    PostgresDatabase,
    Server,
    connect,
    create_database,
    impatient,
    management,
    open_vhost,
    serve,
)
from tests.fake_source import FakeSource
from tests.otlp import Collector


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    container = DockerContainer("postgres:17").with_env("POSTGRES_PASSWORD", "postgres")
    # Nothing here has to survive the machine.
    container.with_command("postgres -c fsync=off -c synchronous_commit=off -c max_connections=200")

    def ready(server: Server) -> bool:
        with connect(server, "postgres"):
            return True

    with serve(container, 5432, ready=ready) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Server]:
    def ready(server: Server) -> bool:
        return bool(management(server, "GET", "overview"))

    with serve(DockerContainer("rabbitmq:4-management"), 5672, 15672, ready=ready) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    def ready(server: Server) -> bool:
        with Redis(server.host, server.ports[6379]) as client:
            return bool(client.ping())

    with serve(DockerContainer("redis:8"), 6379, ready=ready) as server:
        yield server


@pytest.fixture
def empty_database(postgresql: Server) -> PostgresDatabase:
    """A database without tables."""
    return create_database(postgresql)


@pytest.fixture(scope="session")
def migrated_template(postgresql: Server) -> str:
    template = create_database(postgresql)
    migrate(template.url)
    return template.name


@pytest.fixture
def pg(postgresql: Server, migrated_template: str) -> PostgresDatabase:
    """A database with all tables."""
    return create_database(postgresql, migrated_template)


@pytest.fixture
def database_url(pg: PostgresDatabase) -> str:
    """What the fixtures of all tests build on, here on PostgreSQL."""
    return pg.url


@pytest.fixture(params=["rabbitmq", "redis"])
def deployment(
    request: pytest.FixtureRequest, pg: PostgresDatabase, source: FakeSource, tmp_path: Path
) -> Iterator[Deployment]:
    """An empty service on each of the brokers, chosen by variables alone."""
    broker: str = request.param
    vhost = ""
    server: Server = request.getfixturevalue("rabbitmq" if broker == "rabbitmq" else "redis_server")
    if broker == "rabbitmq":
        vhost = open_vhost(server)
        urls = {
            "CELERY_BROKER_URL": f"amqp://guest:guest@{server.host}:{server.ports[5672]}/{vhost}",
            "CELERY_RESULT_BACKEND": "rpc://",
        }
    else:
        with Redis(server.host, server.ports[6379]) as client:
            client.flushall()
        url = f"redis://{server.host}:{server.ports[6379]}/0"
        urls = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
    environment = impatient(pg.url, source.url, urls)
    deployment = Deployment(pg, environment, tmp_path, broker, server, vhost)
    yield deployment
    deployment.close()
    if vhost:
        management(server, "DELETE", f"vhosts/{vhost}")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Where the test may tell roles to send their spans."""
    collector = Collector()
    yield collector
    collector.close()
