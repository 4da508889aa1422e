"""The upsert, and the picking of users that lack a row."""

from collections.abc import Sequence

import pytest
from sqlalchemy import text

from app.db import Database
from app.queries import enrichment
from app.queries.users import upsert_users
from app.records import AddressRecord, CardRecord, Counts, UserRecord


def write(database: Database, *users: UserRecord) -> Counts:
    with database.transaction() as connection:
        return upsert_users(connection, users)


def stored(database: Database, columns: str = "external_id, name, email") -> Sequence[object]:
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM users ORDER BY external_id"))]


def test_new_users_are_inserted_and_known_ones_updated(database: Database) -> None:
    write(database, UserRecord(1, "Ada"), UserRecord(2, "Bela"))

    counts = write(database, UserRecord(2, "Béla"), UserRecord(3, "Chen"), UserRecord(1, "Ada"))

    assert counts == Counts(inserted=1, updated=1, unchanged=1)
    assert stored(database) == [(1, "Ada", None), (2, "Béla", None), (3, "Chen", None)]


def test_of_two_records_with_the_same_key_the_later_one_counts(database: Database) -> None:
    counts = write(database, UserRecord(1, "first"), UserRecord(1, "second"))

    assert counts == Counts(inserted=1)
    assert stored(database, "name") == [("second",)]


def test_updated_at_moves_with_a_change_and_created_at_never(database: Database) -> None:
    write(database, UserRecord(1, "Ada"), UserRecord(2, "Bela"))
    with database.transaction() as connection:
        connection.execute(text("UPDATE users SET created_at = '2020-01-01', updated_at = '2020-01-01'"))

    write(database, UserRecord(1, "Ada"), UserRecord(2, "Béla"))

    moved = "updated_at > '2021-01-01', created_at > '2021-01-01'"
    assert stored(database, moved) == [(False, False), (True, False)]


@pytest.mark.parametrize(("before", "after"), [(None, "a@b.example"), ("a@b.example", None)])
def test_a_value_that_comes_or_goes_is_a_change(database: Database, before: str | None, after: str | None) -> None:
    write(database, UserRecord(1, "Ada", email=before))

    assert write(database, UserRecord(1, "Ada", email=after)) == Counts(updated=1)
    assert stored(database) == [(1, "Ada", after)]


@pytest.mark.parametrize("name", ["Łukasz Żółć", "محمد", "李小龍", "👩‍👩‍👧 O'Neil", "a\\b%_\"'", "<script>"])
def test_names_in_any_script_come_back_as_they_were(database: Database, name: str) -> None:
    write(database, UserRecord(1, name))

    assert write(database, UserRecord(1, name)) == Counts(unchanged=1)
    assert stored(database, "name") == [(name,)]


def test_the_largest_id_fits(database: Database) -> None:
    write(database, UserRecord(2**63 - 1, "last"), UserRecord(-(2**63), "first"))

    assert stored(database, "name") == [("first",), ("last",)]


def test_nothing_to_write_is_nothing_written(database: Database) -> None:
    assert write(database) == Counts()


def test_an_address_of_nothing_but_nulls_and_one_of_all_values_are_written_alike(database: Database) -> None:
    write(database, UserRecord(1, "Ada"), UserRecord(2, "Bela"))
    full = AddressRecord("1 Main Street", "Lyon", "Rhône", "69001", "France", 45.76, -4.84)
    with database.transaction() as connection:
        assert enrichment.write(connection, enrichment.ADDRESSES, {1: AddressRecord()}) == Counts(inserted=1)
        assert enrichment.write(connection, enrichment.ADDRESSES, {1: AddressRecord(), 2: full}) == Counts(
            inserted=1, unchanged=1
        )

    with database.reading() as connection:
        rows = connection.execute(text("SELECT city, lat, lng FROM addresses ORDER BY user_id")).all()
    assert [tuple(row) for row in rows] == [(None, None, None), ("Lyon", 45.76, -4.84)]


def test_a_second_card_replaces_the_first(database: Database) -> None:
    write(database, UserRecord(1, "Ada"))
    with database.transaction() as connection:
        enrichment.write(connection, enrichment.CARDS, {1: CardRecord("1111", "visa", 1, 2030)})
        assert enrichment.write(connection, enrichment.CARDS, {1: CardRecord("2222")}) == Counts(updated=1)

    with database.reading() as connection:
        cards = connection.execute(text("SELECT last4, brand, exp_year FROM credit_cards")).all()
    assert [tuple(card) for card in cards] == [("2222", None, None)]


def picked(database: Database, limit: int = 10) -> list[int]:
    with database.reading() as connection:
        return list(connection.execute(enrichment.due(enrichment.ADDRESSES, limit)).scalars())


def test_users_never_checked_are_picked_before_those_whose_pause_is_over(database: Database) -> None:
    write(database, *(UserRecord(number, f"User {number}") for number in range(1, 6)))
    with database.transaction() as connection:
        enrichment.postpone(connection, enrichment.ADDRESSES, [1], pause_seconds=-100)
        enrichment.postpone(connection, enrichment.ADDRESSES, [2], pause_seconds=-200)
        enrichment.postpone(connection, enrichment.ADDRESSES, [3], pause_seconds=100)

    assert picked(database) == [4, 5, 2, 1]
    assert picked(database, limit=2) == [4, 5]


def test_users_with_an_address_are_not_picked_until_it_is_deleted(database: Database) -> None:
    write(database, UserRecord(1, "Ada"), UserRecord(2, "Bela"))
    with database.transaction() as connection:
        enrichment.write(connection, enrichment.ADDRESSES, {1: AddressRecord(city="Lyon")})
    assert picked(database) == [2]

    with database.transaction() as connection:
        connection.execute(text("DELETE FROM addresses"))

    assert picked(database) == [1, 2]


def test_enriching_and_postponing_do_not_move_the_users_updated_at(database: Database) -> None:
    write(database, UserRecord(1, "Ada"), UserRecord(2, "Bela"))
    before = stored(database, "updated_at")

    with database.transaction() as connection:
        enrichment.write(connection, enrichment.ADDRESSES, {1: AddressRecord(city="Lyon")})
        enrichment.postpone(connection, enrichment.ADDRESSES, [2], pause_seconds=600)

    assert stored(database, "updated_at") == before


def test_a_user_that_was_deleted_is_left_out(database: Database) -> None:
    write(database, UserRecord(1, "Ada"))
    with database.transaction() as connection:
        assert enrichment.lock(connection, [1, 2, 3]) == {1}
