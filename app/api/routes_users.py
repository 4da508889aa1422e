"""Users as JSON."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from app.api.deps import After, DatabaseDep, FilterDep, Limit, Offset, UserId
from app.api.errors import NOT_FOUND, UNAVAILABLE, bad_query
from app.api.paging import read_page
from app.queries.users import count_users, get_user
from app.schemas import UserOut

router = APIRouter(prefix="/users", tags=["users"], responses=UNAVAILABLE)

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


@router.get("", summary="List users", response_model=list[UserOut], responses=_PAGE)
async def list_(
    request: Request,
    database: DatabaseDep,
    wanted: FilterDep,
    limit: Limit = 20,
    offset: Offset = 0,
    after: After = None,
    count: Annotated[bool, Query(description="Count the matching users, which reads an index of all of them.")] = False,
) -> Response:
    """Users with their addresses and masked cards.

    Page with `offset`, or better with `after`: begin with `after=0` and follow the `Link` header.
    """
    if after is not None and "offset" in request.query_params:
        raise bad_query("after", "goes without offset: choose one way of paging", after)
    page = await read_page(request, database, wanted, limit=limit, offset=offset, after=after)
    headers: dict[str, str] = {}
    if page.next_query is not None:
        headers["Link"] = f'</users?{page.next_query}>; rel="next"'
    if count:
        headers["X-Total-Count"] = str((await database.rows(*count_users(wanted)))[0][0])
    return Response(f"[{','.join(page.bodies)}]", media_type="application/json", headers=headers)


@router.get("/{user_id}", summary="Get a user", response_model=UserOut, responses=NOT_FOUND)
async def get(database: DatabaseDep, user_id: UserId) -> Response:
    """One user with their address and masked card."""
    rows = await database.rows(*get_user(user_id))
    if not rows:
        raise HTTPException(404, f"There is no user {user_id}.")
    return Response(rows[0][1], media_type="application/json")
