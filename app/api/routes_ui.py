"""The page for people."""

import json
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.templating import Jinja2Templates

from app.api.deps import DatabaseDep, KeysetQuery, SettingsDep
from app.api.paging import read_page
from app.api.query_models import read_query
from app.queries.enrichment import ADDRESSES, CARDS, count_up_to
from app.settings import Settings

router = APIRouter(prefix="/users", include_in_schema=False)

_HEADERS = {
    # All that the page needs is a style sheet of our own.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_templates = Jinja2Templates(Path(__file__).parent.parent / "templates")


@router.get("/ui")
async def show_users(request: Request, database: DatabaseDep, settings: SettingsDep) -> Response:
    """Users in a table, with filters and pages."""
    query = read_query(KeysetQuery, request)
    page = await read_page(request, database, query.model_copy(update={"after": query.after or 0}))
    shown = {
        "users": [json.loads(body) for body in page.bodies],
        "next_query": page.next_query,
        "first_query": request.url.remove_query_params("after").query,
        "is_first": not query.after,
        "wanted": query.wanted,
        "limit": query.limit,
        "slow": await _slow_backlogs(database, settings),
    }
    return _templates.TemplateResponse(request, "users.html", shown, headers=_HEADERS)


async def _slow_backlogs(database: DatabaseDep, settings: Settings) -> list[str]:
    """What more users lack than are filled in within a day."""
    backlogs = (("addresses", ADDRESSES, settings.enrich_addr_cron), ("cards", CARDS, settings.enrich_cc_cron))
    slow = []
    for noun, lacking, cron in backlogs:
        a_day = int(settings.enrich_batch_size * cron.times_a_day())
        if (await database.rows(count_up_to(lacking, a_day + 1)))[0][0] > a_day:
            slow.append(noun)
    return slow
