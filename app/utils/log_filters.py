"""What keeps logs short."""

import logging
import time

_QUIET_SECONDS = 60


class OnceAMinute(logging.Filter):
    """Lets a line through, and no other for a minute: for a logger whose lines all say the same."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, _: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _QUIET_SECONDS
        return True
