"""What the benchmarks compare does the same, and what they empty is theirs."""

import json
import urllib.request
from collections.abc import Callable

import pytest

from app.records import AddressRecord, CardRecord, Job, UserRecord
from app.schemas import UserOut
from benchmarks import limit, servers
from tests.conftest import LocalWorker, Mirror
from tests.deployment import PostgresDatabase
from tests.fake_source import DummyJsonLike, FakeSource


def answered(url: str, path: str) -> list[UserOut]:
    with urllib.request.urlopen(url + path, timeout=10) as answer:
        body = json.load(answer)
    return [UserOut.model_validate(user, extra="forbid") for user in (body if isinstance(body, list) else [body])]


def test_the_usual_way_and_the_limit_answer_what_ours_answers(mirror: Mirror, pg: PostgresDatabase) -> None:
    address = AddressRecord("1 Main Street", "Oxford", "Mississippi", "38655", "United States", 34.4, -89.5)
    (first,) = mirror.add(UserRecord(1, "Ada"), address=address, card=CardRecord("4242", "Visa", 3, 2031))
    mirror.add(UserRecord(2, "Bob", "bob", "bob@example.com", "+1 555", "bob.example", "Bob & Sons"))
    mirror.execute("UPDATE users SET removed_at = now() WHERE external_id = 2")

    one = f"/users/{first}"

    with (
        servers.server("benchmarks.usual:app", one, DATABASE_URL=pg.url) as usual,
        servers.api(one, DATABASE_URL=pg.url, LOG_LEVEL="WARNING", METRICS_PORT="0") as ours,
        servers.server("benchmarks.limit:app", one, DATABASE_URL=pg.url) as least,
    ):
        for path, number in (("/users?limit=20", 2), (one, 1)):
            expected = answered(ours, path)

            assert len(expected) == number
            assert answered(usual, path) == expected
            assert answered(least, path) == expected


def test_the_limit_writes_the_rows_that_ours_writes(
    worker: LocalWorker, source: FakeSource, sample: Callable[[int], DummyJsonLike], pg: PostgresDatabase
) -> None:
    columns = "external_id, name, username, email, phone, website, company_name, search_text, removed_at"
    rows = f"SELECT {columns} FROM users ORDER BY external_id"
    source.respond = sample(25)
    worker.call(Job.SYNC_USERS)
    ours = pg.rows(rows)
    pg.rows("TRUNCATE users CASCADE")

    with limit.syncing(servers.plain(pg.url), f"{source.url}/users", 10) as sync:
        assert [sync(), sync()] == [25, 25]

    assert len(ours) == 25
    assert pg.rows(rows) == ours


def test_a_database_that_is_not_there_for_benchmarks_is_left_as_it_is(
    empty_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATABASE_URL", empty_database.url)

    with pytest.raises(SystemExit) as refusal, servers.postgresql():
        pass

    assert str(refusal.value) == (
        f"BENCH_DATABASE_URL leads to the database {empty_database.name}, which the benchmarks would empty. "
        'Give them one of their own, with the word "bench" in its name, as synergyway_bench.'
    )
    assert empty_database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


def test_a_database_that_is_there_for_benchmarks_gets_its_tables(
    empty_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = PostgresDatabase(empty_database.server, f"{empty_database.name}_bench")
    empty_database.rows(f"CREATE DATABASE {theirs.name}")
    monkeypatch.setenv("BENCH_DATABASE_URL", theirs.url)

    with servers.postgresql() as url:
        assert url == theirs.url

    assert theirs.value("SELECT count(*) FROM users") == 0


def test_a_database_that_is_not_there_at_all_is_named_in_one_sentence(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATABASE_URL", f"postgresql+psycopg://ada:secret@127.0.0.1:{closed_port}/bench")

    with pytest.raises(SystemExit, match="The database of BENCH_DATABASE_URL cannot be opened: ") as refusal:
        servers.postgresql().__enter__()

    assert "secret" not in str(refusal.value)
