"""The page in a real browser: Chromium, a real server on a real socket, and a worker beside it."""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect, sync_playwright

from app.api.limits import LimitedHttpProtocol
from app.db import Database
from app.records import ChunkMessage, Job
from app.services import runs
from app.services.context import Context
from app.settings import Settings
from tests.conftest import LocalWorker, Mirror
from tests.fake_source import Answer, DummyJsonLike, Query

TOKEN = "a-token-for-the-tests-alone"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 320, "height": 740}

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = [
    *("--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
_left_out: list[pytest.Item] = []


def chromium() -> str | None:
    """The system's browser."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a browser these tests are left out, unless REQUIRE_BROWSER=1 says that they must not be."""
    here = [item for item in items if Path(item.path).is_relative_to(Path(__file__).parent)]
    if not here or chromium():
        return
    if os.environ.get("REQUIRE_BROWSER") == "1":
        raise pytest.UsageError("REQUIRE_BROWSER=1 is set and no Chromium is installed")
    _left_out.extend(here)
    items[:] = [item for item in items if item not in here]
    config.hook.pytest_deselected(items=here)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        terminalreporter.write_line(
            f"SKIPPED {len(_left_out)} tests in a browser: no Chromium is installed", yellow=True
        )


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests here; each test has profiles of its own in it."""
    # Chromium's sandbox refuses to run as root.
    flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else _FLAGS
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield browser
        browser.close()


class Gate:
    """A source that answers page by page, as the test lets it."""

    def __init__(self, users: DummyJsonLike) -> None:
        self._users = users
        self._permits = threading.Semaphore(0)

    def let(self, answers: int) -> None:
        self._permits.release(answers)

    def __call__(self, path: str, query: Query) -> Answer:
        assert self._permits.acquire(timeout=30), "the test let no more answers pass"
        return self._users(path, query)


class _Worker:
    """Works off in a thread what is published, until it is stopped."""

    def __init__(self, local: LocalWorker) -> None:
        self._local = local
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stopped.wait(0.02):
            try:
                self._local.work_off()
            except Exception:  # noqa: BLE001  # what stopped a chunk is noted in its run, which the page shows
                continue

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(10)


@dataclass
class Visit:
    """A page in a profile of its own, and what its browser complained about."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str = "/users/ui") -> Page:
        self.page.goto(self.url + path)
        return self.page

    def rows(self) -> Locator:
        return self.page.locator("#results tbody tr")


@dataclass
class Site:
    """The service: its api on a port, and a worker that takes up what is published."""

    url: str
    context: Context
    mirror: Mirror
    visit: Callable[..., Visit]

    def call(self, job: Job, batch_size: int | None = None) -> None:
        """What ``celery call`` does: the worker takes it up."""
        chunk_id = runs.receive(self.context, job, uuid4().hex, batch_size)
        assert chunk_id is not None
        self.context.publish(ChunkMessage(job, chunk_id))


class _Server:
    def __init__(self, settings: Settings, context: Context) -> None:
        from app.main import create_app  # here, since it sets up the logs of the whole process

        config = uvicorn.Config(
            create_app(settings, context),
            port=0,
            loop="asyncio",
            http=LimitedHttpProtocol,
            log_config=None,
            access_log=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.01)

    @property
    def url(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@pytest.fixture
def make_site(
    browser: Browser, database: Database, make_settings: Callable[..., Settings], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Site]]:
    """Starts the service; variables in capitals override settings. No visit may end with a complaint of its browser."""
    with ExitStack() as opened:
        visits: list[Visit] = []

        def make(**variables: Any) -> Site:
            settings = make_settings(**{"API_TOKEN": TOKEN, **variables})
            local = LocalWorker(settings, database)
            worker = _Worker(local)
            opened.callback(worker.stop)
            server = _Server(settings, local.context)
            opened.callback(server.stop)

            def visit(**options: Any) -> Visit:
                context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
                context.set_default_timeout(15_000)
                opened.callback(context.close)
                visit = _watched(context, server.url)
                visits.append(visit)
                return visit

            return Site(server.url, local.context, Mirror(database), visit)

        yield make
        _keep_pictures(request, visits)
    assert [complaint for visit in visits for complaint in visit.complaints] == []


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def _watched(context: BrowserContext, url: str) -> Visit:
    page = context.new_page()
    visit = Visit(page, url)

    # What the Content-Security-Policy refuses is an error on the console too.
    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            visit.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    page.on("console", hear)
    page.on("pageerror", lambda error: visit.complaints.append(f"uncaught: {error}"))
    return visit


def _keep_pictures(request: pytest.FixtureRequest, visits: list[Visit]) -> None:
    """How each page looked at the end of its test, in the folder that SCREENSHOTS names."""
    folder = os.environ.get("SCREENSHOTS")
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, visit in enumerate(visits):
        name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
        visit.page.screenshot(path=Path(folder) / f"{name}-{number}.png")
