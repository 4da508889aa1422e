"""The ASGI application: ``uvicorn app.main:app``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse

from app import __version__
from app.api import routes_health, routes_runs, routes_ui, routes_users
from app.api.assets import Assets
from app.api.auth import UNAUTHORIZED, require_token
from app.api.documentation import document
from app.api.draining import Draining
from app.api.errors import add_error_handlers
from app.api.headers import DefaultHeaders
from app.api.metrics import HttpMetrics
from app.api.observing import ObservedRequests
from app.api.starting import Starter
from app.api.unmatched import add_unmatched
from app.async_db import async_database
from app.logging_config import configure_logging
from app.metrics import serve
from app.services.context import Context
from app.settings import Settings, settings_or_exit
from app.tracing import set_up_tracing, stop_tracing


def create_app(settings: Settings, context: Context | None = None) -> FastAPI:
    """The application, which connects to its database at the first request.

    context: what runs are started with, by default what Celery's settings say.
    """
    database = async_database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)

    metrics = HttpMetrics(database.pool_use)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server = serve(metrics.registry, role="api", host=settings.metrics_host, port=settings.metrics_port)
        set_up_tracing("api")
        await database.open()
        yield
        await database.close()
        app.state.starter.close()
        stop_tracing()
        if server is not None:
            server.close()

    app = FastAPI(
        title="SynergyWay",
        version=__version__,
        summary="A mirror of a public API's users, enriched with addresses and credit cards.",
        lifespan=lifespan,
        # What it would tell of requests itself holds their queries, and would be a second span and metric for each.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        docs_url=None,  # see app.api.documentation
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.database = database
    app.state.starter = Starter(settings, metrics.registry, context)
    app.add_middleware(Draining)
    app.add_middleware(DefaultHeaders)
    add_error_handlers(app)
    app.add_middleware(ObservedRequests, metrics=metrics)
    # Not asked for at each request when no token is needed.
    reading: dict[str, Any] = {}
    if settings.read_token_required:
        reading = {"dependencies": [Depends(require_token)], "responses": UNAUTHORIZED}
    app.include_router(routes_ui.router)  # before /users/{user_id}, which would take "ui" for an id
    app.include_router(routes_users.router, **reading)
    app.include_router(routes_runs.router, **reading)
    app.include_router(routes_health.router)
    app.mount("/static", Assets())
    document(app)
    app.add_api_route("/", lambda: RedirectResponse("/users/ui"), include_in_schema=False)
    add_unmatched(app)
    return app


def _start() -> FastAPI:
    settings = settings_or_exit()
    configure_logging(level=settings.log_level, app_env=settings.app_env, role="api")
    return create_app(settings)


app = _start()
