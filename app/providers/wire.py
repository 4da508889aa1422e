"""The field types that the sources' wire types share.

A record is a TypedDict and not a model: what is validated is copied into one of our records at once, and making an
object for it on the way took longer than the validation.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints

from app.utils.masking import last_four

_MOST_CHARACTERS = 255
_CARD_BRANDS = (  # by issuer identification number: length of the prefix, lowest, highest
    ("visa", 1, 4, 4),
    ("mastercard", 2, 51, 55),
    ("mastercard", 4, 2221, 2720),
    ("american_express", 2, 34, 34),
    ("american_express", 2, 37, 37),
    ("diners_club", 3, 300, 305),
    ("diners_club", 2, 36, 36),
    ("diners_club", 2, 38, 39),
    ("discover", 4, 6011, 6011),
    ("discover", 3, 644, 649),
    ("discover", 2, 65, 65),
    ("jcb", 4, 3528, 3589),
    ("unionpay", 2, 62, 62),
    ("maestro", 2, 50, 50),
    ("maestro", 2, 56, 69),
)


WIRE = ConfigDict(extra="ignore", hide_input_in_errors=True, allow_inf_nan=False, coerce_numbers_to_str=True)
"""How whatever a source sends is read: unknown fields are dropped, no error quotes a value."""


@dataclass(frozen=True, slots=True)
class CardNumber:
    """What is kept of a card number that a source sent."""

    last4: str
    brand: str | None


def _cut(number: object) -> CardNumber:
    last4 = last_four(number)
    issuer = "".join(character for character in str(number) if character.isdigit())[:4]
    brands = (brand for brand, length, low, high in _CARD_BRANDS if low <= int(issuer[:length]) <= high)
    return CardNumber(last4, next(brands, None))


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is a truth value and no number")  # noqa: TRY004  # pydantic wants a ValueError
    return value


def _kept(text: str) -> str | None:
    if "\x00" in text:
        raise ValueError("has a NUL character, which no database text can hold")
    return text or None


def joined(*parts: str | None) -> str | None:
    """The parts with spaces between them; None when there are none. Raises ValueError when that is too long."""
    text = " ".join(filter(None, parts))
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"its parts together have more than {_MOST_CHARACTERS} characters")
    return text or None


# One call of Python a text: with six texts a user, a second one is felt.
Text = (
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=_MOST_CHARACTERS), AfterValidator(_kept)] | None
)
"""Up to 255 characters; blank is None."""

Identity = Annotated[int, Field(ge=-(2**63), le=2**63 - 1), BeforeValidator(_no_truth_value)]
"""A number that fits a BIGINT."""

Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]

CutCardNumber = Annotated[CardNumber, BeforeValidator(_cut)]
"""A card number, of which only the last four digits and the brand survive the reading."""

Expiry = tuple[Annotated[int, Field(ge=1, le=12)], Annotated[int, Field(ge=1970, le=2199)]]
"""Month and year."""

Month = Annotated[int, Field(ge=1, le=12)]
Year = Annotated[int, Field(ge=1970, le=2199)]
