"""Users as JSON."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from app.api.deps import DatabaseDep, PageQuery, UserId
from app.api.errors import INVALID, NOT_FOUND, UNAVAILABLE, bad_query
from app.api.paging import read_page
from app.api.query_models import documented, read_query
from app.queries.users import count_users, get_user
from app.schemas import UserOut

router = APIRouter(prefix="/users", tags=["users"], responses=INVALID | UNAVAILABLE)

_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page of users in the order of their ids.",
        "headers": {
            "Link": {
                "description": 'The next page, as `rel="next"`; absent on the last.',
                "schema": {"type": "string"},
            },
            "X-Total-Count": {
                "description": "How many users match; only with `count=true`.",
                "schema": {"type": "integer"},
            },
        },
    }
}


@router.get(
    "", summary="List users", response_model=list[UserOut], responses=_PAGE, openapi_extra=documented(PageQuery)
)
async def list_(request: Request, database: DatabaseDep) -> Response:
    """Users with their addresses and masked cards.

    Page with `offset`, or better with `after`: begin with `after=0` and follow the `Link` header.
    """
    query = read_query(PageQuery, request)
    if query.after is not None and "offset" in query.model_fields_set:
        raise bad_query("after", "goes without offset: choose one way of paging", query.after)
    page = await read_page(request, database, query, offset=query.offset)
    headers: dict[str, str] = {}
    if page.next_query is not None:
        headers["Link"] = f'</users?{page.next_query}>; rel="next"'
    if query.count:
        headers["X-Total-Count"] = str((await database.rows(*count_users(query.wanted)))[0][0])
    return Response(f"[{','.join(page.bodies)}]", media_type="application/json", headers=headers)


@router.get("/{user_id}", summary="Get a user", response_model=UserOut, responses=NOT_FOUND)
async def get(database: DatabaseDep, user_id: UserId) -> Response:
    """One user with their address and masked card."""
    rows = await database.rows(*get_user(user_id))
    if not rows:
        raise HTTPException(404, f"There is no user {user_id}.")
    return Response(rows[0][1], media_type="application/json")
