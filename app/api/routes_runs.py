"""Runs as JSON: what became of them, and starting one."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response

from app.api.auth import FORBIDDEN, UNAUTHORIZED, require_token
from app.api.bodies import read_body
from app.api.deps import Before, DatabaseDep, Limit, RunFilterDep, RunId, StarterDep
from app.api.errors import INVALID, UNAVAILABLE, described
from app.queries.run_history import get_run, list_runs
from app.schemas import RunIn, RunOut

router = APIRouter(prefix="/runs", tags=["runs"], responses=UNAVAILABLE | INVALID)

_LOCATION = {"Location": {"description": "Where the run can be read.", "schema": {"type": "string"}}}
_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page of runs, the newest first.",
        "headers": {
            "Link": {
                "description": 'The page of the runs before, as `rel="next"`; absent on the last.',
                "schema": {"type": "string"},
            }
        },
    }
}
_STARTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "The run, `queued`, or `skipped` because `blocked_by` is open; or the run that an earlier "
        "request with this `Idempotency-Key` started, as it is now.",
        "headers": _LOCATION,
    },
    **described(408, "The body did not arrive in time."),
    **described(413, "The body is too long."),
    503: {
        **described(503, "The database or the broker is out of reach. A run that was noted is `failed` and stays so.")[
            503
        ],
        "headers": _LOCATION,
    },
}
# The body is read by hand, so it is described by hand; what it refers to is described with the answer.
_SCHEMA = RunIn.model_json_schema(ref_template="#/components/schemas/{model}")
del _SCHEMA["$defs"]
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}}

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="A text of your own, for example a UUID: a request that is sent again with the same key starts "
        "nothing anew. It is kept as long as the run.",
    ),
]


@router.get("", operation_id="list_runs", summary="List runs", response_model=list[RunOut], responses=_PAGE)
async def list_(
    request: Request, database: DatabaseDep, wanted: RunFilterDep, limit: Limit = 20, before: Before = None
) -> Response:
    """The newest runs. Follow the `Link` header for those before."""
    # One more than asked for tells whether there is a next page.
    rows = await database.rows(*list_runs(wanted, limit=limit + 1, before=before))
    headers: dict[str, str] = {}
    if len(rows) > limit:
        query = request.url.include_query_params(before=rows[limit - 1][0]).query
        headers["Link"] = f'</runs?{query}>; rel="next"'
    return _json(f"[{','.join(row[1] for row in rows[:limit])}]", headers=headers)


@router.get(
    "/{run_id}",
    operation_id="get_run",
    summary="Get a run",
    response_model=RunOut,
    responses=described(404, "There is no such run."),
)
async def get(database: DatabaseDep, run_id: RunId) -> Response:
    """One run, with its progress while it is open."""
    rows = await database.rows(*get_run(run_id))
    if not rows:
        raise HTTPException(404, f"There is no run {run_id}.")
    return _json(rows[0][1])


@router.post(
    "",
    operation_id="start_run",
    summary="Start a run",
    status_code=202,
    response_model=RunOut,
    responses=_STARTED | UNAUTHORIZED | FORBIDDEN,
    dependencies=[Depends(require_token)],
    openapi_extra=_BODY,
)
async def start(request: Request, database: DatabaseDep, starter: StarterDep, key: IdempotencyKey = None) -> Response:
    """Asks for a run of a job, which a worker takes up. One run of a job is open at a time."""
    wanted = await read_body(request, RunIn)
    run_id = await starter.start(wanted.task, wanted.batch_size, key)
    rows = await database.rows(*get_run(run_id))
    return _json(rows[0][1], 202, {"Location": f"/runs/{run_id}"})


def _json(body: str, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code, headers, media_type="application/json")
