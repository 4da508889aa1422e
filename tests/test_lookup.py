"""Looking up what a source has for given users: whom it answers for, how often it is asked, what is kept of it."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from app.errors import ProviderError, ProviderRefused, ProviderUnavailable
from app.metrics import JobMetrics
from app.providers.catalogue import sources
from app.providers.http import HttpClient
from app.providers.lookup import Lookup, open_lookup
from app.providers.source import Noun
from app.records import AddressRecord, Answers, CardRecord
from tests.conftest import PAYLOADS
from tests.fake_source import Answer, DummyJsonLike, FakeSource, Query, Responder
from tests.test_http import everything_about

SECONDS = 10
CARD = "4556737586899855"
HTML = (PAYLOADS / "html-instead-of-json.html").read_bytes()

Open = Callable[..., Lookup]


@pytest.fixture
def http() -> HttpClient:
    return HttpClient(
        connect_timeout_seconds=1, timeout_seconds=1, max_body_bytes=1_000_000, connections=4, metrics=JobMetrics()
    )


@pytest.fixture
def look_up(http: HttpClient, source: FakeSource) -> Open:
    """Opens a lookup at the fake source: pages of ten, four requests at a time."""

    def make(name: str = "dummyjson", noun: Noun = Noun.ADDRESS) -> Lookup:
        return open_lookup(http, source.url, sources()[name], noun, page_size=10, parallelism=4)

    return make


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_bytes())


def owner(number: int) -> dict[str, Any]:
    """A user with an address and a card that tell whose they are."""
    return {
        "id": number,
        "firstName": f"User {number}",
        "address": {"address": f"{number} Main Street"},
        "bank": {"cardNumber": f"455673758689{number:04}", "cardType": "Visa", "cardExpire": "05/28"},
    }


def owners(numbers: Iterable[int]) -> DummyJsonLike:
    return DummyJsonLike({number: owner(number) for number in numbers})


def address(number: int) -> AddressRecord:
    return AddressRecord(street=f"{number} Main Street")


def addresses(numbers: Iterable[int]) -> dict[int, AddressRecord]:
    return {number: address(number) for number in numbers}


def ask_for_all(lookup: Lookup, external_ids: Iterable[int]) -> tuple[Answers, int]:
    """Asks until everybody is answered, as a chunk does; all answers together, and how often it took to ask."""
    waiting = list(external_ids)
    records: dict[int, AddressRecord | CardRecord] = {}
    missing: set[int] = set()
    bad: dict[int, str] = {}
    times = 0
    while waiting:
        answers = lookup.ask(waiting, SECONDS)
        assert answers.failure is None
        assert answers.answered() & set(waiting), "each time at least one user is answered"
        assert answers.answered() <= set(waiting), "nobody is answered who was not asked for"
        records |= answers.records
        missing |= answers.missing
        bad |= answers.bad
        waiting = [number for number in waiting if number not in answers.answered()]
        times += 1
    return Answers(records, missing, bad), times


def interrupted(answer: Responder, after: int, by: Answer) -> Responder:
    """Answers so many requests as before, and all others otherwise."""
    count = 0

    def respond(path: str, query: Query) -> Answer:
        nonlocal count
        count += 1
        return answer(path, query) if count <= after else by

    return respond


THROTTLED = Answer({"message": "too many requests"}, status=429, headers={"Retry-After": "10"})
BROKEN = Answer({"message": f"card {CARD}"}, status=500)


# Pages and single records


def test_users_next_to_each_other_are_read_from_one_page(look_up: Open, source: FakeSource) -> None:
    source.respond = owners(range(1, 101))

    answers = look_up().ask(list(range(11, 21)), SECONDS)

    assert answers == Answers(records=addresses(range(11, 21)))
    ((path, query),) = source.requests
    assert (path, query["skip"], query["limit"]) == ("/users", "10", "10")
    assert set(query["select"].split(",")) == {"id", "address"}


def test_a_user_alone_is_read_by_their_own_address(look_up: Open, source: FakeSource) -> None:
    source.respond = owners(range(1, 101))

    answers = look_up(noun=Noun.CARD).ask([7], SECONDS)

    assert answers == Answers(records={7: CardRecord("0007", "Visa", 5, 2028)})
    ((path, query),) = source.requests
    assert path == "/users/7"
    assert set(query["select"].split(",")) == {"id", "bank"}


def test_users_far_from_each_other_are_read_one_by_one(look_up: Open, source: FakeSource) -> None:
    source.respond = owners(range(1, 101))

    answers = look_up().ask([5, 50, 95], SECONDS)

    assert answers == Answers(records=addresses([5, 50, 95]))
    assert sorted(path for path, _ in source.requests) == ["/users/5", "/users/50", "/users/95"]


def test_each_user_gets_their_own_record_in_whatever_order_they_are_asked_for(
    look_up: Open, source: FakeSource
) -> None:
    source.respond = owners(range(1, 101))

    answers, _ = ask_for_all(look_up(), [14, 3, 99, 11, 3, 12, 40, 1, 2])

    assert answers.records == addresses([1, 2, 3, 11, 12, 14, 40, 99])


def test_many_users_take_a_request_a_page(look_up: Open, source: FakeSource) -> None:
    source.respond = owners(range(1, 101))

    answers, _ = ask_for_all(look_up(), range(1, 101))

    assert answers == Answers(records=addresses(range(1, 101)))
    assert len(source.requests) == 10


def test_gaps_in_the_ids_cost_few_requests_more(look_up: Open, source: FakeSource) -> None:
    numbers = [number for number in range(1, 120) if number % 7 and not 40 <= number < 60]
    source.respond = owners(numbers)

    answers, _ = ask_for_all(look_up(), numbers)

    assert answers == Answers(records=addresses(numbers))
    assert len(source.requests) < len(numbers) / 2


@pytest.mark.parametrize("count", [30, 2000])
def test_ids_that_begin_at_1001_are_read_from_pages_too(look_up: Open, source: FakeSource, count: int) -> None:
    source.respond = owners(range(1001, 1001 + count))

    answers, _ = ask_for_all(look_up(), range(1001, 1031))

    assert answers == Answers(records=addresses(range(1001, 1031)))
    assert len(source.requests) < 15


@pytest.mark.parametrize("step", [7, -1], ids=["shuffled", "backwards"])
def test_a_collection_in_another_order_gives_each_user_their_own_record(
    look_up: Open, source: FakeSource, step: int
) -> None:
    order = [1 + (index * step) % 50 for index in range(50)]

    def respond(path: str, query: Query) -> Answer:
        last = path.rsplit("/", 1)[1]
        if last.isdigit():
            return Answer(owner(int(last)))
        skip, limit = int(query["skip"]), int(query["limit"])
        page = [owner(number) for number in order[skip : skip + limit]]
        return Answer({"users": page, "total": 50, "skip": skip, "limit": len(page)})

    source.respond = respond

    answers, _ = ask_for_all(look_up(), range(1, 51))

    assert answers == Answers(records=addresses(range(1, 51)))
    assert len(source.requests) <= 2 * 50


def test_a_source_that_ignores_paging_answers_for_the_others_one_by_one(look_up: Open, source: FakeSource) -> None:
    page = payload("dummyjson-repeated-page")
    singles = owners(range(4, 21))
    source.respond = lambda path, query: Answer(page) if path == "/users" else singles(path, query)

    answers, _ = ask_for_all(look_up(), range(1, 21))

    assert {number: record.street for number, record in answers.records.items() if number <= 3} == {
        1: "1 Round Street",
        2: "2 Round Street",
        3: "3 Round Street",
    }
    assert {number: record for number, record in answers.records.items() if number > 3} == addresses(range(4, 21))
    assert len(source.requests) <= 2 * 20


def test_a_page_may_hold_what_is_no_record(look_up: Open, source: FakeSource) -> None:
    odd = [None, [owner(2)], CARD, {"id": None}, {"id": [1]}, {"address": owner(2)["address"]}, {"id": 10**30}]
    singles = owners([1, 2, 3])
    source.respond = lambda path, query: (
        Answer({"users": [owner(1), *odd, owner(3)]}) if path == "/users" else singles(path, query)
    )

    answers, _ = ask_for_all(look_up(), [1, 2, 3])

    assert answers == Answers(records=addresses([1, 2, 3]))


# JSONPlaceholder


def test_jsonplaceholders_whole_list_answers_for_everybody_at_once(look_up: Open, source: FakeSource) -> None:
    source.answer(payload("jsonplaceholder-users"))

    answers = look_up("jsonplaceholder").ask([1, 2, 10, 11, 12_345], SECONDS)

    assert {number: record.city for number, record in answers.records.items()} == {
        1: "Gwenborough",
        2: "Wisokyburgh",
        10: "Lebsackbury",
    }
    assert (answers.missing, answers.bad, answers.failure) == ({11, 12_345}, {}, None)
    assert len(source.requests) == 1


def test_coordinates_that_are_none_spoil_their_own_record_alone(look_up: Open, source: FakeSource) -> None:
    source.answer([*payload("jsonplaceholder-coordinates-that-are-none"), {**owner(24), "address": {"city": "Oslo"}}])

    answers = look_up("jsonplaceholder").ask([21, 22, 23, 24], SECONDS)

    assert answers.records == {24: AddressRecord(city="Oslo")}
    assert answers.bad.keys() == {21, 22, 23}
    assert answers.bad[21].startswith("address.geo.lat: ")
    assert not [reason for reason in answers.bad.values() if "8765" in reason or "north" in reason]


def test_ids_that_are_texts_are_ids(look_up: Open, source: FakeSource) -> None:
    source.answer(payload("jsonplaceholder-ids-as-strings"))

    answers = look_up("jsonplaceholder").ask([1, 2, 3], SECONDS)

    assert {number: record.street for number, record in answers.records.items()} == {
        1: "1 String Street",
        2: "2 String Street",
        3: "3 String Street",
    }


# Users that the source does not have, or answers badly


def test_users_that_the_source_does_not_have_are_missing(look_up: Open, source: FakeSource) -> None:
    source.respond = owners([1, 2, 4, 5])

    answers, _ = ask_for_all(look_up(), [1, 2, 3, 4, 5, 900])

    assert answers == Answers(records=addresses([1, 2, 4, 5]), missing={3, 900})


def test_users_without_the_wanted_block_are_missing(look_up: Open, source: FakeSource) -> None:
    users = owners([1, 2, 3, 50])
    users.users[2] = {**payload("dummyjson-blocks-of-nulls"), "id": 2}
    users.users[50] = {"id": 50, "firstName": "Nobody", "address": None}
    source.respond = users

    answers, _ = ask_for_all(look_up(), [1, 2, 3, 50])

    assert answers == Answers(records=addresses([1, 3]), missing={2, 50})


def test_a_record_that_cannot_be_used_is_bad_and_the_others_on_its_page_are_kept(
    look_up: Open, source: FakeSource
) -> None:
    users = owners(range(1, 11))
    users.users[4]["bank"]["cardNumber"] = "4556-7375-8689-98XY"
    source.respond = users

    answers = look_up(noun=Noun.CARD).ask(list(range(1, 11)), SECONDS)

    assert answers.records.keys() == set(range(1, 11)) - {4}
    assert answers.bad == {4: "bank.cardNumber: Value error, is not a card number of 12 to 19 digits"}
    assert answers.failure is None
    assert len(source.requests) == 1


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        (BROKEN, "answered 500"),
        (Answer(HTML, content_type="text/html"), "it is HTML"),
        (Answer(b'{"cardNumber": "' + CARD.encode()), "is not JSON"),
        (Answer([1, 2]), "record: "),
        (Answer(CARD), "record: "),
    ],
    ids=["500", "HTML", "truncated", "list", "text"],
)
def test_one_spoiled_record_does_not_cost_the_others_on_its_page(
    look_up: Open, source: FakeSource, spoiled: Answer, reason: str
) -> None:
    users = owners(range(1, 11))
    users.spoiled = {6: spoiled}
    source.respond = users

    answers, _ = ask_for_all(look_up(), range(1, 11))

    assert answers.records == addresses(set(range(1, 11)) - {6})
    assert answers.bad.keys() == {6}
    assert reason in answers.bad[6]
    assert CARD not in answers.bad[6]
    assert not answers.missing
    assert len(source.requests) <= 12


@pytest.mark.parametrize("page", [HTML, b"[", b"{}", b'{"users": 1}', b""], ids=repr)
def test_pages_that_cannot_be_read_leave_the_users_own_addresses(
    look_up: Open, source: FakeSource, page: bytes
) -> None:
    singles = owners(range(1, 11))
    source.respond = lambda path, query: Answer(page) if path == "/users" else singles(path, query)

    answers, _ = ask_for_all(look_up(), range(1, 11))

    assert answers == Answers(records=addresses(range(1, 11)))


def test_an_answer_about_somebody_else_is_nobodys_record(look_up: Open, source: FakeSource) -> None:
    source.answer(owner(99))

    answers = look_up().ask([7], SECONDS)

    assert not answers.records


@pytest.mark.parametrize(
    "body",
    [{"message": "not today"}, {}, {"users": [], "total": 0, "skip": 0, "limit": 0}],
    ids=["message", "empty object", "page"],
)
def test_an_answer_that_is_nobodys_record_is_bad_and_not_a_user_without_an_address(
    look_up: Open, source: FakeSource, body: Any
) -> None:
    source.answer(body)

    answers = look_up().ask([7], SECONDS)

    assert answers.bad.keys() == {7}
    assert not answers.missing


def test_nonsense_for_everybody_is_a_failure_of_the_source(look_up: Open, source: FakeSource) -> None:
    source.answer(HTML, content_type="text/html")

    answers = look_up().ask(list(range(1, 6)), SECONDS)

    assert answers.bad.keys() == set(range(1, 6))
    assert not answers.records
    assert isinstance(answers.failure, ProviderError)
    assert not isinstance(answers.failure, ProviderUnavailable)
    assert "none of 5 answers could be used" in str(answers.failure)
    assert "4556-7375" not in everything_about(answers.failure)


def test_an_address_where_nothing_is_does_not_make_everybody_missing(look_up: Open, source: FakeSource) -> None:
    source.answer(HTML, status=404, content_type="text/html")

    with pytest.raises(ProviderError):
        look_up().ask(list(range(1, 6)), SECONDS)


# A source that throttles, is broken, or refuses


def test_answers_before_the_throttling_are_kept(look_up: Open, source: FakeSource) -> None:
    source.respond = interrupted(owners(range(1, 1000)), after=6, by=THROTTLED)

    answers = look_up().ask([20 * number for number in range(1, 20)], SECONDS)

    assert len(answers.records) == 6
    assert answers.records == addresses(answers.records)
    assert (answers.missing, answers.bad) == (set(), {})
    assert isinstance(answers.failure, ProviderUnavailable)
    assert answers.failure.throttled
    assert answers.failure.retry_after == 10
    assert len(source.requests) <= 8


def test_pages_before_the_throttling_are_kept(look_up: Open, source: FakeSource) -> None:
    source.respond = interrupted(owners(range(1, 1000)), after=2, by=THROTTLED)

    answers = look_up().ask(list(range(1, 51)), SECONDS)

    assert answers.records == addresses(range(1, 21))
    assert (answers.missing, answers.bad) == (set(), {})
    assert isinstance(answers.failure, ProviderUnavailable)
    assert answers.failure.throttled
    assert answers.failure.retry_after == 10
    assert len(source.requests) == 3


def test_pages_before_the_throttling_of_single_records_are_kept(look_up: Open, source: FakeSource) -> None:
    source.respond = interrupted(owners(range(1, 1000)), after=1, by=THROTTLED)

    answers = look_up().ask([*range(1, 11), 100, 200, 300], SECONDS)

    assert answers.records == addresses(range(1, 11))
    assert (answers.missing, answers.bad) == (set(), {})
    assert isinstance(answers.failure, ProviderUnavailable)
    assert answers.failure.throttled


@pytest.mark.parametrize("numbers", [[7], [7, 8, 9], [5, 50, 95], list(range(1, 41))])
def test_a_source_that_throttles_from_the_start_says_so(look_up: Open, source: FakeSource, numbers: list[int]) -> None:
    source.respond = lambda path, query: THROTTLED

    with pytest.raises(ProviderUnavailable) as caught:
        look_up().ask(numbers, SECONDS)

    assert caught.value.throttled
    assert caught.value.retry_after == 10
    assert len(source.requests) <= 4


@pytest.mark.parametrize("numbers", [[7], [7, 8, 9], [5, 50, 95], list(range(1, 41))])
def test_a_source_that_is_broken_for_everybody_is_unavailable(
    look_up: Open, source: FakeSource, numbers: list[int]
) -> None:
    source.respond = lambda path, query: BROKEN

    with pytest.raises(ProviderUnavailable) as caught:
        look_up().ask(numbers, SECONDS)

    assert not caught.value.throttled
    assert CARD not in everything_about(caught.value)
    assert len(source.requests) <= 6


def test_a_source_out_of_reach_is_unavailable(look_up: Open, source: FakeSource) -> None:
    lookup = look_up()
    source.close()

    with pytest.raises(ProviderUnavailable):
        lookup.ask([1, 2, 3, 50], SECONDS)


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("numbers", [[7], [7, 8, 9]])
def test_a_source_that_refuses_is_not_asked_for_the_others(
    look_up: Open, source: FakeSource, status: int, numbers: list[int]
) -> None:
    source.answer({"message": "go away"}, status=status)

    with pytest.raises(ProviderRefused):
        look_up().ask(numbers, SECONDS)

    # The second one asks for nobody, to find out who is refused.
    assert len(source.requests) == 2
    assert source.requests[1] == ("/users", {"limit": "1", "skip": "0", "select": "id"})


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("numbers", [range(1, 11), range(20, 201, 20)], ids=["on a page", "one by one"])
def test_a_user_who_is_refused_does_not_cost_the_others(
    look_up: Open, source: FakeSource, status: int, numbers: range
) -> None:
    users = owners(range(1, 201))
    users.spoiled[numbers[0]] = Answer({"message": "private"}, status=status)
    source.respond = lambda path, query: (
        users.spoiled[numbers[0]] if query.get("skip") == "0" and query["limit"] == "10" else users(path, query)
    )

    answers, _ = ask_for_all(look_up(), numbers)

    assert answers.records == addresses(numbers[1:])
    assert answers.bad.keys() == {numbers[0]}
    assert f"answered {status}" in answers.bad[numbers[0]]


def test_users_who_are_all_refused_by_a_source_that_answers_others_are_bad(look_up: Open, source: FakeSource) -> None:
    users = owners(range(1, 201))
    users.spoiled = {number: Answer({"message": "private"}, status=403) for number in (20, 60, 100, 140, 180)}
    source.respond = users

    answers = look_up().ask(list(users.spoiled), SECONDS)

    assert answers.bad.keys() == users.spoiled.keys()
    assert "none of 5 answers could be used" in str(answers.failure)


def test_answers_before_the_source_refuses_everybody_are_kept_and_nobody_is_blamed(
    look_up: Open, source: FakeSource
) -> None:
    refusal = Answer({"message": "your key has expired"}, status=401)
    source.respond = interrupted(owners(range(1, 1000)), after=6, by=refusal)

    answers = look_up().ask([20 * number for number in range(1, 20)], SECONDS)

    assert answers.records == addresses(answers.records)
    assert len(answers.records) == 6
    assert (answers.missing, answers.bad) == (set(), {})
    assert isinstance(answers.failure, ProviderRefused)
    assert len(source.requests) == 9


def test_a_source_that_refuses_everybody_after_one_user_blames_that_user_alone(
    look_up: Open, source: FakeSource
) -> None:
    users = owners(range(1, 1000))
    users.spoiled[20] = Answer({"message": "private"}, status=403)
    source.respond = interrupted(users, after=10, by=Answer({"message": "your key has expired"}, status=401))

    answers = look_up().ask([20 * number for number in range(1, 40)], SECONDS)

    assert answers.bad.keys() == {20}
    assert isinstance(answers.failure, ProviderRefused)


def test_when_the_time_is_over_somebody_is_answered_and_the_others_wait(look_up: Open, source: FakeSource) -> None:
    source.respond = owners(range(1, 1000))

    answers = look_up().ask([20 * number for number in range(1, 41)], 0)

    assert 1 <= len(answers.records) <= 4
    assert answers.records == addresses(answers.records)
    assert (answers.missing, answers.bad, answers.failure) == (set(), {}, None)


def test_when_the_time_is_over_no_further_page_is_read(look_up: Open, source: FakeSource) -> None:
    source.respond = owners(range(1, 1000))

    answers = look_up().ask(list(range(1, 101)), 0)

    assert answers.records == addresses(range(1, 11))
    assert len(source.requests) == 1


# Pools


@pytest.mark.parametrize(
    ("name", "noun", "record"),
    [
        (
            "random-data-api-v2-addresses-single",
            Noun.ADDRESS,
            AddressRecord(
                "27850 Lucien Locks Apt. 823",
                "New Stromanfurt",
                "Idaho",
                "96262",
                "Tuvalu",
                88.6461455468282,
                -109.1583096102311,
            ),
        ),
        ("random-data-api-v1-stripe-single", Noun.CARD, CardRecord("0505", "jcb", 1, 2029)),
    ],
)
def test_one_record_is_drawn_as_an_object(
    look_up: Open, source: FakeSource, name: str, noun: Noun, record: AddressRecord | CardRecord
) -> None:
    source.answer(payload(name))

    answers = look_up("random_data_api", noun).ask([77], SECONDS)

    assert answers == Answers(records={77: record}, rejected=[])
    assert source.requests == [("/users", {"size": "1"})]


def test_several_records_are_drawn_for_as_many_users(look_up: Open, source: FakeSource) -> None:
    source.answer(payload("random-data-api-v2-credit_cards-size5"))

    answers = look_up("random_data_api", Noun.CARD).ask([5, 4, 3, 2, 1], SECONDS)

    assert {number: record.last4 for number, record in answers.records.items()} == {
        5: "1234",
        4: "1211",
        3: "1431",
        2: "1234",
        1: "2201",
    }
    assert source.requests == [("/users", {"size": "5"})]


def test_no_more_than_a_hundred_are_drawn_at_once(look_up: Open, source: FakeSource) -> None:
    card = payload("random-data-api-v2-credit_cards-single")
    source.respond = lambda path, query: Answer([card] * int(query["size"]))

    answers, times = ask_for_all(look_up("random_data_api", Noun.CARD), range(1, 251))

    assert answers.records.keys() == set(range(1, 251))
    assert times == 3
    assert [query["size"] for _, query in source.requests] == ["100", "100", "50"]


def test_more_records_than_were_drawn_are_nobodys(look_up: Open, source: FakeSource) -> None:
    source.answer(payload("random-data-api-v2-credit_cards-size5"))

    answers = look_up("random_data_api", Noun.CARD).ask([1, 2], SECONDS)

    assert answers.records.keys() == {1, 2}


def test_users_for_whom_too_few_were_drawn_wait_for_the_next_draw(look_up: Open, source: FakeSource) -> None:
    source.answer(payload("random-data-api-v2-credit_cards-size5"))

    answers = look_up("random_data_api", Noun.CARD).ask(list(range(1, 9)), SECONDS)

    assert answers.records.keys() == {1, 2, 3, 4, 5}
    assert (answers.missing, answers.bad, answers.failure) == (set(), {}, None)


def test_records_of_no_use_are_rejected_and_no_user_is_blamed(look_up: Open, source: FakeSource) -> None:
    good = payload("random-data-api-v2-credit_cards-size5")
    source.answer([payload("card-numbers-that-are-none")[0], *good[:2], payload("card-numbers-that-are-none")[1]])

    answers = look_up("random_data_api", Noun.CARD).ask([1, 2, 3, 4], SECONDS)

    assert {number: record.last4 for number, record in answers.records.items()} == {1: "1234", 2: "1211"}
    assert [rejected.external_id for rejected in answers.rejected] == ["1", "2"]
    assert not [rejected for rejected in answers.rejected if "4556" in str(rejected)]
    assert (answers.missing, answers.bad, answers.failure) == (set(), {}, None)


@pytest.mark.parametrize(
    ("name", "noun", "reason"),
    [
        ("card-numbers-that-are-none", Noun.CARD, "credit_card_number: "),
        ("random-data-api-v2-users-single", Noun.ADDRESS, "street_address: "),
        ("random-data-api-v2-addresses-size5", Noun.CARD, "credit_card_number: "),
        ("random-data-api-address-of-nulls", Noun.ADDRESS, ""),
        ("empty-list", Noun.CARD, "gave none"),
    ],
)
def test_a_draw_of_which_nothing_can_be_used_is_an_error(
    look_up: Open, source: FakeSource, name: str, noun: Noun, reason: str
) -> None:
    source.answer(payload(name))

    with pytest.raises(ProviderError, match="random-data-api gave no record that can be used") as caught:
        look_up("random_data_api", noun).ask([1, 2, 3, 4, 5, 6, 7, 8, 9], SECONDS)

    assert reason in str(caught.value)
    assert not isinstance(caught.value, ProviderUnavailable)
    assert "4556" not in everything_about(caught.value)


@pytest.mark.parametrize("body", [[1], ["4556-7375-8689-9855"], [None], [[]], None, "4556-7375-8689-9855", 1])
def test_a_draw_of_another_shape_is_an_error(look_up: Open, source: FakeSource, body: Any) -> None:
    source.answer(body)

    with pytest.raises(ProviderError, match="not a list of records") as caught:
        look_up("random_data_api", Noun.CARD).ask([1, 2], SECONDS)

    assert "4556-7375" not in everything_about(caught.value)


@pytest.mark.parametrize(("answer", "throttled"), [(BROKEN, False), (THROTTLED, True)])
def test_a_pool_that_is_out_of_order_is_unavailable(
    look_up: Open, source: FakeSource, answer: Answer, throttled: bool
) -> None:
    source.respond = lambda path, query: answer

    with pytest.raises(ProviderUnavailable) as caught:
        look_up("random_data_api", Noun.CARD).ask([1, 2], SECONDS)

    assert caught.value.throttled == throttled


def test_a_pool_has_no_users(look_up: Open) -> None:
    with pytest.raises(ProviderError, match="random-data-api has no users"):
        look_up("random_data_api", Noun.USER)
