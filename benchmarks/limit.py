"""The limit: the least work that gives the same rows and the same JSON. No run, no lease, no validation, no errors."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import requests
from psycopg_pool import AsyncConnectionPool
from pydantic_core import from_json

_COLUMNS = "external_id, name, username, email, phone, website, company_name, search_text"
_CHANGING = _COLUMNS.split(", ")[1:]

_UPSERT = f"""
INSERT INTO users ({_COLUMNS}, created_at, updated_at)
SELECT {_COLUMNS}, now(), now() FROM staged
ON CONFLICT (external_id) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _CHANGING)}, updated_at = excluded.updated_at
WHERE ({", ".join(f"users.{name}" for name in _CHANGING)})
      IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _CHANGING)})
"""

_SELECT = "firstName,lastName,username,email,phone,company"


@contextmanager
def syncing(database_url: str, source_url: str, page_size: int) -> Iterator[Callable[[], int]]:
    """A sync whose connections and temporary table stay as they are from one call to the next, as a worker's do."""
    with requests.Session() as session, psycopg.connect(database_url) as connection:
        connection.execute(
            f"CREATE TEMPORARY TABLE staged ON COMMIT DELETE ROWS AS SELECT {_COLUMNS} FROM users WITH NO DATA"
        )
        connection.commit()
        yield partial(_sync, session, connection, source_url, page_size)


def _sync(session: requests.Session, connection: psycopg.Connection[Any], source_url: str, page_size: int) -> int:
    """Fetches, parses, copies and upserts page after page, each in a transaction; how many users there were."""
    done, total = 0, 1
    while done < total:
        query = {"limit": page_size, "skip": done, "select": _SELECT}
        body = from_json(session.get(source_url, params=query, timeout=10).content)
        cursor = connection.cursor()
        with cursor.copy(f"COPY staged ({_COLUMNS}) FROM STDIN") as copy:
            for user in body["users"]:
                copy.write_row(_row(user))
        cursor.execute(_UPSERT)
        connection.commit()
        done, total = done + len(body["users"]), body["total"]
    return done


def _row(user: dict[str, Any]) -> tuple[Any, ...]:
    name = f"{user['firstName']} {user['lastName']}"
    username, email = user["username"], user["email"]
    search_text = f"{name}\n{username}\n{email}".casefold()
    return user["id"], name, username, email, user["phone"], None, user["company"]["name"], search_text


_USER = """json_build_object(
    'id', u.id, 'external_id', u.external_id, 'name', u.name, 'username', u.username, 'email', u.email,
    'phone', u.phone, 'website', u.website, 'company_name', u.company_name,
    'created_at', u.created_at, 'updated_at', u.updated_at, 'removed_at', u.removed_at,
    'address', CASE WHEN a.user_id IS NOT NULL THEN json_build_object(
        'street', a.street, 'city', a.city, 'state', a.state, 'postal_code', a.postal_code, 'country', a.country,
        'lat', a.lat, 'lng', a.lng) END,
    'credit_card', CASE WHEN c.user_id IS NOT NULL THEN json_build_object(
        'number', '**** **** **** ' || c.last4, 'last4', c.last4, 'brand', c.brand,
        'exp_month', c.exp_month, 'exp_year', c.exp_year) END)"""
_JOINED = "users u LEFT JOIN addresses a ON a.user_id = u.id LEFT JOIN credit_cards c ON c.user_id = u.id"
_PAGE = f"""SELECT '[' || string_agg(body, ',') || ']' FROM (
    SELECT {_USER}::text AS body FROM {_JOINED} ORDER BY u.id LIMIT 20) AS page"""
_ONE = f"SELECT {_USER}::text FROM {_JOINED} WHERE u.id = %s"

_pool: AsyncConnectionPool | None = None


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI: the first page of 20, or one user; DATABASE_URL is where from."""
    global _pool  # noqa: PLW0603  # an application of one function has nowhere else to keep it
    if scope["type"] == "lifespan":
        await receive()
        url = os.environ["DATABASE_URL"].replace("+psycopg", "")
        _pool = AsyncConnectionPool(url, kwargs={"autocommit": True}, min_size=10, max_size=10, open=False)
        await _pool.open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await _pool.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    number = scope["path"].removeprefix("/users").strip("/")
    async with _pool.connection() as connection:
        cursor = await (connection.execute(_ONE, (int(number),)) if number else connection.execute(_PAGE))
        ((text,),) = await cursor.fetchall()
    body = text.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
