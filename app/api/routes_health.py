"""Whether the process lives, and whether it can work."""

import asyncio

from fastapi import APIRouter, Response

from app.api.deps import DatabaseDep
from app.errors import DatabaseUnavailable
from app.schemas import HealthOut, UnreadyOut

_TIMEOUT_SECONDS = 3

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="get_health", summary="The process answers")
async def healthz() -> HealthOut:
    """Asks nobody: a database that is out of reach is no reason to restart the api."""
    return HealthOut()


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="The process can do its work",
    response_model=HealthOut,
    responses={503: {"model": UnreadyOut, "description": "A part is out of reach."}},
)
async def readyz(database: DatabaseDep) -> Response:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await database.ping()
    except (DatabaseUnavailable, TimeoutError):
        unready = UnreadyOut(failing=["database"])
        return Response(unready.model_dump_json(), status_code=503, media_type="application/json")
    return Response(HealthOut().model_dump_json(), media_type="application/json")
