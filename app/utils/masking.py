"""What may be shown of a secret."""

import re

MASK = "**** **** **** "

_SEPARATORS = re.compile(r"[\s-]")
_URL_CREDENTIALS = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/?#]*@", re.IGNORECASE)
_BEARER = re.compile(r"(?P<scheme>\bbearer\s+)\S+", re.IGNORECASE)


def last_four(number: object) -> str:
    """The last four digits of a payment card number: 12 to 19 digits, dashes and spaces allowed.

    Raises ValueError, without the value in it, when this is no card number.
    """
    digits = _SEPARATORS.sub("", str(number))
    if not (digits.isascii() and digits.isdigit() and 12 <= len(digits) <= 19):
        raise ValueError("is not a card number of 12 to 19 digits")
    return digits[-4:]


def redact(text: str) -> str:
    """The text with the credentials of URLs and bearer tokens replaced by ``***``."""
    # Every field of every log line comes here, and hardly any has either.
    if "://" in text:
        text = _URL_CREDENTIALS.sub(r"\g<scheme>***@", text)
    if "bearer" in text.lower():
        text = _BEARER.sub(r"\g<scheme>***", text)
    return text
