"""Connections whose answers end in time: a socket's own timeout starts anew with each byte that drips in."""

import socket
import threading
from contextlib import suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse


class _WithDeadline(HTTPConnection):
    """Closes its socket when an answer, headers and body, takes longer than the timeout for reading."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3
        seconds = self.timeout if isinstance(self.timeout, int | float) else None
        watchdog = threading.Timer(seconds or 0, _shut, [self.sock])
        watchdog.daemon = True
        if seconds:
            watchdog.start()
        try:
            response = super().getresponse()
        except BaseException:
            watchdog.cancel()
            raise
        response.watchdog = watchdog  # type: ignore[attr-defined]
        return response


class _HttpsWithDeadline(_WithDeadline, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _WithDeadline


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsWithDeadline


class DeadlineAdapter(HTTPAdapter):
    """For a requests.Session; whoever has read an answer calls ``finish`` with it."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


def finish(raw: Any) -> None:
    """Calls off the deadline of an answer (requests' ``response.raw``)."""
    watchdog = getattr(raw, "watchdog", None)
    if watchdog is not None:
        watchdog.cancel()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile
        sock.shutdown(socket.SHUT_RDWR)
