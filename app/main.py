"""The ASGI application: ``uvicorn app.main:app``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from app import __version__
from app.api import routes_health, routes_ui, routes_users
from app.api.errors import add_error_handlers
from app.api.metrics import HttpMetrics, MeasuredRequests
from app.api.tracing import TracedRequests
from app.db import AsyncDatabase
from app.logging_config import configure_logging
from app.metrics import serve
from app.settings import Settings, settings_or_exit
from app.tracing import set_up_tracing, stop_tracing, trace_database


def create_app(settings: Settings) -> FastAPI:
    """The application, which connects to its database at the first request."""
    database = AsyncDatabase(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)

    metrics = HttpMetrics(database.pool_use)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server = serve(metrics.registry, role="api", host=settings.metrics_host, port=settings.metrics_port)
        if set_up_tracing("api"):
            trace_database(database.engine.sync_engine)
        yield
        await database.dispose()
        stop_tracing()
        if server is not None:
            server.close()

    app = FastAPI(
        title="SynergyWay",
        version=__version__,
        summary="A mirror of a public API's users, enriched with addresses and credit cards.",
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.database = database
    add_error_handlers(app)
    app.add_middleware(MeasuredRequests, metrics=metrics)
    app.add_middleware(TracedRequests)  # around it, so that what is measured can name its trace
    app.include_router(routes_health.router)
    app.include_router(routes_ui.router)  # before /users/{user_id}, which would take "ui" for an id
    app.include_router(routes_users.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.add_api_route("/", lambda: RedirectResponse("/users/ui"), include_in_schema=False)
    return app


def _start() -> FastAPI:
    settings = settings_or_exit()
    configure_logging(level=settings.log_level, app_env=settings.app_env, role="api")
    return create_app(settings)


app = _start()
