"""From what the sources send to our records, field by field, by the samples in payloads/."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from app.models import Address, User
from app.providers import dummyjson, jsonplaceholder, random_data_api
from app.providers.source import Mapper, Noun, RecordError, Source
from app.records import AddressRecord, CardRecord, UserRecord
from tests.conftest import PAYLOADS
from tests.test_http import everything_about

DUMMYJSON = dummyjson.SOURCE
JSONPLACEHOLDER = jsonplaceholder.SOURCE
RANDOM_DATA_API = random_data_api.SOURCE
MAPPERS = [
    pytest.param(mapper, id=f"{source.name}-{noun.name.lower()}")
    for source in (DUMMYJSON, JSONPLACEHOLDER, RANDOM_DATA_API)
    for noun, mapper in source.mappers.items()
]


def payload(name: str) -> Any:
    return from_json((PAYLOADS / f"{name}.json").read_bytes())


def items(name: str) -> list[Any]:
    """The records of a sample, be it one object, a list, or DummyJSON's envelope."""
    body = payload(name)
    if isinstance(body, dict):
        return body.get("users", [body])
    return body


def read(source: Source, noun: Noun, item: Any) -> Any:
    return source.mapper(noun).read(item)


def outcome(mapper: Mapper[Any, Any], item: Any) -> tuple[Any, RecordError | None]:
    """The record, or the error that it is refused with."""
    try:
        return mapper.read(item), None
    except RecordError as error:
        return None, error


def fault(source: Source, noun: Noun, item: Any) -> str:
    """Why the record is refused, once it is sure that nothing of the record is told with it."""
    with pytest.raises(RecordError) as caught:
        read(source, noun, item)
    told = everything_about(caught.value)
    quoted = [value for value in values(item) if value in told]
    assert quoted == []
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


def values(item: Any) -> set[str]:
    """What a record holds, as text; short values are left out, since any sentence may hold them by chance."""
    if isinstance(item, dict):
        return set().union(*map(values, item.values()))
    if isinstance(item, list):
        return set().union(*map(values, item))
    text = str(item)
    return {part for part in (text, text.replace("-", ""), *re.findall(r"\w+", text)) if len(part) >= 5}


# DummyJSON


def test_a_dummyjson_user_is_read_field_by_field() -> None:
    assert read(DUMMYJSON, Noun.USER, payload("dummyjson-user-1")) == UserRecord(
        external_id=1,
        name="Emily Johnson",
        username="emilys",
        email="emily.johnson@x.dummyjson.com",
        phone="+81 965-431-3024",
        website=None,
        company_name="Dooley, Kozey and Cronin",
    )


def test_a_dummyjson_address_is_read_field_by_field() -> None:
    assert read(DUMMYJSON, Noun.ADDRESS, payload("dummyjson-user-1")) == AddressRecord(
        street="626 Main Street",
        city="Phoenix",
        state="Mississippi",
        postal_code="29112",
        country="United States",
        lat=-77.16213,
        lng=-92.084824,
    )


def test_a_dummyjson_card_is_read_field_by_field() -> None:
    assert read(DUMMYJSON, Noun.CARD, payload("dummyjson-user-1")) == CardRecord(
        last4="5044", brand="Diners Club International", exp_month=5, exp_year=2028
    )


def test_a_dummyjson_page_is_read_record_by_record() -> None:
    page = items("dummyjson-users-page1")

    assert [read(DUMMYJSON, Noun.USER, item) for item in page] == [
        UserRecord(
            external_id=item["id"],
            name=f"{item['firstName']} {item['lastName']}",
            username=item["username"],
            email=item["email"],
            phone=item["phone"],
            company_name=item["company"]["name"],
        )
        for item in page
    ]
    assert [read(DUMMYJSON, Noun.ADDRESS, item) for item in page] == [
        AddressRecord(
            street=item["address"]["address"],
            city=item["address"]["city"],
            state=item["address"]["state"],
            postal_code=item["address"]["postalCode"],
            country=item["address"]["country"],
            lat=item["address"]["coordinates"]["lat"],
            lng=item["address"]["coordinates"]["lng"],
        )
        for item in page
    ]
    assert [read(DUMMYJSON, Noun.CARD, item) for item in page] == [
        CardRecord(
            last4=item["bank"]["cardNumber"][-4:],
            brand=item["bank"]["cardType"],
            exp_month=int(item["bank"]["cardExpire"][:2]),
            exp_year=2000 + int(item["bank"]["cardExpire"][3:]),
        )
        for item in page
    ]


@pytest.mark.parametrize("noun", [Noun.USER, Noun.ADDRESS, Noun.CARD])
def test_the_fields_that_dummyjson_is_asked_for_are_all_that_is_read(noun: Noun) -> None:
    whole = payload("dummyjson-user-1")
    selected = {name: whole[name] for name in ("id", *DUMMYJSON.mapper(noun).select)}

    assert read(DUMMYJSON, noun, selected) == read(DUMMYJSON, noun, whole)
    assert not {"password", "ssn", "crypto", "ein"} & selected.keys()


def test_coordinates_may_be_texts_at_dummyjson() -> None:
    address = read(DUMMYJSON, Noun.ADDRESS, payload("dummyjson-string-coordinates"))

    assert (address.lat, address.lng) == (-77.16213, 92.5)


# JSONPlaceholder


def test_a_jsonplaceholder_user_is_read_field_by_field() -> None:
    assert read(JSONPLACEHOLDER, Noun.USER, payload("jsonplaceholder-users")[0]) == UserRecord(
        external_id=1,
        name="Leanne Graham",
        username="Bret",
        email="Sincere@april.biz",
        phone="1-770-736-8031 x56442",
        website="hildegard.org",
        company_name="Romaguera-Crona",
    )


def test_a_jsonplaceholder_address_is_read_field_by_field_from_texts() -> None:
    assert read(JSONPLACEHOLDER, Noun.ADDRESS, payload("jsonplaceholder-users")[0]) == AddressRecord(
        street="Kulas Light Apt. 556",
        city="Gwenborough",
        state=None,
        postal_code="92998-3874",
        country=None,
        lat=-37.3159,
        lng=81.1496,
    )


def test_all_of_jsonplaceholders_list_is_read() -> None:
    users = payload("jsonplaceholder-users")

    assert [read(JSONPLACEHOLDER, Noun.USER, user) for user in users] == [
        UserRecord(
            external_id=user["id"],
            name=user["name"],
            username=user["username"],
            email=user["email"],
            phone=user["phone"],
            website=user["website"],
            company_name=user["company"]["name"],
        )
        for user in users
    ]
    assert [read(JSONPLACEHOLDER, Noun.ADDRESS, user) for user in users] == [
        AddressRecord(
            street=f"{user['address']['street']} {user['address']['suite']}",
            city=user["address"]["city"],
            postal_code=user["address"]["zipcode"],
            lat=float(user["address"]["geo"]["lat"]),
            lng=float(user["address"]["geo"]["lng"]),
        )
        for user in users
    ]


def test_numbers_where_texts_were_due_are_texts() -> None:
    (user,) = payload("jsonplaceholder-numbers-for-text")

    assert read(JSONPLACEHOLDER, Noun.USER, user) == UserRecord(1, "Post Code", username="12345", phone="5550100")
    assert read(JSONPLACEHOLDER, Noun.ADDRESS, user) == AddressRecord(street="Long Street 7", postal_code="92998")


# random-data-api


def test_an_address_of_version_1_is_read_field_by_field() -> None:
    assert read(RANDOM_DATA_API, Noun.ADDRESS, payload("random-data-api-v1-address-single")) == AddressRecord(
        street="78732 Dino Junctions Apt. 145",
        city="New DAmorehaven",
        state="Rhode Island",
        postal_code="57124",
        country="Tuvalu",
        lat=-62.404509765929,
        lng=53.2248233634861,
    )


def test_an_address_of_version_2_is_read_field_by_field() -> None:
    assert read(RANDOM_DATA_API, Noun.ADDRESS, payload("random-data-api-v2-addresses-single")) == AddressRecord(
        street="27850 Lucien Locks Apt. 823",
        city="New Stromanfurt",
        state="Idaho",
        postal_code="96262",
        country="Tuvalu",
        lat=88.6461455468282,
        lng=-109.1583096102311,
    )


@pytest.mark.parametrize("name", ["random-data-api-v1-address-size5", "random-data-api-v2-addresses-size5"])
def test_a_list_of_addresses_is_read_record_by_record(name: str) -> None:
    addresses = payload(name)

    assert len(addresses) == 5
    assert [read(RANDOM_DATA_API, Noun.ADDRESS, address) for address in addresses] == [
        AddressRecord(
            street=f"{address['street_address']} {address['secondary_address']}",
            city=address["city"],
            state=address["state"],
            postal_code=address["zip_code"],
            country=address["country"],
            lat=address["latitude"],
            lng=address["longitude"],
        )
        for address in addresses
    ]


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("random-data-api-v1-business-credit-card-single", CardRecord("2201", "diners_club", 11, 2027)),
        ("random-data-api-v2-credit_cards-single", CardRecord("1211", "visa", 11, 2027)),
        ("random-data-api-v1-stripe-single", CardRecord("0505", "jcb", 1, 2029)),
    ],
)
def test_a_card_is_read_field_by_field(name: str, card: CardRecord) -> None:
    assert read(RANDOM_DATA_API, Noun.CARD, payload(name)) == card


@pytest.mark.parametrize(
    "name", ["random-data-api-v1-business-credit-card-size5", "random-data-api-v2-credit_cards-size5"]
)
def test_a_list_of_cards_is_read_record_by_record(name: str) -> None:
    cards = payload(name)

    assert len(cards) == 5
    assert [read(RANDOM_DATA_API, Noun.CARD, card) for card in cards] == [
        CardRecord(
            last4=card["credit_card_number"][-4:],
            brand=card["credit_card_type"],
            exp_month=int(card["credit_card_expiry_date"][5:7]),
            exp_year=int(card["credit_card_expiry_date"][:4]),
        )
        for card in cards
    ]


def test_a_list_of_stripe_cards_is_read_record_by_record() -> None:
    cards = payload("random-data-api-v1-stripe-size5")

    assert [read(RANDOM_DATA_API, Noun.CARD, card) for card in cards] == [
        CardRecord(card["valid_card"][-4:], brand, int(card["month"]), int(card["year"]))
        for card, brand in zip(
            cards, ["diners_club", "visa", "discover", "diners_club", "american_express"], strict=True
        )
    ]


def test_the_brand_is_told_from_the_number_where_the_source_does_not_name_it() -> None:
    cards = [read(RANDOM_DATA_API, Noun.CARD, card) for card in payload("random-data-api-cards-of-all-shapes")]

    assert [(card.last4, card.brand) for card in cards] == [
        ("4242", "visa"),
        ("4444", "mastercard"),
        ("3222", "mastercard"),
        ("0005", "american_express"),
        ("1667", "diners_club"),
        ("1117", "discover"),
        ("0505", "jcb"),
        ("0005", "unionpay"),
        ("9995", None),
        ("5556", "visa"),
        ("1117", "discover"),
    ]


def test_one_record_comes_as_an_object_and_several_as_a_list() -> None:
    single = payload("random-data-api-v2-addresses-single")

    assert RANDOM_DATA_API.unwrap(single) == [single]
    assert RANDOM_DATA_API.unwrap([single, single]) == [single, single]


# Odd, but of use


def test_blocks_that_are_missing_leave_their_fields_empty() -> None:
    user = payload("dummyjson-missing-blocks")

    assert read(DUMMYJSON, Noun.USER, user) == UserRecord(7, "Only")
    assert read(DUMMYJSON, Noun.ADDRESS, user) is None
    assert read(DUMMYJSON, Noun.CARD, user) is None


def test_blocks_that_are_null_are_missing() -> None:
    user = payload("dummyjson-nulls")

    assert read(DUMMYJSON, Noun.USER, user) == UserRecord(8, "Nora")
    assert read(DUMMYJSON, Noun.ADDRESS, user) is None
    assert read(DUMMYJSON, Noun.CARD, user) is None


def test_nulls_inside_of_blocks_leave_their_fields_empty() -> None:
    user = payload("dummyjson-nulls-in-blocks")

    assert read(DUMMYJSON, Noun.USER, user) == UserRecord(9, "Nils")
    assert read(DUMMYJSON, Noun.ADDRESS, user) == AddressRecord(city="Oslo")
    assert read(DUMMYJSON, Noun.CARD, user) == CardRecord("9855", "visa")


@pytest.mark.parametrize("noun", [Noun.ADDRESS, Noun.CARD])
def test_a_block_of_nothing_but_nulls_is_no_record(noun: Noun) -> None:
    assert read(DUMMYJSON, noun, payload("dummyjson-blocks-of-nulls")) is None


def test_a_random_address_of_nothing_but_nulls_is_no_record() -> None:
    record, _ = outcome(RANDOM_DATA_API.mapper(Noun.ADDRESS), payload("random-data-api-address-of-nulls"))

    assert record is None


def test_fields_that_nobody_knows_are_dropped() -> None:
    user = payload("dummyjson-unknown-fields")

    assert read(DUMMYJSON, Noun.USER, user) == UserRecord(11, "Una Known", company_name="New Co")
    assert read(DUMMYJSON, Noun.ADDRESS, user) == AddressRecord(street="5 New Road", lat=1.5, lng=2.5)
    assert read(DUMMYJSON, Noun.CARD, user) == CardRecord("9855", "Visa", 5, 2028)


def test_names_and_emails_in_any_script_are_kept_as_they_are() -> None:
    for item in items("names-in-any-script"):
        user = read(DUMMYJSON, Noun.USER, item)

        assert user.name == f"{item['firstName']} {item['lastName']}"
        assert user.username == item["username"]
        assert user.email == item["email"]


@pytest.mark.parametrize(
    ("source", "name"),
    [(DUMMYJSON, "users-without-a-name"), (JSONPLACEHOLDER, "jsonplaceholder-user-without-a-name")],
)
def test_a_user_without_a_name_is_no_record_but_half_a_name_will_do(source: Source, name: str) -> None:
    users = [read(source, Noun.USER, item) for item in items(name)]

    assert [user and user.name for user in users] == [None, None, "Half"][: len(users)]


# Faults


@pytest.mark.parametrize(
    ("source", "noun", "name", "field"),
    [
        (DUMMYJSON, Noun.USER, "nul-characters", "firstName"),
        (DUMMYJSON, Noun.ADDRESS, "nul-characters", "address.address"),
        (JSONPLACEHOLDER, Noun.USER, "name-of-256-characters", "name"),
        (DUMMYJSON, Noun.USER, "blocks-of-another-type", "firstName"),
        (DUMMYJSON, Noun.USER, "blocks-of-another-type", "company"),
        (DUMMYJSON, Noun.ADDRESS, "blocks-of-another-type", "address"),
        (DUMMYJSON, Noun.CARD, "blocks-of-another-type", "bank"),
        (DUMMYJSON, Noun.CARD, "dummyjson-card-numbers-that-are-none", "bank.cardNumber"),
        (RANDOM_DATA_API, Noun.CARD, "card-numbers-that-are-none", "credit_card_number"),
        (DUMMYJSON, Noun.CARD, "dummyjson-card-expiries-that-are-none", "bank.cardExpire"),
        (RANDOM_DATA_API, Noun.CARD, "random-data-api-card-expiries-that-are-none", "credit_card_expiry_date"),
        (DUMMYJSON, Noun.ADDRESS, "dummyjson-coordinates-out-of-range", "address.coordinates.lat"),
        (DUMMYJSON, Noun.ADDRESS, "dummyjson-coordinates-out-of-range", "address.coordinates.lng"),
        (RANDOM_DATA_API, Noun.ADDRESS, "random-data-api-coordinates-out-of-range", "latitude"),
        (RANDOM_DATA_API, Noun.ADDRESS, "random-data-api-coordinates-out-of-range", "longitude"),
        (DUMMYJSON, Noun.USER, "ids-that-are-none", "id"),
        (RANDOM_DATA_API, Noun.ADDRESS, "random-data-api-v2-credit_cards-single", "street_address"),
        (RANDOM_DATA_API, Noun.CARD, "random-data-api-v2-addresses-single", "credit_card_number"),
        (RANDOM_DATA_API, Noun.ADDRESS, "random-data-api-v2-users-single", "street_address"),
        (RANDOM_DATA_API, Noun.CARD, "random-data-api-v2-users-single", "credit_card_number"),
    ],
)
def test_a_fault_is_told_by_its_field_and_never_by_its_value(source: Source, noun: Noun, name: str, field: str) -> None:
    records = items(name)

    assert records
    for item in records:
        assert f"{field}: " in fault(source, noun, item) or f"{field}." in fault(source, noun, item)


@pytest.mark.parametrize(("index", "field"), [(0, "address.geo.lat"), (1, "address.geo.lng"), (2, "address.geo.lat")])
def test_jsonplaceholders_coordinates_must_be_on_earth(index: int, field: str) -> None:
    item = payload("jsonplaceholder-coordinates-that-are-none")[index]

    assert fault(JSONPLACEHOLDER, Noun.ADDRESS, item).startswith(f"{field}: ")
    assert read(JSONPLACEHOLDER, Noun.USER, item).external_id == item["id"]


def test_a_stripe_expiry_must_be_a_month_of_a_year() -> None:
    cards = payload("random-data-api-stripe-expiries-that-are-none")

    assert [fault(RANDOM_DATA_API, Noun.CARD, card).partition(":")[0] for card in cards] == ["month", "year", "month"]


def test_an_id_must_fit_the_column_that_holds_it() -> None:
    *beyond, largest = items("ids-beyond-64-bits")

    for item in beyond:
        assert fault(DUMMYJSON, Noun.USER, item).startswith("id: ")
    with pytest.raises(RecordError, match=r"^id: "):
        read(DUMMYJSON, Noun.USER, {**largest, "id": 2**63})
    assert read(DUMMYJSON, Noun.USER, largest).external_id == 2**63 - 1


@pytest.mark.parametrize("extra", ["", "  "])
def test_a_name_of_255_characters_is_taken(extra: str) -> None:
    (item,) = payload("name-of-256-characters")

    assert read(JSONPLACEHOLDER, Noun.USER, {**item, "name": extra + "é" * 255}).name == "é" * 255


@pytest.mark.parametrize(
    ("source", "noun", "name", "column"),
    [
        (DUMMYJSON, Noun.USER, "names-too-long-together", User.__table__.c.name),
        (JSONPLACEHOLDER, Noun.ADDRESS, "street-too-long-together", Address.__table__.c.street),
    ],
)
def test_parts_that_are_too_long_together_do_not_overflow_the_column(
    source: Source, noun: Noun, name: str, column: Any
) -> None:
    (item,) = items(name)
    record, error = outcome(source.mapper(noun), item)

    assert error is None or not [value for value in values(item) if value in everything_about(error)]
    assert record is None or len(getattr(record, column.name)) <= column.type.length


@pytest.mark.parametrize("mapper", MAPPERS)
@pytest.mark.parametrize("item", [None, [], ["4556737586899855"], "4556737586899855", 4556737586899855, True])
def test_what_is_no_object_is_refused(mapper: Mapper[Any, Any], item: Any) -> None:
    with pytest.raises(RecordError) as caught:
        mapper.read(item)

    assert "4556737586899855" not in str(caught.value)


FIELDS = [
    *("id", "firstName", "lastName", "username", "email", "phone", "company", "name", "address", "city", "state"),
    *("postalCode", "country", "coordinates", "lat", "lng", "bank", "cardNumber", "cardType", "cardExpire"),
    *("website", "street", "suite", "zipcode", "geo", "street_address", "secondary_address", "zip_code", "latitude"),
    *("longitude", "credit_card_number", "valid_card", "credit_card_type", "credit_card_expiry_date", "month", "year"),
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**4000), 10**4000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300)
    | st.sampled_from(["05/28", "²/28", "2028-05-31", "4556-7375-8689-9855", "90", "\x00", " ", "1e400"])
)
KEYS = st.sampled_from(FIELDS) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=12), max_leaves=15
)
RECORDS = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, VALUES))


@pytest.mark.parametrize("mapper", MAPPERS)
@settings(deadline=None, max_examples=60, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=VALUES | RECORDS)
def test_any_json_gives_a_record_or_none_or_a_record_error(mapper: Mapper[Any, Any], value: Any) -> None:
    record, error = outcome(mapper, from_json(json.dumps(value), allow_inf_nan=False))

    assert error is None or (error.__cause__, error.__context__) == (None, None)
    assert record is None or isinstance(record, UserRecord | AddressRecord | CardRecord)
