"""The usual way: what most services of this kind do. Row by row through the ORM, one request a user, sync endpoints."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import requests
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session, sessionmaker

from app.models import Address, CreditCard, User
from app.schemas import UserOut


def sync(database_url: str, source_url: str, page_size: int, most: int) -> int:
    """For each of the first ``most`` users: SELECT, then INSERT or UPDATE; a commit a page. How many there were."""
    done, total = 0, 1
    http = requests.Session()
    engine = create_engine(database_url)
    with Session(engine) as session:
        while done < min(total, most):
            body = http.get(source_url, params={"limit": page_size, "skip": done}, timeout=10).json()
            for given in body["users"]:
                user = session.scalar(select(User).where(User.external_id == given["id"]))
                if user is None:
                    user = User(external_id=given["id"], created_at=datetime.now(UTC))
                    session.add(user)
                user.name = f"{given['firstName']} {given['lastName']}"
                user.username, user.email, user.phone = given["username"], given["email"], given["phone"]
                user.company_name = given["company"]["name"]
                user.search_text = f"{user.name}\n{user.username}\n{user.email}".casefold()
                user.updated_at = datetime.now(UTC)
            session.commit()
            done, total = done + len(body["users"]), body["total"]
    engine.dispose()
    return done


def enrich(database_url: str, source_url: str, most: int) -> int:
    """For each user without an address: one request, one transaction; how many users that were."""
    http = requests.Session()
    engine = create_engine(database_url)
    with Session(engine) as session:
        without = session.scalars(select(User.id).outerjoin(Address).where(Address.id.is_(None)).limit(most)).all()
        for user_id in without:
            user = session.get_one(User, user_id)
            given = http.get(f"{source_url}/{user.external_id}", timeout=10).json()["address"]
            session.add(
                Address(
                    user_id=user_id,
                    street=given["address"],
                    city=given["city"],
                    state=given["state"],
                    postal_code=given["postalCode"],
                    country=given["country"],
                    lat=given["coordinates"]["lat"],
                    lng=given["coordinates"]["lng"],
                    created_at=datetime.now(UTC),
                    updated_at=datetime.now(UTC),
                )
            )
            session.commit()
    engine.dispose()
    return len(without)


app = FastAPI()
_sessions = sessionmaker(create_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg://"), pool_size=40))


def _session() -> Iterator[Session]:
    with _sessions() as session:
        yield session


_WHOLE_USERS = (
    select(User, Address, CreditCard)
    .outerjoin(Address, Address.user_id == User.id)
    .outerjoin(CreditCard, CreditCard.user_id == User.id)
    .order_by(User.id)
)


def _shown(user: User, address: Address | None, card: CreditCard | None) -> dict[str, object]:
    masked = {"number": f"**** **** **** {card.last4}", **vars(card)} if card else None
    return {**vars(user), "address": vars(address) if address else None, "credit_card": masked}


@app.get("/users", response_model=list[UserOut])
def list_users(session: Annotated[Session, Depends(_session)], limit: int = 20) -> list[dict[str, object]]:
    return [_shown(*row) for row in session.execute(_WHOLE_USERS.limit(limit))]


@app.get("/users/{user_id}", response_model=UserOut)
def get_user(session: Annotated[Session, Depends(_session)], user_id: int) -> dict[str, object]:
    row = session.execute(_WHOLE_USERS.where(User.id == user_id)).one_or_none()
    if row is None:
        raise HTTPException(404)
    return _shown(*row)
