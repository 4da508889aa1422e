"""Writing users and what they lack: one statement a batch that leaves unchanged rows alone."""

from dataclasses import fields, replace
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from app.queries import enrichment
from app.queries.enrichment import ADDRESSES, CARDS, Lacking
from app.records import AddressRecord, CardRecord, Counts, UserRecord
from tests.conftest import Mirror

LONG_AGO = "2020-01-01 00:00:00.000000"
EMILY = UserRecord(1, "Emily", "emilys", "e@example.com", "+81", "https://example.com", "Dooley")
HOME = AddressRecord("1 Main Street", "Lyon", "Rhône", "69001", "France", 45.76, 4.84)
VISA = CardRecord("1234", "Visa", 5, 2028)
TABLES = [(ADDRESSES, HOME, "addresses"), (CARDS, VISA, "credit_cards")]


def age(mirror: Mirror, table: str) -> None:
    """Makes the rows look as if they had been written long ago."""
    mirror.execute(f"UPDATE {table} SET created_at = '{LONG_AGO}', updated_at = '{LONG_AGO}'")


def moved(mirror: Mirror, table: str, key: str) -> dict[int, tuple[bool, bool]]:
    """Whether created_at and updated_at of each row have moved since."""
    rows = mirror.rows(f"SELECT {key} AS k, created_at, updated_at FROM {table}")
    return {row["k"]: (str(row["created_at"])[:4] != "2020", str(row["updated_at"])[:4] != "2020") for row in rows}


def write(mirror: Mirror, lacking: Lacking, records: dict[int, Any]) -> Counts:
    with mirror.database.transaction() as connection:
        return enrichment.write(connection, lacking, records)


def picked(mirror: Mirror, lacking: Lacking, limit: int = 100) -> list[int]:
    with mirror.database.reading() as connection:
        return list(connection.execute(enrichment.due(lacking, limit)).scalars())


def postpone(mirror: Mirror, lacking: Lacking, *user_ids: int, pause_seconds: float) -> None:
    with mirror.database.transaction() as connection:
        enrichment.postpone(connection, lacking, user_ids, pause_seconds)


# Users


def test_new_users_are_inserted_and_dated(mirror: Mirror) -> None:
    mirror.add(EMILY, UserRecord(2, "Olga"))

    assert mirror.counts == Counts(inserted=2)
    assert mirror.rows("SELECT count(*) AS n FROM users WHERE created_at = updated_at") == [{"n": 2}]


def test_an_empty_batch_is_no_work(mirror: Mirror) -> None:
    mirror.add()

    assert mirror.counts == Counts()


def test_unchanged_users_are_counted_and_not_written(mirror: Mirror) -> None:
    mirror.add(EMILY, UserRecord(2, "Olga"))
    age(mirror, "users")

    mirror.add(EMILY, UserRecord(2, "Olga"))

    assert mirror.counts == Counts(unchanged=2)
    assert moved(mirror, "users", "external_id") == {1: (False, False), 2: (False, False)}


@pytest.mark.parametrize("name", [field.name for field in fields(UserRecord) if field.name != "external_id"])
def test_a_change_of_any_value_is_written_and_dated(mirror: Mirror, name: str) -> None:
    mirror.add(EMILY)
    age(mirror, "users")

    mirror.add(replace(EMILY, **{name: "Changed"}))

    assert mirror.counts == Counts(updated=1)
    assert moved(mirror, "users", "external_id") == {1: (False, True)}
    assert mirror.rows(f"SELECT {name} AS value FROM users") == [{"value": "Changed"}]


def test_new_changed_and_unchanged_users_go_in_one_batch(mirror: Mirror) -> None:
    ids = mirror.add(*(UserRecord(number, f"User {number}") for number in range(1, 6)))
    age(mirror, "users")

    again = mirror.add(*(UserRecord(number, f"User {number}{'!' * (number == 3)}") for number in range(1, 9)))

    assert mirror.counts == Counts(inserted=3, updated=1, unchanged=4)
    assert again[:5] == ids, "a user keeps their id"
    by_user = moved(mirror, "users", "external_id")
    assert [number for number, (_, updated) in sorted(by_user.items()) if updated] == [3, 6, 7, 8]
    assert [number for number, (created, _) in sorted(by_user.items()) if created] == [6, 7, 8]


def test_of_two_records_of_the_same_user_the_later_counts(mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "First"), UserRecord(2, "Other"), UserRecord(1, "Second"))

    assert mirror.counts == Counts(inserted=2)
    assert mirror.rows("SELECT external_id, name FROM users ORDER BY external_id") == [
        {"external_id": 1, "name": "Second"},
        {"external_id": 2, "name": "Other"},
    ]


def test_a_duplicate_that_ends_as_it_was_is_unchanged(mirror: Mirror) -> None:
    mirror.add(EMILY)
    age(mirror, "users")

    mirror.add(replace(EMILY, name="Changed"), EMILY)

    assert mirror.counts == Counts(unchanged=1)
    assert moved(mirror, "users", "external_id") == {1: (False, False)}


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        (None, None, Counts(unchanged=1)),
        (None, "value", Counts(updated=1)),
        ("value", None, Counts(updated=1)),
        (None, "", Counts(updated=1)),
        ("", None, Counts(updated=1)),
        ("value", "VALUE", Counts(updated=1)),
        ("value", "value ", Counts(updated=1)),
        ("é", "e\u0301", Counts(updated=1)),
    ],
)
def test_nothing_is_a_value_of_its_own(mirror: Mirror, before: str | None, after: str | None, counts: Counts) -> None:
    mirror.add(UserRecord(1, "Emily", phone=before))
    mirror.execute(f"UPDATE users SET created_at = '{LONG_AGO}'")

    mirror.add(UserRecord(1, "Emily", phone=after))

    assert mirror.counts == counts
    assert mirror.rows("SELECT phone FROM users") == [{"phone": after}]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Ольга Ёлкина",
            "אבג דהו",
            "محمد",
            "山田太郎",
            "ไทย",
            "😀👩‍👩‍👧",
            "O'Neil; DROP TABLE users --",
            'a\\b"c{d},NULL',
        ),
        *("NULL", "%(name)s :name %s ?", "line\nbreak\ttab", "é" * 255, "😀" * 255),
    ],
)
def test_any_text_is_kept_as_it_is(mirror: Mirror, text: str) -> None:
    record = UserRecord(1, text, text, text, text, text, text)
    [user_id] = mirror.add(record, address=AddressRecord(text, text, text, text, text), card=CardRecord("1234", text))

    [row] = mirror.rows("SELECT name, username, email, phone, website, company_name FROM users")
    assert set(row.values()) == {text}
    [row] = mirror.rows("SELECT street, city, state, postal_code, country FROM addresses")
    assert set(row.values()) == {text}
    assert mirror.rows("SELECT user_id, brand FROM credit_cards") == [{"user_id": user_id, "brand": text}]

    mirror.add(record)
    assert mirror.counts == Counts(unchanged=1)


@pytest.mark.parametrize("text", ["12", "1e5", "true", "null", '"quoted"', "[1]", "{}", "\u2028"])
def test_text_that_looks_like_something_else_stays_text(mirror: Mirror, text: str) -> None:
    mirror.add(UserRecord(1, text, phone=text))

    assert mirror.rows("SELECT name, phone FROM users") == [{"name": text, "phone": text}]
    mirror.add(UserRecord(1, text, phone=text))
    assert mirror.counts == Counts(unchanged=1)


def test_text_that_no_database_can_hold_is_refused_and_not_spoiled(mirror: Mirror) -> None:
    with pytest.raises((ValueError, DBAPIError)):
        mirror.add(UserRecord(1, "half a \ud800 character"))

    assert mirror.rows("SELECT name FROM users") == []


def test_users_that_come_together_get_their_ids_in_the_order_of_the_source(mirror: Mirror) -> None:
    mirror.add(UserRecord(30, "c"), UserRecord(10, "a"), UserRecord(20, "b"))

    assert [row["external_id"] for row in mirror.rows("SELECT external_id FROM users ORDER BY id")] == [10, 20, 30]


def test_a_batch_is_one_statement_however_large(mirror: Mirror) -> None:
    statements: list[str] = []
    event.listen(mirror.database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))

    mirror.add(*(UserRecord(number, f"User {number}") for number in range(1_000)))

    assert mirror.counts == Counts(inserted=1_000)
    assert len([statement for statement in statements if "INSERT" in statement]) == 1


def test_a_whole_collection_in_one_answer_is_written_too(mirror: Mirror) -> None:
    people = [UserRecord(number, f"User {number}") for number in range(40_000)]

    mirror.add(*people)

    assert mirror.counts == Counts(inserted=40_000)


def test_an_update_that_follows_an_insert_at_once_is_an_update(mirror: Mirror) -> None:
    for number in range(20):
        mirror.add(UserRecord(number, "Before"))
        mirror.add(UserRecord(number, "After"))
        assert mirror.counts == Counts(updated=1)


def test_a_change_leaves_what_was_found_out_about_the_user(mirror: Mirror) -> None:
    [user_id] = mirror.add(EMILY, address=HOME)
    postpone(mirror, CARDS, user_id, pause_seconds=600)
    kept = "SELECT has_address, has_card, address_checks, card_checks, card_due_at FROM users"
    before = mirror.rows(kept)

    mirror.add(replace(EMILY, name="Changed"))

    assert mirror.rows(kept) == before


# Addresses and cards


@pytest.mark.parametrize(("lacking", "record", "table"), TABLES)
def test_a_row_is_linked_once_and_then_left_alone(mirror: Mirror, lacking: Lacking, record: Any, table: str) -> None:
    ids = mirror.add(EMILY, UserRecord(2, "Olga"))

    assert write(mirror, lacking, dict.fromkeys(ids, record)) == Counts(inserted=2)
    age(mirror, table)
    assert write(mirror, lacking, dict.fromkeys(ids, record)) == Counts(unchanged=2)

    assert moved(mirror, table, "user_id") == dict.fromkeys(ids, (False, False))


@pytest.mark.parametrize(
    ("lacking", "record", "table", "name", "value"),
    [
        *((ADDRESSES, HOME, "addresses", name, "Changed") for name in ("street", "city", "state", "postal_code")),
        (ADDRESSES, HOME, "addresses", "country", None),
        (ADDRESSES, HOME, "addresses", "lat", -0.5),
        (ADDRESSES, HOME, "addresses", "lng", None),
        (CARDS, VISA, "credit_cards", "last4", "0000"),
        (CARDS, VISA, "credit_cards", "brand", None),
        (CARDS, VISA, "credit_cards", "exp_month", 12),
        (CARDS, VISA, "credit_cards", "exp_year", None),
    ],
)
def test_a_change_of_a_linked_row_is_written_and_dated(
    mirror: Mirror, lacking: Lacking, record: Any, table: str, name: str, value: object
) -> None:
    [user_id] = mirror.add(EMILY)
    write(mirror, lacking, {user_id: record})
    age(mirror, table)

    assert write(mirror, lacking, {user_id: replace(record, **{name: value})}) == Counts(updated=1)

    assert moved(mirror, table, "user_id") == {user_id: (False, True)}
    assert mirror.rows(f"SELECT {name} AS value FROM {table}") == [{"value": value}]


@pytest.mark.parametrize(("lacking", "record", "table"), TABLES)
def test_linking_a_row_does_not_date_the_user(mirror: Mirror, lacking: Lacking, record: Any, table: str) -> None:
    [user_id] = mirror.add(EMILY)
    age(mirror, "users")

    write(mirror, lacking, {user_id: record})

    assert moved(mirror, "users", "id") == {user_id: (False, False)}


@pytest.mark.parametrize(("lacking", "record", "table"), TABLES)
def test_a_user_who_was_deleted_meanwhile_is_left_out(
    mirror: Mirror, lacking: Lacking, record: Any, table: str
) -> None:
    [user_id] = mirror.add(EMILY)

    assert write(mirror, lacking, {user_id: record, user_id + 1: record}) == Counts(inserted=1)

    assert mirror.rows(f"SELECT user_id FROM {table}") == [{"user_id": user_id}]


def test_a_row_of_nothing_but_nulls_and_one_of_all_values_are_written_alike(mirror: Mirror) -> None:
    first, second = mirror.add(EMILY, UserRecord(2, "Olga"))

    assert write(mirror, ADDRESSES, {first: AddressRecord()}) == Counts(inserted=1)
    assert write(mirror, ADDRESSES, {first: AddressRecord(), second: HOME}) == Counts(inserted=1, unchanged=1)

    assert mirror.rows("SELECT city, lat, lng FROM addresses ORDER BY user_id") == [
        {"city": None, "lat": None, "lng": None},
        {"city": "Lyon", "lat": 45.76, "lng": 4.84},
    ]


def test_a_second_card_replaces_the_first(mirror: Mirror) -> None:
    [user_id] = mirror.add(EMILY)
    write(mirror, CARDS, {user_id: VISA})

    assert write(mirror, CARDS, {user_id: CardRecord("2222")}) == Counts(updated=1)

    assert mirror.rows("SELECT last4, brand, exp_year FROM credit_cards") == [
        {"last4": "2222", "brand": None, "exp_year": None}
    ]


@pytest.mark.parametrize("number", [0.1 + 0.2, 5.0, -77.16213, 1e-300])
def test_a_coordinate_that_comes_again_is_unchanged(mirror: Mirror, number: float) -> None:
    [user_id] = mirror.add(EMILY)
    write(mirror, ADDRESSES, {user_id: AddressRecord(lat=number)})

    assert write(mirror, ADDRESSES, {user_id: AddressRecord(lat=number)}) == Counts(unchanged=1)

    assert mirror.rows("SELECT lat FROM addresses") == [{"lat": number}]


def test_only_users_that_are_still_there_are_locked(mirror: Mirror) -> None:
    [user_id] = mirror.add(EMILY)

    with mirror.database.transaction() as connection:
        assert enrichment.lock(connection, [user_id, user_id + 1, user_id + 2]) == {user_id}


# Who is picked


@pytest.mark.parametrize(("lacking", "record", "table"), TABLES)
def test_only_users_that_lack_the_row_are_picked(mirror: Mirror, lacking: Lacking, record: Any, table: str) -> None:
    first, second, third = mirror.add(*(UserRecord(number, "User") for number in (1, 2, 3)))
    write(mirror, lacking, {second: record})

    assert picked(mirror, lacking) == [first, third]
    assert picked(mirror, lacking, limit=1) == [first]


def test_users_whose_row_is_deleted_are_picked_again(mirror: Mirror) -> None:
    first, second = mirror.add(EMILY, UserRecord(2, "Olga"))
    write(mirror, ADDRESSES, {first: HOME})
    assert picked(mirror, ADDRESSES) == [second]

    mirror.execute("DELETE FROM addresses")

    assert picked(mirror, ADDRESSES) == [first, second]


def test_what_is_known_of_addresses_says_nothing_about_cards(mirror: Mirror) -> None:
    [user_id] = mirror.add(EMILY, address=HOME)
    assert (picked(mirror, ADDRESSES), picked(mirror, CARDS)) == ([], [user_id])

    mirror.execute("DELETE FROM addresses")
    postpone(mirror, CARDS, user_id, pause_seconds=600)
    assert (picked(mirror, ADDRESSES), picked(mirror, CARDS)) == ([user_id], [])


@pytest.mark.parametrize("lacking", [ADDRESSES, CARDS])
def test_users_who_were_asked_for_in_vain_come_last_and_only_when_due(mirror: Mirror, lacking: Lacking) -> None:
    first, second, third, fourth = mirror.add(*(UserRecord(number, "User") for number in (1, 2, 3, 4)))

    postpone(mirror, lacking, first, pause_seconds=600)
    postpone(mirror, lacking, second, pause_seconds=-10)
    postpone(mirror, lacking, third, pause_seconds=-20)

    assert picked(mirror, lacking) == [fourth, third, second]
    assert picked(mirror, lacking, limit=2) == [fourth, third]


@pytest.mark.parametrize("lacking", [ADDRESSES, CARDS])
def test_twenty_hopeless_users_never_block_the_twenty_first(mirror: Mirror, lacking: Lacking) -> None:
    *hopeless, last = mirror.add(*(UserRecord(number, "User") for number in range(1, 22)))

    postpone(mirror, lacking, *hopeless, pause_seconds=-1)

    assert picked(mirror, lacking, limit=20)[0] == last


def test_being_asked_for_in_vain_is_counted_and_does_not_date_the_user(mirror: Mirror) -> None:
    [user_id] = mirror.add(EMILY)
    age(mirror, "users")

    postpone(mirror, ADDRESSES, user_id, pause_seconds=-1)
    postpone(mirror, ADDRESSES, user_id, pause_seconds=-1)

    assert mirror.rows("SELECT address_checks, card_checks FROM users") == [{"address_checks": 2, "card_checks": 0}]
    assert moved(mirror, "users", "id") == {user_id: (False, False)}


def test_candidates_are_those_that_still_wait(mirror: Mirror) -> None:
    first, second, third = mirror.add(*(UserRecord(number, "User") for number in (11, 12, 13)))
    write(mirror, ADDRESSES, {first: HOME})
    postpone(mirror, ADDRESSES, second, pause_seconds=600)

    with mirror.database.reading() as connection:
        found = enrichment.candidates(connection, ADDRESSES, [first, second, third, third + 1])

    assert found == [enrichment.Candidate(third, 13, 0)]
