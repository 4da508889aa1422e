"""What every line of the logs looks like."""

import json
import logging
import os
import pty
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.logging_config import add_log_ids, configure_logging, log_ids
from tests.api_process import running_api
from tests.conftest import PROJECT

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def configure(level: str = "INFO") -> logging.Logger:
    configure_logging(level=level, app_env="production", role="worker")
    return logging.getLogger("app.somewhere")


def test_a_line_is_one_object_with_what_an_operator_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure().info("%d users\nin two lines", 3)

    (line,) = lines(capsys)
    assert line.pop("time").endswith("+00:00")
    assert line.pop("version")
    assert line == {
        "level": "INFO",
        "logger": "app.somewhere",
        "message": "3 users\nin two lines",
        "service": "synergyway",
        "role": "worker",
    }


def test_an_exception_is_part_of_its_line_and_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    logger = configure()
    try:
        raise ValueError(f"cannot reach postgresql://user:{SECRET}@db/name with Bearer {SECRET}")
    except ValueError:
        logger.exception("it failed at amqp://guest:%s@rabbitmq//", SECRET)

    (line,) = lines(capsys)
    assert "ValueError" in line["exc_info"]
    assert SECRET not in json.dumps(line)
    assert line["message"] == "it failed at amqp://***@rabbitmq//"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f'sent "bearer {SECRET}", got 401',
        f"redis://:{SECRET}@redis/0",
        f"two: amqp://a:{SECRET}@x// and https://b:{SECRET}@y/users",
        f"postgresql+psycopg://user:{SECRET}@{SECRET}@db/name",
    ],
)
def test_secrets_are_redacted_wherever_they_stand(capsys: pytest.CaptureFixture[str], text: str) -> None:
    logger = configure()
    logger.info(text)
    logger.info("with arguments: %s", text)
    logger.info("beside", extra={"note": text})
    try:
        try:
            raise ConnectionError(text)
        except ConnectionError as cause:
            raise RuntimeError("outer") from cause
    except RuntimeError:
        logger.exception("chained")

    printed = capsys.readouterr().err
    assert SECRET not in printed
    assert "***" in printed
    assert [json.loads(line)["level"] for line in printed.splitlines()] == ["INFO", "INFO", "INFO", "ERROR"]


@pytest.mark.parametrize("message", ['quotes " and \\', "tab\tand\r\nbreaks", "Ольга 😀", "", "100 %", "\x00\x1b[31m"])
def test_any_message_is_one_line_and_comes_back_whole(capsys: pytest.CaptureFixture[str], message: str) -> None:
    configure().warning(message)

    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert json.loads(printed)["message"] == message


def test_warnings_and_what_libraries_log_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    names = ["uvicorn", "uvicorn.error", "uvicorn.access", "celery", "celery.task", "celery.worker.job", "sqlalchemy"]
    for name in names:
        logging.getLogger(name).warning("hello")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    *told, warned = lines(capsys)
    assert [line["logger"] for line in told] == names
    assert (warned["logger"], warned["level"]) == ("py.warnings", "WARNING")
    assert "DeprecationWarning: old" in warned["message"]


def test_ids_are_on_every_line_inside(capsys: pytest.CaptureFixture[str]) -> None:
    logger = configure()
    with log_ids(run_id=7):
        add_log_ids(task_id="abc")
        logger.info("inside")
        add_log_ids(task_id=None)
    logger.info("outside")

    inside, outside = lines(capsys)
    assert (inside["run_id"], inside["task_id"]) == (7, "abc")
    assert not {"run_id", "task_id"} & outside.keys()


def test_what_celery_logs_of_a_task_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    task = {"id": "abc", "name": "app.tasks.users.sync_users", "args": "()"}
    configure()
    logging.getLogger("celery.worker.strategy").info("Task %(name)s[%(id)s] received", task, extra={"data": task})

    (line,) = lines(capsys)
    assert (line["task_id"], line["task_name"]) == ("abc", "app.tasks.users.sync_users")
    assert "data" not in line


def test_the_level_holds_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    logger = configure("WARNING")
    logger.info("quiet")
    logging.getLogger("uvicorn.access").info("quiet")
    logging.getLogger("celery.worker").warning("loud")

    assert [line["message"] for line in lines(capsys)] == ["loud"]


def on_a_terminal(app_env: str) -> str:
    program = (
        "from app.logging_config import configure_logging, log_ids; import logging\n"
        f"configure_logging(level='INFO', app_env='{app_env}', role='api')\n"
        "with log_ids(run_id=7): logging.getLogger('app.x').info('hello redis://:hunter2@redis/0')\n"
    )
    here, there = pty.openpty()
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, stderr=there, check=True)
    os.close(there)
    with os.fdopen(here, "rb") as terminal:
        return terminal.read1().decode()


def test_a_developers_terminal_gets_readable_lines() -> None:
    line = on_a_terminal("local")

    assert not line.startswith("{")
    assert "api" in line
    assert "hello redis://***@redis/0 [run_id=7]" in line


def test_any_other_terminal_gets_objects() -> None:
    assert json.loads(on_a_terminal("production"))["message"] == "hello redis://***@redis/0"


@pytest.mark.parametrize(
    ("command", "sign"),
    [
        (("celery", "--quiet", "-A", "app.celery_app.celery", "worker", "--concurrency", "1"), " ready."),
        (("celery", "--quiet", "-A", "app.celery_app.celery", "beat"), "starts for the tick"),
        (("uvicorn", "app.main:app", "--port", "0"), "running on"),
    ],
    ids=["worker", "beat", "api"],
)
def test_a_real_process_prints_nothing_but_objects(
    command: tuple[str, ...], sign: str, database_url: str, tmp_path: Path
) -> None:
    for folder in ("queue", "control"):
        (tmp_path / "broker" / folder).mkdir(parents=True)
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": "filesystem://localhost//",
        "CELERY_RESULT_BACKEND": "disabled://",
        "FILESYSTEM_BROKER_DIR": str(tmp_path / "broker"),
        "HEARTBEAT_FILE": str(tmp_path / "heartbeat"),
        "APP_ENV": "production",
    }
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=PROJECT, env=environment, stdout=file, stderr=file
        )
    deadline = time.monotonic() + 30
    while sign not in output.read_text() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    process.wait(20)

    printed = output.read_text()
    assert sign in printed
    for line in printed.splitlines():
        assert {"time", "level", "logger", "message", "service", "role", "version"} <= json.loads(line).keys()


@pytest.mark.parametrize(("variables", "is_told"), [({}, True), ({"UVICORN_ACCESS_LOG": "false"}, False)])
def test_requests_are_logged_unless_uvicorn_is_told_not_to(
    variables: dict[str, str], is_told: bool, database_url: str, tmp_path: Path
) -> None:
    with running_api(tmp_path, database_url, **variables) as api:
        urllib.request.urlopen(f"http://127.0.0.1:{api.port}/healthz", timeout=10).close()
        api.process.terminate()
        api.process.wait(20)

        assert ("GET /healthz" in api.output.read_text()) == is_told


@pytest.mark.parametrize(("believed", "named"), [("192.0.2.0/24", "127.0.0.1"), ("127.0.0.0/8", "203.0.113.7")])
def test_the_access_log_names_the_client_behind_a_proxy_that_is_believed(
    believed: str, named: str, database_url: str, tmp_path: Path
) -> None:
    with running_api(tmp_path, database_url, FORWARDED_ALLOW_IPS=believed) as api:
        request = urllib.request.Request(f"http://127.0.0.1:{api.port}/healthz")
        request.add_header("X-Forwarded-For", "203.0.113.7")
        urllib.request.urlopen(request, timeout=10).close()
        api.process.terminate()
        api.process.wait(20)

        (line,) = [line for line in api.output.read_text().splitlines() if "GET /healthz" in line]
        assert json.loads(line)["message"].startswith(f"{named}:")
