"""Users as JSON."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from app.api.answers import json_answer
from app.api.deps import DatabaseDep, PageQuery, UserId
from app.api.errors import INVALID, NOT_FOUND, UNAVAILABLE, bad_query
from app.api.paging import read_page
from app.api.query_models import documented, read_query
from app.queries.users import count_users, get_user
from app.schemas import UserOut

router = APIRouter(prefix="/users", tags=["users"], responses=INVALID | UNAVAILABLE)

_ETAG = {"ETag": {"description": "Names the body, for `If-None-Match`.", "schema": {"type": "string"}}}
_UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The body is the one that `If-None-Match` names.", "headers": _ETAG}
}
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
            **_ETAG,
        },
    },
    **_UNCHANGED,
}
_ONE: dict[int | str, dict[str, Any]] = {200: {"headers": _ETAG}, **_UNCHANGED, **NOT_FOUND}


@router.get(
    "",
    operation_id="list_users",
    summary="List users",
    response_model=list[UserOut],
    responses=_PAGE,
    openapi_extra=documented(PageQuery),
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
    return json_answer(request, f"[{','.join(page.bodies)}]", headers)


@router.get("/{user_id}", operation_id="get_user", summary="Get a user", response_model=UserOut, responses=_ONE)
async def get(request: Request, database: DatabaseDep, user_id: UserId) -> Response:
    """One user with their address and masked card."""
    rows = await database.rows(*get_user(user_id))
    if not rows:
        raise HTTPException(404, f"There is no user {user_id}.")
    return json_answer(request, rows[0][1])
