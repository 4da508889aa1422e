"""The page for people. It works without JavaScript; with it, parts of the page are fetched by themselves."""

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from app.api.auth import check_read_token
from app.api.deps import Before, DatabaseDep, KeysetQuery, Limit, RunFilterDep, RunId, SettingsDep, UserId
from app.api.page import part_wanted, render
from app.api.page_errors import PageRoute
from app.api.page_history import read_history, read_latest, read_run
from app.api.page_status import read_standing
from app.api.page_users import read_listing, user
from app.api.query_models import read_query
from app.queries.users import get_user


async def _may_read(request: Request) -> None:
    check_read_token(request)


router = APIRouter(
    prefix="/users/ui", include_in_schema=False, route_class=PageRoute, dependencies=[Depends(_may_read)]
)


@router.get("")
async def show_users(request: Request, database: DatabaseDep, settings: SettingsDep) -> Response:
    """How things stand, and users with filters and pages."""
    listing = await read_listing(request, database, read_query(KeysetQuery, request))
    if part_wanted(request) == "results" and not listing.is_empty:
        return render(request, "parts/results.html", {"listing": listing})
    standing = await read_standing(database, settings)
    if part_wanted(request) == "results":
        return render(request, "parts/results.html", {"listing": listing, "status": standing})
    latest = await read_latest(database)
    return render(request, "users.html", {"listing": listing, "status": standing, "latest": latest})


@router.get("/status")
async def show_status(request: Request, database: DatabaseDep, settings: SettingsDep) -> Response:
    """The tiles, which the page asks for every few seconds."""
    if part_wanted(request) is None:
        return RedirectResponse("/users/ui", 303)
    return render(request, "parts/status.html", {"status": await read_standing(database, settings)})


@router.get("/latest")
async def show_latest(request: Request, database: DatabaseDep) -> Response:
    """The latest runs, beside the users."""
    if part_wanted(request) is None:
        return RedirectResponse("/users/ui/runs", 303)
    return render(request, "parts/latest.html", {"latest": await read_latest(database)})


@router.get("/runs")
async def show_runs(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    wanted: RunFilterDep,
    before: Before = None,
    limit: Limit = 20,
) -> Response:
    """Runs, the newest first."""
    history = await read_history(request, database, wanted, limit=limit, before=before)
    if part_wanted(request) == "results":
        return render(request, "parts/runs.html", {"history": history})
    return render(request, "runs.html", {"history": history, "status": await read_standing(database, settings)})


@router.get("/runs/{run_id}")
async def show_run(request: Request, database: DatabaseDep, run_id: RunId) -> Response:
    """A run with its progress, its outcome and its parts."""
    run, chunks = await read_run(database, run_id)
    template = "parts/run.html" if part_wanted(request) == "run" else "run.html"
    return render(request, template, {"run": run, "chunks": chunks})


@router.get("/{user_id}")
async def show_user(request: Request, database: DatabaseDep, user_id: UserId) -> Response:
    """All that is known of a user."""
    rows = await database.rows(*get_user(user_id))
    if not rows:
        raise HTTPException(404, f"There is no user {user_id:,}.")
    return render(request, "user.html", {"user": user(rows[0][1]), "list_query": request.url.query})
