"""Which source reads an address, what is said when none can, and reading users by pages."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.errors import ProviderError, ProviderNotFound, ProviderUnavailable
from app.metrics import JobMetrics
from app.providers import dummyjson, jsonplaceholder, random_data_api
from app.providers.catalogue import AUTO, recognise, sources
from app.providers.collection import find_source, read_users
from app.providers.http import HttpClient
from app.providers.lookup import open_lookup
from app.providers.source import Noun
from app.records import Job, Rejected
from tests.conftest import PAYLOADS, LocalWorker
from tests.fake_source import Answer, DummyJsonLike, FakeSource
from tests.test_http import everything_about

URL = "http://source.example/users"
CARD = "4556737586899855"


@pytest.fixture
def http() -> HttpClient:
    return HttpClient(
        connect_timeout_seconds=1, timeout_seconds=1, max_body_bytes=1_000_000, connections=2, metrics=JobMetrics()
    )


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_bytes())


def refusal(act: Callable[[], Any]) -> str:
    """The sentence of the permanent error."""
    with pytest.raises(ProviderError) as caught:
        act()
    assert not isinstance(caught.value, ProviderUnavailable)
    assert CARD not in everything_about(caught.value)
    return str(caught.value)


# Recognising


def test_every_module_that_defines_a_source_is_known_by_its_name() -> None:
    assert sources() == {
        "dummyjson": dummyjson.SOURCE,
        "jsonplaceholder": jsonplaceholder.SOURCE,
        "random_data_api": random_data_api.SOURCE,
    }


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("dummyjson-users-page1", "dummyjson"),
        ("dummyjson-users-past-the-end", "dummyjson"),
        ("dummyjson-limit-lies", "dummyjson"),
        ("names-in-any-script", "dummyjson"),
        ("jsonplaceholder-users", "jsonplaceholder"),
        ("jsonplaceholder-user-without-a-name", "jsonplaceholder"),
        ("random-data-api-v1-address-single", "random_data_api"),
        ("random-data-api-v1-address-size5", "random_data_api"),
        ("random-data-api-v1-business-credit-card-single", "random_data_api"),
        ("random-data-api-v1-business-credit-card-size5", "random_data_api"),
        ("random-data-api-v1-stripe-single", "random_data_api"),
        ("random-data-api-v1-stripe-size5", "random_data_api"),
        ("random-data-api-v2-addresses-single", "random_data_api"),
        ("random-data-api-v2-addresses-size5", "random_data_api"),
        ("random-data-api-v2-credit_cards-single", "random_data_api"),
        ("random-data-api-v2-credit_cards-size5", "random_data_api"),
        ("random-data-api-v2-users-single", "random_data_api"),
    ],
)
def test_an_answer_is_recognised_by_its_shape_and_by_one_source_alone(name: str, source: str) -> None:
    body = payload(name)

    assert recognise(body, URL).name == source
    assert [known.name for known in sources().values() if known.recognises(body)] == [source]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([], id="empty list"),
        pytest.param({}, id="empty object"),
        pytest.param({"people": [{"card": CARD}]}, id="another envelope"),
        pytest.param({"users": {"1": {"card": CARD}}}, id="users that are no list"),
        pytest.param([[{"id": 1, "card": CARD}]], id="list of lists"),
        pytest.param([CARD], id="list of texts"),
        pytest.param([None], id="list of nothing"),
        pytest.param([{"key": CARD}], id="records without an id"),
        pytest.param({"message": f"card {CARD}"}, id="message"),
        pytest.param(CARD, id="text"),
        pytest.param(int(CARD), id="number"),
        pytest.param(None, id="null"),
        pytest.param(True, id="true"),
    ],
)
def test_an_unknown_shape_is_told_with_the_sources_that_are_known(body: Any) -> None:
    sentence = refusal(lambda: recognise(body, "http://reader:hunter2@source.example/users"))

    assert sentence == (
        "http://***@source.example/users answered with a shape that is none of the known sources' "
        "(DummyJSON, JSONPlaceholder, random-data-api): "
        "correct the address, or force a source by the *_API_SOURCE variable"
    )


# Finding the source of an address


def test_a_source_is_found_by_asking_for_one_record(http: HttpClient, source: FakeSource) -> None:
    source.answer(payload("jsonplaceholder-users"))

    assert find_source(http, source.url, AUTO) is jsonplaceholder.SOURCE
    assert source.requests == [("/users", {"limit": "1", "select": "id"})]


def test_a_source_that_is_forced_must_answer_in_its_shape(http: HttpClient, source: FakeSource) -> None:
    source.answer(payload("empty-list"))

    assert find_source(http, source.url, "jsonplaceholder").name == "jsonplaceholder"
    assert "no list of users with a total" in refusal(lambda: find_source(http, source.url, "dummyjson"))


def test_a_source_that_is_forced_and_not_there_is_refused(http: HttpClient, source: FakeSource) -> None:
    with pytest.raises(ProviderNotFound):
        find_source(http, source.url, "dummyjson")


@pytest.mark.parametrize("name", ["empty-list", "unknown-shape"])
def test_an_address_of_unknown_shape_is_no_source(http: HttpClient, source: FakeSource, name: str) -> None:
    source.answer(payload(name))

    assert "none of the known sources" in refusal(lambda: find_source(http, source.url, AUTO))


def test_jsonplaceholder_as_the_source_of_cards_is_refused_with_what_it_has(
    http: HttpClient, source: FakeSource
) -> None:
    sentence = refusal(
        lambda: open_lookup(http, source.url, jsonplaceholder.SOURCE, Noun.CARD, page_size=10, parallelism=2)
    )

    assert "JSONPlaceholder has no credit cards" in sentence
    assert "only users and addresses" in sentence
    assert source.requests == []


# Reading users


def test_users_are_read_by_the_source_whose_shape_the_page_has(http: HttpClient, source: FakeSource) -> None:
    source.answer(payload("dummyjson-users-page1"))

    name, page = read_users(http, source.url, AUTO, 0, 3)

    assert name == "dummyjson"
    assert [user.name for user in page.users] == ["Emily Johnson", "Michael Williams", "Sophia Brown"]
    assert (page.size, page.total, page.complete) == (3, 208, False)
    ((path, query),) = source.requests
    assert (path, query["limit"], query["skip"]) == ("/users", "3", "0")
    assert not {"password", "ssn", "bank", "crypto"} & set(query["select"].split(","))


def test_a_page_past_the_end_is_empty(http: HttpClient, source: FakeSource) -> None:
    source.answer(payload("dummyjson-users-past-the-end"))

    _, page = read_users(http, source.url, AUTO, 300, 30)

    assert (list(page.users), list(page.rejected), page.size, page.total, page.complete) == ([], [], 0, 208, False)


def test_a_short_page_is_as_long_as_its_users_whatever_its_limit_says(http: HttpClient, source: FakeSource) -> None:
    source.answer(payload("dummyjson-limit-lies"))

    _, page = read_users(http, source.url, AUTO, 30, 30)

    assert (page.size, page.total) == (2, 32)
    assert [user.external_id for user in page.users] == [31, 32]


def test_a_bare_list_is_the_whole_collection(http: HttpClient, source: FakeSource) -> None:
    source.answer(payload("jsonplaceholder-users"))

    name, page = read_users(http, source.url, AUTO, 0, 3)

    assert name == "jsonplaceholder"
    assert [user.external_id for user in page.users] == list(range(1, 11))
    assert (page.size, page.total, page.complete) == (10, 10, True)


def test_a_source_that_is_forced_reads_what_its_shape_would_not_tell(http: HttpClient, source: FakeSource) -> None:
    source.answer(payload("empty-list"))

    name, page = read_users(http, source.url, "jsonplaceholder", 0, 30)

    assert name == "jsonplaceholder"
    assert (list(page.users), page.size, page.complete) == ([], 0, True)
    assert source.requests == [("/users", {})]


@pytest.mark.parametrize("forced", ["dummyjson", "jsonplaceholder"])
def test_a_source_that_is_forced_does_not_read_another_shape(http: HttpClient, source: FakeSource, forced: str) -> None:
    source.answer(payload("unknown-shape"))

    assert sources()[forced].title in refusal(lambda: read_users(http, source.url, forced, 0, 30))


@pytest.mark.parametrize("total", ["many", -1, 1.5, [CARD], {}, CARD + "x"])
def test_a_total_that_is_none_is_an_unknown_shape(http: HttpClient, source: FakeSource, total: Any) -> None:
    source.answer({**payload("dummyjson-users-page1"), "total": total})

    assert "no list of users with a total" in refusal(lambda: read_users(http, source.url, AUTO, 0, 3))


@pytest.mark.parametrize("total", [{}, {"total": None}])
def test_a_source_may_keep_its_total_to_itself(http: HttpClient, source: FakeSource, total: dict[str, None]) -> None:
    source.answer({"users": payload("dummyjson-users-page1")["users"], **total})

    _, page = read_users(http, source.url, AUTO, 0, 3)

    assert (page.size, page.total, page.complete) == (3, None, False)


@pytest.mark.parametrize("name", [AUTO, "random_data_api"])
def test_random_data_api_as_the_source_of_users_is_refused_with_what_it_has(
    http: HttpClient, source: FakeSource, name: str
) -> None:
    source.answer(payload("random-data-api-v2-users-single"))

    sentence = refusal(lambda: read_users(http, source.url, name, 0, 30))

    assert "random-data-api has no users" in sentence
    assert "only addresses and credit cards" in sentence


@pytest.mark.parametrize("name", ["empty-list", "unknown-shape"])
def test_users_of_an_unknown_shape_are_never_no_users(http: HttpClient, source: FakeSource, name: str) -> None:
    source.answer(payload(name))

    assert "none of the known sources" in refusal(lambda: read_users(http, source.url, AUTO, 0, 30))


def test_a_record_that_cannot_be_used_is_rejected_by_id_and_reason_and_the_rest_goes_on(
    http: HttpClient, source: FakeSource
) -> None:
    good = payload("dummyjson-user-1")
    odd = [payload("nul-characters"), *payload("users-without-a-name")["users"], None, [CARD], CARD]
    source.answer({"users": [*odd, good], "total": 8})

    _, page = read_users(http, source.url, AUTO, 0, 30)

    assert [user.external_id for user in page.users] == [18, 1]
    assert [rejected.external_id for rejected in page.rejected] == ["12", "16", "17", "?", "?", "?"]
    assert CARD not in str(page.rejected)
    assert "Nulla" not in str(page.rejected)
    assert page.size == 8


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("ids-beyond-64-bits", [str(2**63 + 7), str(-(2**63) - 1), str(10**400)[:40]]),
        ("users-without-a-name", ["16", "17"]),
        ("jsonplaceholder-user-without-a-name", ["19", "20"]),
    ],
)
def test_a_rejected_user_is_named(http: HttpClient, source: FakeSource, name: str, ids: list[str]) -> None:
    body = payload(name)
    good = {"id": 99, "name": "Good", "firstName": "Good"}
    source.answer([*body, good] if isinstance(body, list) else {"users": [*body["users"], good]})

    _, page = read_users(http, source.url, AUTO, 0, 30)

    assert [rejected.external_id for rejected in page.rejected] == ids
    assert all("name" in rejected.reason or rejected.reason.startswith("id: ") for rejected in page.rejected)


def test_what_is_no_id_is_not_told(http: HttpClient, source: FakeSource) -> None:
    source.answer({"users": [payload("dummyjson-user-1"), {"id": {"card": CARD}}]})

    _, page = read_users(http, source.url, AUTO, 0, 30)

    assert len(page.rejected) == 1
    assert CARD not in str(page.rejected)


def test_a_first_page_of_which_nothing_can_be_used_is_an_error(http: HttpClient, source: FakeSource) -> None:
    source.answer(payload("name-of-256-characters"))

    sentence = refusal(lambda: read_users(http, source.url, AUTO, 0, 30))

    assert sentence.startswith("none of the first 1 users can be used: name: ")
    assert "WWWWW" not in sentence


def test_a_later_page_of_which_nothing_can_be_used_is_counted(http: HttpClient, source: FakeSource) -> None:
    source.answer({"users": [{"id": 31}], "total": 31})

    _, page = read_users(http, source.url, AUTO, 30, 30)

    assert (list(page.users), list(page.rejected)) == ([], [Rejected("31", "has no name")])


def test_a_source_read_page_by_page_gives_every_user_once(http: HttpClient, source: FakeSource) -> None:
    source.respond = DummyJsonLike({n: {"id": n, "firstName": f"User {n}"} for n in range(1, 24)})
    found: list[int] = []

    while True:
        _, page = read_users(http, source.url, AUTO, len(found), 10)
        found += [user.external_id for user in page.users]
        if page.size == 0:
            break

    assert found == list(range(1, 24))
    assert [query["skip"] for _, query in source.requests] == ["0", "10", "20", "23"]


def test_a_source_that_repeats_its_page_is_found_out(worker: LocalWorker, source: FakeSource) -> None:
    source.answer(payload("dummyjson-repeated-page"))

    with pytest.raises(ProviderError, match="the same page again and again"):
        worker.call(Job.SYNC_USERS)

    assert len(source.requests) <= 3


@pytest.mark.parametrize("file", ["html-instead-of-json.html", "truncated.json"])
def test_what_is_not_json_has_no_source(http: HttpClient, source: FakeSource, file: str) -> None:
    content = (PAYLOADS / file).read_bytes()
    source.respond = lambda path, query: Answer(content)

    assert "is not JSON" in refusal(lambda: find_source(http, source.url, AUTO))
    assert "is not JSON" in refusal(lambda: read_users(http, source.url, AUTO, 0, 30))
