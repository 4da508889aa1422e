"""CRON expressions: five fields in UTC, with Celery's meaning (day of month AND day of week must match)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

_ITEM = re.compile(
    r"(?P<first>\*|\d+|[a-z]{3})(?:-(?P<last>\d+|[a-z]{3}))?(?:/(?P<step>\d+))?", re.IGNORECASE | re.ASCII
)
_DAYS = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())}
_MONTHS = {name: number for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
# A schedule for 29 February on one weekday comes around after 28 years, or 40 where a century has no leap year.
_HORIZON_DAYS = 41 * 366
_AVERAGED_DAYS = 4 * 365 + 1


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: dict[str, int]

    def parse(self, text: str) -> frozenset[int]:
        return frozenset(value for item in text.split(",") for value in self._parse_item(item))

    def _parse_item(self, item: str) -> range:
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{self.name} {item!r} is not understood")
        first, last, step = match["first"], match["last"], match["step"]
        if first == "*" and last is not None:
            raise ValueError(f"{self.name} {item!r} is not understood")
        if step is not None and first != "*" and last is None:
            raise ValueError(f"{self.name} {item!r} has a step without a range: write {first}-{self.high}/{step}")
        if step is not None and not 1 <= int(step) <= self.high:
            raise ValueError(f"{self.name} step {step} is not between 1 and {self.high}")
        if first == "*":
            return range(self.low, self.high + 1, int(step or 1))
        start = self._number(first)
        end = self._number(last) if last is not None else start
        if end < start:
            raise ValueError(f"{self.name} range {item!r} runs backwards")
        return range(start, end + 1, int(step or 1))

    def _number(self, text: str) -> int:
        number = int(text) if text.isdigit() else self.names.get(text.lower())
        if number is None:
            raise ValueError(f"{self.name} {text!r} is not understood")
        if not self.low <= number <= self.high:
            raise ValueError(f"{self.name} {text} is not between {self.low} and {self.high}")
        return number


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """A parsed CRON expression. ``str()`` gives its five fields with single spaces."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """Raises ValueError, saying which field is wrong and how."""
        parts = text.split()
        if len(parts) != len(_FIELDS):
            raise ValueError(f"has {len(parts)} fields instead of five (minute hour day-of-month month day-of-week)")
        cron = cls(" ".join(parts), *(field.parse(part) for field, part in zip(_FIELDS, parts, strict=True)))
        if cron.previous(datetime.now(UTC)) is None:
            raise ValueError("never comes: no day has this day of month, month and day of week")
        return cron

    def __str__(self) -> str:
        return self.text

    def previous(self, moment: datetime) -> datetime | None:
        """The latest minute at or before ``moment`` (aware) that the expression names; None when there is none."""
        minute = moment.astimezone(UTC).replace(second=0, microsecond=0)
        for back in range(_HORIZON_DAYS):
            day = minute - timedelta(days=back)
            if not self._names_day(day):
                continue
            limit = (minute.hour, minute.minute) if back == 0 else (23, 59)
            times = [(h, m) for h in self.hours for m in self.minutes if (h, m) <= limit]
            if times:
                hour, in_hour = max(times)
                return day.replace(hour=hour, minute=in_hour)
        return None

    def next(self, moment: datetime) -> datetime | None:
        """The first minute after ``moment`` (aware) that the expression names; None when there is none."""
        minute = moment.astimezone(UTC).replace(second=0, microsecond=0)
        for ahead in range(_HORIZON_DAYS):
            day = minute + timedelta(days=ahead)
            if not self._names_day(day):
                continue
            limit = (minute.hour, minute.minute) if ahead == 0 else (-1, -1)
            times = [(h, m) for h in self.hours for m in self.minutes if (h, m) > limit]
            if times:
                hour, in_hour = min(times)
                return day.replace(hour=hour, minute=in_hour)
        return None

    def times_a_day(self) -> float:
        """How often the expression comes a day, over the coming years."""
        today = datetime.now(UTC)
        named = sum(self._names_day(today + timedelta(days=ahead)) for ahead in range(_AVERAGED_DAYS))
        return len(self.hours) * len(self.minutes) * named / _AVERAGED_DAYS

    def longest_gap_seconds(self) -> int:
        """The longest time between two of the minutes that the expression names, over the coming decades."""
        in_day = sorted(60 * (60 * hour + minute) for hour in self.hours for minute in self.minutes)
        gaps = [later - earlier for earlier, later in pairwise(in_day)]
        now = datetime.now(UTC)
        last = self.previous(now) or now
        days = [day for day in range(_HORIZON_DAYS) if self._names_day(last + timedelta(days=day))]
        gaps += [86_400 * (later - earlier) + in_day[0] - in_day[-1] for earlier, later in pairwise(days)]
        return max(gaps)

    def _names_day(self, day: datetime) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays
