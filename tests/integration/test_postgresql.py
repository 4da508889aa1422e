"""What only the real database can show: statistics, plans, locks, concurrent migrations."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ClauseElement, Connection, Executable
from sqlalchemy.dialects import postgresql as dialect

from app.db import SILENCE_SECONDS, Database
from app.models import User
from app.queries import enrichment
from app.queries.upsert import upsert
from app.queries.users import UserFilter, list_users, upsert_users
from app.records import AddressRecord, Job, UserRecord
from tests.conftest import PROJECT, LocalWorker, migrate
from tests.deployment import PostgresDatabase, eventually
from tests.fake_source import DummyJsonLike, FakeSource
from tests.test_tasks import test_a_worker_that_comes_second_with_a_page_gives_way_without_a_failure  # noqa: F401

Sample = Callable[[int], DummyJsonLike]


def test_migrations_go_up_and_down_and_up_again(empty_database: PostgresDatabase) -> None:
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    migrate(empty_database.url)
    assert empty_database.value(tables) == 7
    migrate(empty_database.url, "base")
    assert empty_database.value(tables) == 1  # Alembic's own
    assert empty_database.value("SELECT count(*) FROM pg_proc WHERE proname LIKE 'users\\_%'") == 0
    migrate(empty_database.url)
    assert empty_database.value(tables) == 7


def test_five_processes_may_migrate_at_once(empty_database: PostgresDatabase) -> None:
    environment = os.environ | {"DATABASE_URL": empty_database.url}
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    processes = [
        subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(5)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 5, errors
    assert empty_database.value("SELECT count(*) FROM alembic_version") == 1


def test_the_migrations_make_what_the_models_say(pg: PostgresDatabase) -> None:
    environment = os.environ | {"DATABASE_URL": pg.url}
    checked = subprocess.run(
        [sys.executable, "-m", "alembic", "check"],
        cwd=PROJECT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_without_the_right_to_create_the_search_extension_all_else_is_migrated(
    empty_database: PostgresDatabase,
) -> None:
    role = f"role_{empty_database.name}"
    empty_database.rows("DROP EXTENSION IF EXISTS pg_trgm")
    empty_database.rows(f"CREATE ROLE {role} LOGIN PASSWORD 'weak'")
    empty_database.rows(f"GRANT USAGE, CREATE ON SCHEMA public TO {role}")
    url = empty_database.url.replace("postgres:postgres", f"{role}:weak")

    migrate(url)

    assert empty_database.value("SELECT count(*) FROM pg_indexes WHERE indexname = 'ix_users_search_text'") == 0
    assert empty_database.value("SELECT count(*) FROM alembic_version") == 1


def written(pg: PostgresDatabase) -> dict[str, tuple[int, int, int]]:
    """Rows inserted, updated and deleted so far, by table, as PostgreSQL itself has counted them."""
    rows = pg.rows(
        "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables "
        "WHERE relname IN ('users', 'addresses', 'credit_cards')"
    )
    return {row["relname"]: (row["n_tup_ins"], row["n_tup_upd"], row["n_tup_del"]) for row in rows}


def test_every_task_run_twice_leaves_the_same_rows_and_writes_nothing_the_second_time(
    worker: LocalWorker, pg: PostgresDatabase, source: FakeSource, sample: Sample
) -> None:
    source.respond = sample(300)
    worker.call(Job.SYNC_USERS)
    tables = ("users", "addresses", "credit_cards")
    rows = {table: pg.rows(f"SELECT * FROM {table} ORDER BY id") for table in tables}
    worker.context.database.dispose()  # ends the session, which then reports what it has counted
    eventually(lambda: written(pg)["credit_cards"][0] == 300)
    before = written(pg)

    for job in Job:
        worker.call(job)

    worker.context.database.dispose()
    eventually(lambda: pg.value("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'runs'") == 6)
    assert written(pg) == before
    assert {table: pg.rows(f"SELECT * FROM {table} ORDER BY id") for table in tables} == rows
    assert before["users"][1] == 600  # has_address and has_card, once each


@pytest.fixture
def many_users(pg: PostgresDatabase) -> PostgresDatabase:
    """40,000 users; one in a hundred lacks an address, all lack cards, one in a hundred was asked for in vain.

    Those who are removed stand before the others: the oldest leave first.
    """
    pg.rows("""
        INSERT INTO users (external_id, name, search_text, created_at, updated_at, card_checks, card_due_at, removed_at)
        SELECT n, 'User ' || n, 'user ' || n || chr(10) || md5(n::text), now(), now(),
            CASE WHEN n % 100 = 1 THEN 1 ELSE 0 END,
            CASE WHEN n % 100 = 1 THEN now() + interval '1 hour' ELSE '1970-01-01+00' END,
            CASE WHEN n <= 30000 THEN now() END
        FROM generate_series(1, 40000) AS n
        """)
    pg.rows(
        "INSERT INTO addresses (user_id, city, created_at, updated_at) "
        "SELECT id, 'Here', now(), now() FROM users WHERE external_id % 100 <> 0"
    )
    pg.rows("VACUUM ANALYZE users, addresses")
    return pg


def buffers_read(pg: PostgresDatabase, statement: Executable, parameters: dict[str, Any] | None = None) -> int:
    """How many pages PostgreSQL touches to answer: a cost that no other work on the machine changes."""
    assert isinstance(statement, ClauseElement)
    compiled = statement.params(parameters or {}).compile(
        dialect=dialect.dialect(), compile_kwargs={"literal_binds": True}
    )
    sql = str(compiled).replace("%%", "%")
    (row,) = pg.rows(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")
    plan = row["QUERY PLAN"][0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


@pytest.mark.parametrize(
    ("wanted", "after"),
    [
        (UserFilter(), 39_000),
        (UserFilter(has_address=False), 0),
        (UserFilter(has_address=True), 39_000),
        (UserFilter(has_card=False), 39_000),
        (UserFilter(has_card=True), 0),
        (UserFilter(has_address=False, has_card=False), 20_000),
        (UserFilter(has_address=False, has_card=True), 0),
        (UserFilter(q="user 39999"), 0),
        (UserFilter(removed=True), 0),
        (UserFilter(removed=False), 0),
        (UserFilter(removed=False), 39_000),
        (UserFilter(has_address=False, removed=False), 0),
        (UserFilter(has_address=False, removed=True), 0),
        (UserFilter(has_address=True, removed=True), 0),
        (UserFilter(has_card=False, removed=False), 0),
        (UserFilter(has_card=True, removed=True), 0),
        (UserFilter(has_address=False, has_card=False, removed=False), 0),
        (UserFilter(has_address=False, has_card=True, removed=True), 0),
    ],
    ids=str,
)
def test_pages_and_filters_touch_few_pages_of_a_large_table(
    many_users: PostgresDatabase, wanted: UserFilter, after: int
) -> None:
    # 20 users with an address and a card each, by their indexes, are some 200 pages; all users are 900.
    assert buffers_read(many_users, *list_users(wanted, limit=20, after=after)) < 300


def test_picking_users_touches_few_pages_of_a_large_table(many_users: PostgresDatabase) -> None:
    due = enrichment.due(enrichment.CARDS, 20)
    assert buffers_read(many_users, due) < 100
    assert buffers_read(many_users, enrichment.due(enrichment.ADDRESSES, 20)) < 100


def test_a_sync_and_an_enrichment_of_the_same_users_do_not_deadlock(pg: PostgresDatabase) -> None:
    database = Database(pg.url, pool_size=4)
    users = [UserRecord(number, f"User {number}") for number in range(1, 401)]
    with database.transaction() as connection:
        # In the reverse order of their external ids, so that the order of ids and that of the source differ.
        for user in reversed(users):
            upsert_users(connection, [user])
    errors: list[Exception] = []

    def attempt(work: Callable[[int], None]) -> None:
        try:
            for number in range(15):
                work(number)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is shown
            errors.append(error)

    def rename(number: int) -> None:
        with database.transaction() as connection:
            upsert_users(connection, [UserRecord(user.external_id, f"{user.name} {number}") for user in users])

    def enrich(number: int) -> None:
        with database.transaction() as connection:
            records = {user_id: AddressRecord(city=f"City {number}") for user_id in range(400, 0, -1)}
            enrichment.write(connection, enrichment.ADDRESSES, records)
        pg.rows("DELETE FROM addresses")

    threads = [threading.Thread(target=attempt, args=(work,)) for work in (rename, rename, enrich)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    database.dispose()
    assert errors == []


def test_a_value_that_is_too_long_is_refused_and_not_cut_off(pg: PostgresDatabase) -> None:
    database = Database(pg.url)
    with database.transaction() as connection, pytest.raises(Exception, match="too long"):
        upsert(connection, User.__table__, {"external_id": [1], "name": ["x" * 256], "search_text": ["x"]})
    database.dispose()


def test_a_server_that_is_gone_without_a_word_is_given_up(pg: PostgresDatabase) -> None:
    database = Database(pg.url)

    with database.transaction() as connection, socket.socket(fileno=os.dup(_socket_of(connection))) as wire:
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        asked = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]
        idle, interval, count = (wire.getsockopt(socket.IPPROTO_TCP, option) for option in asked)
        assert idle + interval * count <= SILENCE_SECONDS
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == SILENCE_SECONDS * 1_000
    database.dispose()


def _socket_of(connection: Connection) -> int:
    return int(connection.connection.dbapi_connection.fileno())
