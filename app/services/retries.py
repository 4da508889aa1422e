"""Which failures pass by themselves, and how long to wait for that."""

import math
import random

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import ProviderUnavailable

DATABASE_DOWN = (OperationalError, InterfaceError, PoolTimeout)

_FIRST_SECONDS = 2
_LONGEST_SECONDS = 300
# A source may ask for any pause; beyond this one the next tick is soon enough.
_LONGEST_RETRY_AFTER_SECONDS = 600


def passes(error: Exception) -> bool:
    """Whether trying again may help: the source or the database was out of reach, slow or overloaded."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, (ProviderUnavailable, *DATABASE_DOWN))


def delay_seconds(attempt: int, error: Exception) -> int:
    """How long to wait after the attempt with this number (from 1 on), in whole seconds, at least one.

    Exponential with full jitter, so that workers that failed together do not come back together; never less than the
    source asked for.
    """
    longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(attempt, 10))
    backoff = random.uniform(1, longest)  # noqa: S311  # nosec B311  # no secret
    asked = getattr(error, "retry_after", None) or 0
    return math.ceil(max(backoff, min(asked, _LONGEST_RETRY_AFTER_SECONDS)))
