"""A source whose answers cost nothing to make, so that what is measured is the service: `python -m benchmarks.source`.

It answers as DummyJSON does, with the sample provider's users. Each answer is made once, at its first request.
SAMPLE_USERS is how many users it has; BENCH_DELAY_SECONDS is how long it waits before each answer.
"""

import asyncio
import os
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from pydantic_core import to_json

from app.sample_provider import user

_TOTAL = int(os.environ.get("SAMPLE_USERS", "10000"))
_DELAY_SECONDS = float(os.environ.get("BENCH_DELAY_SECONDS", "0"))


# Enough for the runs that are compared; a collection of a million users is not kept.
@lru_cache(maxsize=256)
def _page(skip: int, limit: int, select: str) -> bytes:
    users = [_selected(number, select) for number in range(skip + 1, min(skip + limit, _TOTAL) + 1)]
    return to_json({"users": users, "total": _TOTAL, "skip": skip, "limit": len(users)})


@lru_cache(maxsize=20_000)
def _one(number: int, select: str) -> bytes:
    return to_json(_selected(number, select))


def _selected(number: int, select: str) -> dict[str, Any]:
    record = user(number)
    return {name: value for name, value in record.items() if not select or name in {"id", *select.split(",")}}


async def app(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    """ASGI: ``/users?limit=&skip=&select=`` and ``/users/{id}?select=``."""
    query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
    number = scope["path"].removeprefix("/users").strip("/")
    select = query.get("select", "")
    skip, limit = int(query.get("skip", 0)), int(query.get("limit", 30))
    body = _one(int(number), select) if number else _page(skip, limit, select)
    if _DELAY_SECONDS:
        await asyncio.sleep(_DELAY_SECONDS)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
