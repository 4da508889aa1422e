"""CRON expressions mean what Celery means by them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from celery.schedules import crontab
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.utils.cron import Cron

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAYS = "sun mon tue wed thu fri sat".split()
MINUTE = timedelta(minutes=1)


def field(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    """One field of an expression: lists of stars, numbers, names and ranges, with and without steps."""
    numbers = st.integers(low, high)
    steps = st.integers(1, high).map(lambda step: f"/{step}")

    def spelled(number: int) -> st.SearchStrategy[str]:
        if names is None:
            return st.sampled_from([str(number), f"{number:02d}"])
        name = names[number - low]
        return st.sampled_from([str(number), name, name.upper(), name.title()])

    single = numbers.flatmap(spelled)
    bounds = st.tuples(numbers, numbers).map(sorted)
    ranges = bounds.flatmap(lambda pair: st.tuples(*map(spelled, pair)).map("-".join))
    stars = st.just("*")
    stepped = st.tuples(st.one_of(stars, ranges), steps).map("".join)
    return st.lists(st.one_of(stars, single, ranges, stepped), min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12, MONTHS), field(0, 6, DAYS)).map(" ".join)
START = datetime(2000, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 100 * 366 * 86_400).map(lambda second: START + timedelta(seconds=second))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def parse(text: str) -> Cron | None:
    """None for an expression that never comes, such as 31 February."""
    try:
        return Cron.parse(text)
    except ValueError as error:
        if "never comes" not in str(error):
            raise
        return None


def names_minute(cron: Cron, minute: datetime) -> bool:
    return (
        minute.minute in cron.minutes
        and minute.hour in cron.hours
        and minute.day in cron.days
        and minute.month in cron.months
        and minute.isoweekday() % 7 in cron.weekdays
    )


@examples(max_examples=150, deadline=None)
@given(EXPRESSIONS)
def test_every_valid_expression_names_the_minutes_that_celery_names(text: str) -> None:
    cron = parse(text)
    if cron is None:
        return

    minute, hour, day, month, weekday = text.split()
    celery = crontab(minute, hour, weekday, day, month)

    assert cron.minutes == celery.minute
    assert cron.hours == celery.hour
    assert cron.days == celery.day_of_month
    assert cron.months == celery.month_of_year
    assert cron.weekdays == celery.day_of_week


@examples(max_examples=100, deadline=None)
@given(st.text(alphabet="0123456789*/-, monjaFRI٣", max_size=14))
def test_whatever_is_taken_is_understood_by_celery_in_the_same_way(minute: str) -> None:
    try:
        cron = Cron.parse(f"{minute} * * * *")
    except ValueError:
        return

    assert crontab(minute.strip()).minute == cron.minutes


@pytest.mark.parametrize(
    "text", ["5/10 * * * *", "* 5/10 * * *", "* * 5/10 * *", "* * * jan/2 *", "* * * 2/2 *", "* * * * mon/2"]
)
def test_a_step_needs_a_star_or_a_range_as_in_celery(text: str) -> None:
    with pytest.raises(ValueError, match="/"):
        Cron.parse(text)


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 30,31 feb *", "0 0 31 4,6,9,11 *"])
def test_an_expression_that_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="never comes"):
        Cron.parse(text)


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 29 2 0", "0 0 29 2 6", "0 0 13 * 5", "59 23 31 12 *"])
def test_an_expression_that_comes_seldom_is_taken(text: str) -> None:
    assert str(Cron.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "moment", "previous"),
    [
        ("* * * * *", "2026-11-24T00:00:59.999999", "2026-11-24T00:00"),
        ("*/15 * * * *", "2026-11-24T10:14:59", "2026-11-24T10:00"),
        ("*/15 * * * *", "2026-11-24T10:15:00", "2026-11-24T10:15"),
        ("59 23 * * *", "2026-11-24T00:00:00", "2026-11-23T23:59"),
        ("30 5,17 * * *", "2026-11-24T05:29:00", "2026-11-23T17:30"),
        ("30 5,17 * * *", "2026-11-24T06:10:00", "2026-11-24T05:30"),
        ("0,50 9,10 * * *", "2026-11-24T10:20:00", "2026-11-24T10:00"),
        # The ends of months and years.
        ("0 0 31 * *", "2026-05-30T12:00", "2026-03-31T00:00"),
        ("0 0 31 * *", "2026-12-01T00:00", "2026-10-31T00:00"),
        ("0 0 30 * *", "2026-03-29T12:00", "2026-01-30T00:00"),
        ("0 0 1 1 *", "2025-12-31T23:59", "2025-01-01T00:00"),
        ("45 23 31 12 *", "2027-01-01T00:00", "2026-12-31T23:45"),
        # 29 February.
        ("0 12 29 2 *", "2026-11-24T00:00", "2024-02-29T12:00"),
        ("0 12 29 2 *", "2024-02-29T11:59", "2020-02-29T12:00"),
        ("0 12 29 2 *", "2024-02-29T12:00", "2024-02-29T12:00"),
        ("0 12 29 2 *", "2104-02-29T11:59", "2096-02-29T12:00"),
        ("0 0 29 2 0", "2026-11-24T00:00", "2004-02-29T00:00"),
        # Day of month and day of week must both match.
        ("0 0 13 * 5", "2026-11-24T00:00", "2026-11-13T00:00"),
        ("0 0 13 * 5", "2026-11-12T23:59", "2026-03-13T00:00"),
        ("0 0 1 * mon", "2026-11-24T00:00", "2026-06-01T00:00"),
        ("0 0 * * sun", "2026-11-24T00:00", "2026-11-22T00:00"),
        ("0 0 * * 1-5", "2026-11-22T10:00", "2026-11-20T00:00"),
        ("0 0 8-14 * 2", "2026-11-24T00:00", "2026-11-10T00:00"),
    ],
)
def test_the_previous_minute_is_the_latest_that_the_expression_names(text: str, moment: str, previous: str) -> None:
    assert Cron.parse(text).previous(at(moment)) == at(previous)


@examples(max_examples=60, deadline=None)
@given(EXPRESSIONS, MOMENTS)
def test_nothing_is_named_between_the_previous_minute_and_the_moment(text: str, moment: datetime) -> None:
    cron = parse(text)
    if cron is None:
        return

    previous = cron.previous(moment)

    assert previous is not None
    assert previous <= moment
    assert names_minute(cron, previous)
    between = moment.replace(second=0, microsecond=0)
    for _ in range(2_000):
        if between == previous:
            return
        assert not names_minute(cron, between)
        between -= MINUTE


@pytest.mark.parametrize(
    ("text", "moment", "following"),
    [
        ("* * * * *", "2026-11-24T00:00:59.999999", "2026-11-24T00:01"),
        ("*/15 * * * *", "2026-11-24T10:15:00", "2026-11-24T10:30"),
        ("59 23 * * *", "2026-11-24T23:59:00", "2026-11-25T23:59"),
        ("30 5,17 * * *", "2026-11-24T06:10:00", "2026-11-24T17:30"),
        ("0 0 31 * *", "2026-05-31T12:00", "2026-07-31T00:00"),
        ("0 12 29 2 *", "2026-11-24T00:00", "2028-02-29T12:00"),
        ("0 0 13 * 5", "2026-11-24T00:00", "2027-08-13T00:00"),
    ],
)
def test_the_next_minute_is_the_first_that_the_expression_names(text: str, moment: str, following: str) -> None:
    assert Cron.parse(text).next(at(moment)) == at(following)


@examples(max_examples=60, deadline=None)
@given(EXPRESSIONS, MOMENTS)
def test_nothing_is_named_between_the_moment_and_the_next_minute(text: str, moment: datetime) -> None:
    cron = parse(text)
    if cron is None:
        return

    following = cron.next(moment)

    assert following is not None
    assert following > moment
    assert cron.previous(following) == following
    assert cron.previous(following - MINUTE) == cron.previous(moment)


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ("* * * * *", timedelta(minutes=1)),
        ("*/15 * * * *", timedelta(minutes=15)),
        # The last of an hour to the first of the next.
        ("*/25 * * * *", timedelta(minutes=25)),
        ("10,20 * * * *", timedelta(minutes=50)),
        ("0 3 * * *", timedelta(days=1)),
        # A night, and a weekend.
        ("*/10 9-17 * * *", timedelta(hours=15, minutes=10)),
        ("*/10 9-17 * * 1-5", timedelta(days=2, hours=15, minutes=10)),
        ("0 0 31 * *", timedelta(days=61)),
        ("0 0 1 1 *", timedelta(days=366)),
        ("0 0 29 2 *", timedelta(days=4 * 365 + 1)),
        ("0 0 29 2 1", timedelta(days=28 * 365 + 7)),
    ],
)
def test_the_longest_gap_is_the_longest_time_without_a_tick(text: str, longest: timedelta) -> None:
    assert timedelta(seconds=Cron.parse(text).longest_gap_seconds()) == longest


def test_expressions_are_in_utc_whatever_zone_the_moment_is_in() -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 11, 24, 5, 29, tzinfo=kolkata)

    previous = Cron.parse("0 0 * * *").previous(moment)

    assert previous == at("2026-11-23T00:00")
    assert previous.utcoffset() == timedelta(0)


def test_blanks_are_made_single() -> None:
    assert str(Cron.parse("  1\t2   3 4  * ")) == "1 2 3 4 *"
