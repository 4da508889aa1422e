"""How the page says times, spans and numbers. ``page.js`` says times in the same words."""

from datetime import datetime
from typing import Any

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_JUST_NOW_SECONDS = 5


def iso(moment: datetime) -> str:
    """For machines: ISO 8601 to the second."""
    return moment.isoformat(timespec="seconds")


def exact(moment: datetime) -> str:
    return moment.strftime("%d %b %Y, %H:%M:%S UTC").lstrip("0")


def clock(moment: datetime) -> str:
    """The time of day; with the date where a week would not tell the day."""
    return moment.strftime("%H:%M UTC")


def ago(moment: datetime, now: datetime) -> str:
    """How long ago something was. What seems to lie ahead, since clocks differ, is just now."""
    seconds = int((now - moment).total_seconds())
    if seconds < _JUST_NOW_SECONDS:
        return "just now"
    return f"{_span(seconds)} ago"


def ahead(moment: datetime, now: datetime) -> str:
    """How long something is to come. What is over is due now."""
    seconds = int((moment - now).total_seconds())
    if seconds < _JUST_NOW_SECONDS:
        return "now"
    return f"in {_span(seconds)}"


def _span(seconds: int) -> str:
    """Rounded down: five seconds, minutes, hours up to two days, then days."""
    if seconds < _MINUTE:
        return f"{seconds // 5 * 5} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR} h"
    return f"{seconds // _DAY} days"


def took(seconds: float) -> str:
    """A span that was measured, such as 0.4 s, 12 s, 3 min 20 s or 2 h 5 min."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def thousands(number: int) -> str:
    return f"{number:,}"


def amount(number: int, noun: str) -> str:
    """Such as 1 user or 1,203 users."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def flag(value: bool | None) -> str:
    """As the value of a form's choice."""
    return "" if value is None else str(value).lower()


def place(address: dict[str, Any]) -> str:
    """City and country, or what else is known of where an address is."""
    listed = [address[name] for name in ("city", "country") if address[name]]
    return ", ".join(listed) or address["state"] or address["postal_code"] or ""


def expiry(card: dict[str, Any]) -> str:
    """Month and year; empty unless both are known."""
    month, year = card["exp_month"], card["exp_year"]
    return f"{month:02d}/{year}" if month and year else ""


def coordinates(address: dict[str, Any]) -> str:
    return f"{address['lat']:.5f}, {address['lng']:.5f}"


FILTERS = {
    function.__name__: function
    for function in (iso, exact, clock, ago, ahead, took, thousands, flag, place, expiry, coordinates)
}
