"""The API of users and health, as its clients see it."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote_from_bytes, urlsplit

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.records import AddressRecord, CardRecord, Job, UserRecord
from app.schemas import AddressOut, CreditCardOut, UserOut
from tests.conftest import LocalWorker, Mirror
from tests.fake_source import DummyJsonLike, FakeSource

Client = Callable[..., TestClient]

BEYOND_64_BITS = 2**63
ADDRESS = AddressRecord("1 Main Street", "Lyon", "Rhône", "69001", "France", 45.76, -4.84)
CARD = CardRecord("0044", "Visa", 5, 2028)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def postgresql_at(port: int) -> str:
    return f"postgresql://somebody:geheim@127.0.0.1:{port}/anything"


def users(client: TestClient, url: str) -> list[dict[str, Any]]:
    """The users in an answer, which is as the schema says."""
    response = client.get(url)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    TypeAdapter(list[UserOut]).validate_json(response.content)
    found: list[dict[str, Any]] = response.json()
    for user in found:
        assert list(user) == list(UserOut.model_fields)
        assert user["address"] is None or list(user["address"]) == list(AddressOut.model_fields)
        assert user["credit_card"] is None or list(user["credit_card"]) == list(CreditCardOut.model_fields)
    return found


def names(client: TestClient, url: str) -> list[str]:
    return [user["name"] for user in users(client, url)]


def next_url(client: TestClient, url: str) -> str | None:
    link = client.get(url).headers.get("Link")
    if link is None:
        return None
    match = re.fullmatch(r'<(/users\?[^<>"\s]*)>; rel="next"', link)
    assert match is not None, link
    return match[1]


def walk(client: TestClient, url: str) -> list[list[str]]:
    """The names on the page at the URL and on all that follow from it."""
    pages = []
    following: str | None = url
    while following is not None:
        pages.append(names(client, following))
        following = next_url(client, following)
        assert len(pages) < 50, "the links never end"
    return pages


def named(count: int) -> list[UserRecord]:
    return [UserRecord(900 + number, f"User {number:02d}") for number in range(1, count + 1)]


# The list


def test_the_list_is_empty_while_there_are_no_users(client: TestClient) -> None:
    response = client.get("/users")

    assert (response.status_code, response.content) == (200, b"[]")
    assert "Link" not in response.headers


def test_a_user_is_shown_with_every_field(client: TestClient, mirror: Mirror) -> None:
    record = UserRecord(77, "Emily Johnson", "emilys", "e@example.com", "+81 965", "https://example.com", "Dooley & Co")
    [user_id] = mirror.add(record, address=ADDRESS, card=CARD)

    [user] = users(client, "/users")

    times = [datetime.fromisoformat(user.pop(name)) for name in ("created_at", "updated_at")]
    assert user == {
        "id": user_id,
        "external_id": 77,
        "name": "Emily Johnson",
        "username": "emilys",
        "email": "e@example.com",
        "phone": "+81 965",
        "website": "https://example.com",
        "company_name": "Dooley & Co",
        "removed_at": None,
        "address": {
            "street": "1 Main Street",
            "city": "Lyon",
            "state": "Rhône",
            "postal_code": "69001",
            "country": "France",
            "lat": 45.76,
            "lng": -4.84,
        },
        "credit_card": {
            "number": "**** **** **** 0044",
            "last4": "0044",
            "brand": "Visa",
            "exp_month": 5,
            "exp_year": 2028,
        },
    }
    assert all(time.utcoffset() == timedelta(0) for time in times)
    assert all(abs(datetime.now(UTC) - time) < timedelta(minutes=1) for time in times)


def test_what_is_not_known_is_null(client: TestClient, mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "Plain"))
    mirror.add(UserRecord(2, "Linked"), address=AddressRecord(), card=CardRecord("1234"))

    plain, linked = users(client, "/users")

    assert {name for name, value in plain.items() if value is None} == {
        *("username", "email", "phone", "website", "company_name", "removed_at", "address", "credit_card")
    }
    assert set(linked["address"].values()) == {None}
    assert linked["credit_card"] == {
        "number": "**** **** **** 1234",
        "last4": "1234",
        "brand": None,
        "exp_month": None,
        "exp_year": None,
    }


@pytest.mark.parametrize(
    "text",
    [
        'quotes " and \\ backslash',
        "new\nline\ttab\x01control",
        "\u2028separator\u200fRTL \u05d0\u05d1",
        "Ольга Иванова",
        "😀👩‍👩‍👧",
        "</script>",
        "é" * 255,
    ],
)
def test_any_text_comes_through_unchanged(client: TestClient, mirror: Mirror, text: str) -> None:
    [user_id] = mirror.add(UserRecord(1, text, company_name=text), address=AddressRecord(street=text))

    [user] = users(client, "/users")

    assert (user["name"], user["company_name"], user["address"]["street"]) == (text, text, text)
    assert client.get(f"/users/{user_id}").json() == user


def test_users_come_in_the_order_of_their_ids_twenty_at_a_time(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(45))

    found = users(client, "/users")

    assert [user["name"] for user in found] == [f"User {number:02d}" for number in range(1, 21)]
    assert [user["id"] for user in found] == sorted(user["id"] for user in found)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", ["nothing", "address", "card", "both"]),
        ("has_address=true", ["address", "both"]),
        ("has_address=false", ["nothing", "card"]),
        ("has_card=true", ["card", "both"]),
        ("has_card=false", ["nothing", "address"]),
        ("has_address=true&has_card=true", ["both"]),
        ("has_address=true&has_card=false", ["address"]),
        ("has_address=false&has_card=true", ["card"]),
        ("has_address=false&has_card=false", ["nothing"]),
        ("has_address=&has_card=", ["nothing", "address", "card", "both"]),
    ],
)
def test_the_two_filters_work_alone_and_together(
    client: TestClient, mirror: Mirror, query: str, wanted: list[str]
) -> None:
    mirror.add(UserRecord(1, "nothing"))
    mirror.add(UserRecord(2, "address"), address=ADDRESS)
    mirror.add(UserRecord(3, "card"), card=CARD)
    mirror.add(UserRecord(4, "both"), address=ADDRESS, card=CARD)

    assert names(client, f"/users?{query}") == wanted


@pytest.mark.parametrize(("limit", "shown"), [(1, 1), (44, 44), (45, 45), (100, 45)])
def test_limit_says_how_many_users_a_page_has(client: TestClient, mirror: Mirror, limit: int, shown: int) -> None:
    mirror.add(*named(45))

    assert len(users(client, f"/users?limit={limit}")) == shown


def test_offset_leaves_out_users(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(5))

    assert names(client, "/users?offset=3") == ["User 04", "User 05"]
    assert names(client, "/users?offset=5") == []
    assert names(client, f"/users?offset={BEYOND_64_BITS - 102}&limit=100") == []
    assert names(client, f"/users?offset={BEYOND_64_BITS - 102}&limit=100&has_address=true") == []


# Pages


@pytest.mark.parametrize("start", ["after=0", "offset=0", ""])
@pytest.mark.parametrize(("count", "limit"), [(25, 10), (20, 10), (3, 1), (3, 100)])
def test_following_the_links_shows_every_user_once(
    client: TestClient, mirror: Mirror, start: str, count: int, limit: int
) -> None:
    mirror.add(*named(count))

    pages = walk(client, f"/users?limit={limit}&{start}")

    assert [name for page in pages for name in page] == [f"User {number:02d}" for number in range(1, count + 1)]
    assert len(pages) == -(-count // limit), "the last page has no link, even when it is full"


@pytest.mark.parametrize(("start", "mode", "other"), [("after=0", "after", "offset"), ("offset=1", "offset", "after")])
def test_a_link_keeps_the_filters_and_the_way_of_paging(
    client: TestClient, mirror: Mirror, start: str, mode: str, other: str
) -> None:
    for number in range(1, 8):
        mirror.add(UserRecord(number, f"R&D = 100% + Оля #{number}"), address=ADDRESS)
        mirror.add(UserRecord(100 + number, f"R&D = 100% + Оля #{number}"))

    first = f"/users?q=r%26d%20%3D%20100%25%20%2B%20%D0%9E%D0%9B%D0%AF&has_address=true&has_card=false&limit=2&{start}"
    link = next_url(client, first)
    assert link is not None
    query = parse_qs(urlsplit(link).query)

    assert query.pop(mode)
    assert other not in query
    assert query == {"q": ["r&d = 100% + ОЛЯ"], "has_address": ["true"], "has_card": ["false"], "limit": ["2"]}
    found = [name[-1] for page in walk(client, first) for name in page]
    assert found == list("1234567" if mode == "after" else "234567")


def test_after_goes_on_behind_a_user_who_is_gone(client: TestClient, mirror: Mirror) -> None:
    ids = mirror.add(*named(4))
    mirror.execute(f"DELETE FROM users WHERE id = {ids[1]}")

    assert names(client, f"/users?after={ids[1]}") == ["User 03", "User 04"]
    assert names(client, f"/users?after={BEYOND_64_BITS - 1}") == []


def test_users_that_come_while_a_client_pages_shift_nothing(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(4))
    link = next_url(client, "/users?after=0&limit=2")
    assert link is not None

    mirror.add(UserRecord(5_000, "User 05"))

    assert walk(client, link) == [["User 03", "User 04"], ["User 05"]]


def test_a_blank_after_is_no_after(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(2))

    assert names(client, "/users?after=") == ["User 01", "User 02"]
    assert names(client, "/users?after=&offset=1") == ["User 02"]


@pytest.mark.parametrize("offset", ["0", "5"])
def test_after_does_not_go_with_offset(client: TestClient, offset: str) -> None:
    response = client.get(f"/users?after=1&offset={offset}")

    assert response.status_code == 422
    assert "after" in named_fields(response.json()) | {"offset"} & named_fields(response.json())


def test_the_total_is_counted_only_on_demand(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(7))
    mirror.add(UserRecord(5_000, "User with address"), address=ADDRESS)

    assert "X-Total-Count" not in client.get("/users").headers
    assert "X-Total-Count" not in client.get("/users?count=false").headers
    assert client.get("/users?count=true&limit=2").headers["X-Total-Count"] == "8"
    assert client.get("/users?count=true&limit=2&offset=6").headers["X-Total-Count"] == "8"
    assert client.get("/users?count=true&limit=2&after=0&has_address=true").headers["X-Total-Count"] == "1"
    assert client.get("/users?count=true&q=nobody").headers["X-Total-Count"] == "0"


# Search


@pytest.mark.parametrize(
    ("q", "wanted"),
    [
        ("emily", ["Emily Johnson"]),
        ("EMILY JOHN", ["Emily Johnson"]),
        ("lyS", ["Emily Johnson"]),
        ("@X.Example", ["Emily Johnson"]),
        ("ольга", ["Ольга Ёлкина"]),
        ("ОЛЬГА ё", ["Ольга Ёлкина"]),
        ("почта.рф", ["Ольга Ёлкина"]),
        ("müLLER", ["Jürgen Müller"]),
        ("strasse", ["Anna Straße"]),
        ("STRASSE", ["Anna Straße"]),
        ("😀", ["Smile 😀"]),
        ("o", ["Emily Johnson"]),
        ("nobody", []),
        ("+81", []),
        ("dooley", []),
    ],
)
def test_q_finds_text_in_name_username_and_email_in_any_case(
    client: TestClient, mirror: Mirror, q: str, wanted: list[str]
) -> None:
    mirror.add(UserRecord(1, "Emily Johnson", "emilyS", "mail@x.example.com", "+81 965", None, "Dooley"))
    mirror.add(UserRecord(2, "Ольга Ёлкина", None, "ящик@ПОЧТА.рф"))
    mirror.add(UserRecord(3, "Jürgen Müller"))
    mirror.add(UserRecord(4, "Anna Straße"))
    mirror.add(UserRecord(5, "Smile 😀"))

    response = client.get("/users", params={"q": q})

    assert [user["name"] for user in response.json()] == wanted


@pytest.mark.parametrize(
    ("q", "wanted"),
    [
        ("100%", ["100% cotton"]),
        ("%", ["100% cotton"]),
        ("_", ["snake_case"]),
        ("e_c", ["snake_case"]),
        ("\\", ["back\\slash"]),
        ("k\\s", ["back\\slash"]),
        ("/", ["either/or"]),
        ("'", ["O'Neil"]),
        ("' OR 1=1 --", []),
        ("[a-z]", []),
        ("*", []),
    ],
)
def test_q_takes_wildcards_and_quotes_literally(client: TestClient, mirror: Mirror, q: str, wanted: list[str]) -> None:
    texts = ("100% cotton", "1000 cotton", "snake_case", "snakeXcase", "back\\slash", "either/or", "O'Neil")
    mirror.add(*(UserRecord(number, text) for number, text in enumerate(texts, 1)))

    response = client.get("/users", params={"q": q})

    assert [user["name"] for user in response.json()] == wanted


def test_a_blank_q_finds_everybody(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(3))

    assert len(users(client, "/users?q=")) == 3


def test_q_goes_with_the_filters(client: TestClient, mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "Emily with"), card=CARD)
    mirror.add(UserRecord(2, "Emily without"))
    mirror.add(UserRecord(3, "Olga with"), card=CARD)

    assert names(client, "/users?q=emily&has_card=true") == ["Emily with"]


def test_a_user_who_is_renamed_is_found_by_the_new_name_alone(client: TestClient, mirror: Mirror) -> None:
    mirror.add(UserRecord(1, "Before"))
    mirror.add(UserRecord(1, "After"))

    assert names(client, "/users?q=before") == []
    assert names(client, "/users?q=after") == ["After"]


# One user


def test_one_user_looks_the_same_as_in_the_list(client: TestClient, mirror: Mirror) -> None:
    [user_id] = mirror.add(UserRecord(1, "Emily"), address=ADDRESS, card=CARD)

    response = client.get(f"/users/{user_id}")

    assert response.status_code == 200
    assert [response.json()] == users(client, "/users")


@pytest.mark.parametrize("user_id", [999, BEYOND_64_BITS - 1])
def test_a_user_who_is_not_there_is_404_with_a_sentence(client: TestClient, user_id: int) -> None:
    response = client.get(f"/users/{user_id}")

    assert response.status_code == 404
    assert response.json() == {"detail": f"There is no user {user_id}."}


# Cards


def test_nothing_of_a_card_but_its_last_four_digits_is_ever_answered(
    client: TestClient, worker: LocalWorker, source: FakeSource, sample: Callable[[int], DummyJsonLike]
) -> None:
    source.respond = people = sample(30)
    worker.call(Job.SYNC_USERS)

    answers = client.get("/users?limit=100").text + client.get("/users/1").text + client.get("/users/ui?limit=100").text

    found = users(client, "/users?limit=100")
    assert len(found) == 30
    for user in found:
        number = people.users[user["external_id"]]["bank"]["cardNumber"]
        assert user["credit_card"]["number"] == f"**** **** **** {number[-4:]}"
    for secret in people.users.values():
        assert secret["bank"]["cardNumber"] not in answers
        assert secret["bank"]["cardNumber"][:12] not in answers
        assert secret["password"] not in answers
        assert secret["ssn"] not in answers


# Bad input


def named_fields(body: dict[str, Any]) -> set[str]:
    return {problem["loc"][-1] for problem in body["detail"]}


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("/users?limit=0", "limit"),
        ("/users?limit=-1", "limit"),
        ("/users?limit=101", "limit"),
        ("/users?limit=ten", "limit"),
        ("/users?limit=1.5", "limit"),
        (f"/users?limit={BEYOND_64_BITS}", "limit"),
        ("/users?limit=%ff", "limit"),
        ("/users?limit=%00", "limit"),
        ("/users?offset=-1", "offset"),
        ("/users?offset=many", "offset"),
        (f"/users?offset={BEYOND_64_BITS}", "offset"),
        (f"/users?offset={BEYOND_64_BITS - 1}&has_address=true", "offset"),
        (f"/users?offset={'9' * 5_000}", "offset"),
        (f"/users?offset=-{BEYOND_64_BITS}", "offset"),
        ("/users?offset=%00", "offset"),
        ("/users?offset=%ff", "offset"),
        ("/users?after=-1", "after"),
        ("/users?after=x", "after"),
        (f"/users?after={BEYOND_64_BITS}", "after"),
        ("/users?after=%00", "after"),
        ("/users?after=%ff", "after"),
        ("/users?has_address=maybe", "has_address"),
        ("/users?has_address=%ff", "has_address"),
        ("/users?has_card=2", "has_card"),
        ("/users?has_card=%00", "has_card"),
        ("/users?count=perhaps", "count"),
        ("/users?q=%00", "q"),
        ("/users?q=a%00b", "q"),
        ("/users?q=%ff", "q"),
        ("/users?q=a%ffb", "q"),
        ("/users?q=%ed%a0%80", "q"),
        (f"/users?q={'x' * 101}", "q"),
        ("/users/0", "user_id"),
        ("/users/-1", "user_id"),
        ("/users/abc", "user_id"),
        ("/users/1.5", "user_id"),
        (f"/users/{BEYOND_64_BITS}", "user_id"),
        (f"/users/{'9' * 5_000}", "user_id"),
        ("/users/%00", "user_id"),
        ("/users/1%00", "user_id"),
        ("/users/%ff", "user_id"),
    ],
)
def test_bad_input_is_422_that_names_the_field(client: TestClient, url: str, field: str) -> None:
    response = client.get(url)

    assert response.status_code == 422
    assert field in named_fields(response.json())
    assert all(problem["msg"] for problem in response.json()["detail"])


def test_several_faults_are_named_at_once(client: TestClient) -> None:
    response = client.get("/users?limit=0&offset=-1&has_card=maybe")

    assert named_fields(response.json()) == {"limit", "offset", "has_card"}


_VALUES = st.one_of(
    st.binary(max_size=12),
    st.integers(-(2**70), 2**70).map(lambda number: str(number).encode()),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"", b"true", b"0", b"1", b"20", b"nan", b"inf", b"1e5", b"null", b"[]"]),
)
_QUERIES = st.lists(
    st.tuples(st.sampled_from(["limit", "offset", "after", "q", "has_address", "has_card", "count", "x"]), _VALUES),
    max_size=4,
)


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=_QUERIES, path=st.sampled_from(["/users", "/users/ui"]))
def test_no_query_at_all_makes_the_service_fail(client: TestClient, query: list[tuple[str, bytes]], path: str) -> None:
    response = client.get(f"{path}?" + "&".join(f"{name}={quote_from_bytes(value)}" for name, value in query))

    assert response.status_code in (200, 422)


# Health


def test_healthz_is_ok_byte_for_byte(client: TestClient) -> None:
    response = client.get("/healthz")

    assert response.status_code == 200
    assert response.content == b'{"status":"ok"}'
    assert response.headers["content-type"] == "application/json"


def test_healthz_asks_no_database(open_client: Client, listener: socket.socket) -> None:
    client = open_client(DATABASE_URL=postgresql_at(listener.getsockname()[1]))

    assert client.get("/healthz").content == b'{"status":"ok"}'

    with pytest.raises(BlockingIOError):
        listener.accept()


def test_readyz_is_ok_while_the_database_answers(client: TestClient) -> None:
    response = client.get("/readyz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_readyz_names_the_database_that_is_out_of_reach(open_client: Client, closed_port: int) -> None:
    client = open_client(DATABASE_URL=postgresql_at(closed_port))
    start = time.monotonic()

    response = client.get("/readyz")

    assert time.monotonic() - start < 5
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "failing": ["database"]}


def test_readyz_does_not_wait_for_a_database_that_never_answers(open_client: Client, listener: socket.socket) -> None:
    client = open_client(DATABASE_URL=postgresql_at(listener.getsockname()[1]))
    start = time.monotonic()

    response = client.get("/readyz")

    assert time.monotonic() - start < 5
    assert (response.status_code, response.json()["failing"]) == (503, ["database"])


@pytest.mark.parametrize("url", ["/users", "/users?count=true", "/users/1", "/runs", "/runs/1"])
def test_users_are_503_with_a_sentence_while_the_database_is_out_of_reach(
    open_client: Client, closed_port: int, url: str
) -> None:
    client = open_client(DATABASE_URL=postgresql_at(closed_port))
    start = time.monotonic()

    response = client.get(url)

    assert time.monotonic() - start < 5
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.json() == {"detail": "The database is out of reach. Try again in a moment."}


def test_bad_input_is_422_even_while_the_database_is_out_of_reach(open_client: Client, closed_port: int) -> None:
    client = open_client(DATABASE_URL=postgresql_at(closed_port))

    assert client.get("/users?limit=0").status_code == 422


# Documentation


@pytest.fixture
def openapi(client: TestClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


def test_the_documentation_is_served(client: TestClient) -> None:
    response = client.get("/docs")

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")


def test_the_documentation_shows_the_api_and_not_the_page(openapi: dict[str, Any]) -> None:
    assert {"/users", "/users/{user_id}", "/healthz", "/readyz"} <= set(openapi["paths"])
    assert "/users/ui" not in openapi["paths"]


def test_every_operation_and_parameter_is_described(openapi: dict[str, Any]) -> None:
    operations = [operation for path in openapi["paths"].values() for operation in path.values()]

    assert all(operation.get("summary") for operation in operations)
    parameters = [parameter for operation in operations for parameter in operation.get("parameters", [])]
    assert {parameter["name"] for parameter in parameters} >= {
        *("limit", "offset", "after", "q", "has_address", "has_card", "count", "user_id")
    }
    assert [parameter["name"] for parameter in parameters if not parameter.get("description")] == []


@pytest.mark.parametrize(
    ("schema", "model"), [("User", UserOut), ("Address", AddressOut), ("CreditCard", CreditCardOut)]
)
def test_every_field_is_described_and_the_examples_are_true(
    openapi: dict[str, Any], schema: str, model: type[UserOut]
) -> None:
    described = next(
        body
        for name, body in openapi["components"]["schemas"].items()
        if schema in (name, body.get("title")) or name == model.__name__
    )

    assert [name for name, field in described["properties"].items() if not field.get("description")] == []
    assert described["examples"]
    for example in described["examples"]:
        assert set(example) == set(model.model_fields)
        model.model_validate(example)


# Answers that a client has already, and long ones


@pytest.mark.parametrize("url", ["/users?limit=2", "/users?limit=2&count=true", "/users/{}"])
def test_what_a_client_has_is_not_sent_again(client: TestClient, mirror: Mirror, url: str) -> None:
    [first, *_] = mirror.add(*named(3), address=ADDRESS)
    url = url.format(first)
    before = client.get(url)
    etag = before.headers["ETag"]

    again = client.get(url, headers={"If-None-Match": f'"other", {etag}'})

    assert (again.status_code, again.content) == (304, b"")
    for name in ("ETag", "Cache-Control", "Vary", "Link", "X-Total-Count"):
        assert again.headers.get(name) == before.headers.get(name)
    assert client.get(url, headers={"If-None-Match": "*"}).status_code == 304
    assert client.get(url, headers={"If-None-Match": '"other"'}).content == before.content


def test_a_change_gives_another_etag(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(3))
    before = client.get("/users").headers["ETag"]

    mirror.add(UserRecord(901, "Renamed"))

    after = client.get("/users", headers={"If-None-Match": before})
    assert (after.status_code, after.json()[0]["name"]) == (200, "Renamed")
    assert after.headers["ETag"] != before


def test_a_long_page_is_packed_for_those_who_can_read_that(client: TestClient, mirror: Mirror) -> None:
    mirror.add(*named(100), address=ADDRESS, card=CARD)

    packed = client.get("/users?limit=100", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    plain = client.get("/users?limit=100", headers={"Accept-Encoding": "identity"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content
    assert packed.headers["ETag"] == plain.headers["ETag"]
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 5
    for refused in ("gzip;q=0", "gzip; q=0.0", "br", ""):
        answer = client.get("/users?limit=100", headers={"Accept-Encoding": refused})
        assert "Content-Encoding" not in answer.headers
    assert "Content-Encoding" not in client.get("/users?limit=20", headers={"Accept-Encoding": "gzip"}).headers


@pytest.mark.parametrize(
    "url", ["/users", "/users/1", "/users?limit=0", "/runs", "/healthz", "/openapi.json", "/nothing"]
)
def test_every_answer_says_what_it_is_and_whether_it_may_be_kept(client: TestClient, mirror: Mirror, url: str) -> None:
    mirror.add(UserRecord(1, "Emily"))

    headers = client.get(url).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    wanted = "private, no-cache" if url in ("/users", "/users/1") else "no-store"
    assert headers.get_list("Cache-Control") == [wanted]


def test_a_defect_is_answered_with_a_sentence(client: TestClient, mirror: Mirror) -> None:
    mirror.execute("DROP TABLE seen_pages")
    mirror.execute("DROP TABLE run_chunks")

    response = client.get("/runs")

    assert response.status_code >= 500
    assert response.json()["detail"]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("removed=true", ["2", "4", "6", "8"]),
        ("removed=false", ["1", "3", "5", "7"]),
        ("removed=", ["1", "2", "3", "4", "5", "6", "7", "8"]),
        ("removed=true&has_address=true", ["6", "8"]),
        ("removed=false&has_card=true", ["3", "7"]),
        ("removed=false&has_address=true&has_card=false", ["5"]),
        ("removed=true&q=user", ["2", "4", "6", "8"]),
        ("has_card=true&q=user", ["3", "4", "7", "8"]),
        ("removed=true&has_address=false&q=4", ["4"]),
    ],
)
@pytest.mark.parametrize("paging", ["offset=0", "after=0"])
def test_users_who_left_can_be_told_from_those_who_stayed(
    client: TestClient, mirror: Mirror, query: str, wanted: list[str], paging: str
) -> None:
    for number in range(1, 9):
        mirror.add(
            UserRecord(number, f"User {number}"),
            address=ADDRESS if number > 4 else None,
            card=CARD if number in (3, 4, 7, 8) else None,
        )
    mirror.execute("UPDATE users SET removed_at = updated_at WHERE external_id % 2 = 0")

    pages = walk(client, f"/users?{query}&limit=1&{paging}")

    assert [name[-1] for page in pages for name in page] == wanted
    assert client.get(f"/users?{query}&count=true").headers["X-Total-Count"] == str(len(wanted))


# Addresses that are not quite right


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/users/", "/users"),
        ("/users/?limit=1&q=%2F%3F", "/users?limit=1&q=%2F%3F"),
        ("/users/ui/", "/users/ui"),
        ("/users/ui/runs//", "/users/ui/runs"),
        ("/users/%3Fx%0D%0A/", "/users/%3Fx%0D%0A"),
        ("/docs/", "/docs"),
    ],
)
def test_a_slash_too_many_leads_to_the_address_without_it_on_the_host_and_by_the_scheme_that_the_client_has_used(
    client: TestClient, path: str, location: str
) -> None:
    response = client.get(f"http://users.example{path}", follow_redirects=False)

    assert (response.status_code, response.headers["Location"]) == (307, location)


def test_a_run_is_asked_for_with_a_slash_too_many_by_the_same_method(client: TestClient) -> None:
    response = client.post("/runs/", json={"task": "sync_users"}, follow_redirects=False)

    # Which has the client send its body again.
    assert (response.status_code, response.headers["Location"]) == (307, "/runs")


@pytest.mark.parametrize("path", ["/nothing", "/nothing/", "//evil.example/", "/\\evil.example/", "//", "/static/"])
def test_an_address_with_nothing_behind_it_leads_nowhere(client: TestClient, path: str) -> None:
    response = client.get(f"http://users.example{path}", follow_redirects=False)

    assert response.status_code == 404
    assert "Location" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/runs", "GET, POST"),
        ("POST", "/users", "GET"),
        ("PUT", "/runs/1", "GET"),
        ("DELETE", "/users/ui", "GET"),
        ("PATCH", "/healthz", "GET"),
        ("POST", "/static/page.css", "GET, HEAD"),
    ],
)
def test_a_method_that_an_address_does_not_take_is_told_all_those_that_it_takes(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)

    assert (response.status_code, response.headers["Allow"]) == (405, allowed)
    assert response.json() == {"detail": f"This address does not take {method}: it takes {allowed}."}
