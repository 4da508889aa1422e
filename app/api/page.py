"""Rendering the pages for people: whole, or the part of one that a script asks for."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates

from app.api.assets import asset
from app.api.page_words import FILTERS

_HEADERS = {
    # All that the pages need is files of our own. htmx evaluates no text here, and could not.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    # What is answered depends on who asks for what.
    "Vary": "HX-Request, HX-Target, Authorization",
}

_templates = Jinja2Templates(Path(__file__).parent.parent / "templates")
_templates.env.filters |= FILTERS
_templates.env.globals["asset"] = asset
_templates.env.trim_blocks = _templates.env.lstrip_blocks = True


def part_wanted(request: Request) -> str | None:
    """The id of the element that a script will put the answer into; None when a browser wants the whole page."""
    if request.headers.get("HX-Request") != "true":
        return None
    return request.headers.get("HX-Target", "").rpartition("#")[2]


def render(
    request: Request,
    template: str,
    shown: Mapping[str, Any],
    *,
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    context = {
        "now": datetime.now(UTC),
        "is_fragment": part_wanted(request) is not None,
        "starts": request.app.state.settings.api_token is not None,
        "token_to_read": request.app.state.settings.read_token_required,
        **shown,
    }
    return _templates.TemplateResponse(
        request, template, context, status_code=status_code, headers={**_HEADERS, **(headers or {})}
    )
