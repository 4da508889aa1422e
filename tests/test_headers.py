"""What every answer says to a browser about itself: routes, files, errors."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Mount, Route

from app.records import UserRecord
from tests.conftest import LocalWorker, Mirror

TOKEN = "a-token-for-the-tests-alone"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
POLICY = "Content-Security-Policy"


def directives(response: Any) -> dict[str, list[str]]:
    [policy] = response.headers.get_list(POLICY)
    parts = [part.split() for part in policy.split(";")]
    return {name: values for name, *values in parts}


def holds(response: Any) -> None:
    """Whether an answer lets a browser do no more than its kind needs."""
    headers = response.headers
    policy = directives(response)
    assert headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert headers.get_list("Cross-Origin-Resource-Policy") == ["same-origin"]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert "server" not in headers
    assert "x-powered-by" not in headers
    [referrer] = headers.get_list("Referrer-Policy")
    if headers.get("Content-Type", "").startswith("text/html"):
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
        assert referrer == "same-origin"
    else:
        assert set(policy) == {"default-src", "base-uri", "form-action", "frame-ancestors"}
        assert policy["form-action"] == ["'none'"]
        assert referrer == "no-referrer"
    [kept] = headers.get_list("Cache-Control")
    if "/static/" not in str(response.url):
        assert kept in ("no-store", "private, no-cache")
    if headers.get("WWW-Authenticate"):
        assert kept == "no-store"


def addresses(routes: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Each method and path of the application, with ids that are there."""
    for route in routes:
        if isinstance(route, Route):
            for method in route.methods or ():
                yield method, route.path.replace("{user_id}", "1").replace("{run_id}", "1")
        elif not isinstance(route, Mount):
            yield from addresses(route.original_router.routes)


@pytest.fixture
def client(open_client: Callable[..., TestClient], worker: LocalWorker, mirror: Mirror) -> TestClient:
    mirror.add(UserRecord(1, "Emily"))
    client = open_client(worker.context, API_TOKEN=TOKEN)
    client.post("/runs", json={"task": "sync_users"}, headers=BEARER)
    client.follow_redirects = False
    return client


def test_every_route_guards_its_answer(client: TestClient) -> None:
    found = sorted(set(addresses(client.app.routes)))

    assert len(found) >= 15
    for method, path in found:
        response = client.request(method, path, headers=BEARER, json={"task": "sync_users"})
        assert response.status_code < 400, (method, path, response.text)
        holds(response)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/users/99", {}, 404),
        ("GET", "/users/ui/99", {}, 404),
        ("GET", "/static/nothing.js", {}, 404),
        ("GET", "/static/../main.py", {}, 404),
        ("DELETE", "/users", {}, 405),
        ("POST", "/users/ui", {}, 405),
        ("POST", "/static/page.js", {}, 405),
        ("GET", "/users?limit=0", {}, 422),
        ("GET", "/users/ui?limit=0", {}, 422),
        ("POST", "/runs", {}, 401),
        ("POST", "/runs", BEARER, 422),
        ("HEAD", "/users", {}, 405),
    ],
)
def test_every_refusal_guards_its_answer(
    client: TestClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = client.request(method, path, headers=headers)

    assert response.status_code == status
    holds(response)


@pytest.mark.parametrize(
    "path", ["/static/page.js", "/static/page.css", "/static/icon.svg", "/static/vendor/swagger-ui-bundle.js"]
)
def test_every_file_guards_itself(client: TestClient, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 200
    holds(response)
    holds(client.get(path, headers={"If-None-Match": response.headers["ETag"]}))


def test_what_a_client_has_already_is_guarded_too(client: TestClient) -> None:
    response = client.get("/users", headers={"If-None-Match": client.get("/users").headers["ETag"]})

    assert response.status_code == 304
    holds(response)


@pytest.mark.parametrize("path", ["/users", "/runs", "/users/ui", "/users/ui/runs"])
def test_asking_for_the_token_is_guarded(open_client: Callable[..., TestClient], path: str) -> None:
    response = open_client(API_TOKEN=TOKEN, READ_TOKEN_REQUIRED=True).get(path)

    assert response.status_code == 401
    holds(response)


@pytest.mark.parametrize("path", ["/readyz", "/users", "/users/ui", "/runs/1"])
def test_a_database_that_is_away_leaves_answers_guarded(
    open_client: Callable[..., TestClient], closed_port: int, path: str
) -> None:
    response = open_client(DATABASE_URL=f"postgresql://somebody:geheim@127.0.0.1:{closed_port}/any").get(path)

    assert response.status_code == 503
    holds(response)


def test_a_defect_leaves_its_answer_guarded(client: TestClient, mirror: Mirror) -> None:
    mirror.execute("UPDATE users SET created_at = 'no time at all'")

    response = client.get("/users/ui/1")

    assert (response.status_code, response.headers["Content-Type"]) == (500, "application/json")
    holds(response)


def test_no_page_has_a_script_or_a_style_inside(client: TestClient) -> None:
    for path in ("/docs", "/users/ui", "/users/ui/1", "/users/ui/runs", "/users/ui/runs/1"):
        html = client.get(path).text
        assert "<style" not in html
        assert " style=" not in html
        assert html.count("<script") == html.count('<script defer src="/static/')
