"""Settings: what is taken, what is refused, and how a refusal reads."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from app.errors import ConfigurationError
from app.settings import Settings, load_settings
from tests.conftest import PROJECT

SECRET = "geheim"
START_SECONDS = 30


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def refusal(**variables: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(variables)
    return str(caught.value)


def test_the_defaults_are_those_of_the_compose_stack() -> None:
    settings = load_settings({})

    assert settings.database_url.get_secret_value() == "postgresql+psycopg://postgres:postgres@db:5432/postgres"
    assert settings.celery_broker_url.get_secret_value() == "amqp://guest:guest@rabbitmq:5672//"
    assert settings.celery_result_backend.get_secret_value() == "rpc://"
    assert (settings.app_env, settings.log_level) == ("local", "INFO")
    crons = (settings.users_schedule_cron, settings.enrich_addr_cron, settings.enrich_cc_cron)
    assert [str(cron) for cron in crons] == ["*/15 * * * *", "*/10 * * * *", "*/10 * * * *"]
    assert (settings.enrich_batch_size, settings.users_page_size) == (20, 100)
    urls = {settings.users_api_url, settings.address_api_url, settings.credit_card_api_url}
    assert urls == {"http://dummyjson/users"}


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENRICH_BATCH_SIZE", "7")
    monkeypatch.setenv("USERS_SCHEDULE_CRON", "0 5 * * *")
    monkeypatch.setenv("LOG_LEVEL", "debug")

    settings = load_settings()

    assert settings.enrich_batch_size == 7
    assert str(settings.users_schedule_cron) == "0 5 * * *"
    assert settings.log_level == "DEBUG"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings({}).enrich_batch_size = 3  # type: ignore[misc]


# What is wrong, and how it is said


@pytest.mark.parametrize("name", ["USERS_SCHEDULE_CRON", "ENRICH_ADDR_CRON", "ENRICH_CC_CRON"])
def test_each_schedule_is_checked(name: str) -> None:
    assert refusal(**{name: "*/70 * * * *"}).startswith(f"{name}=")


@pytest.mark.parametrize(
    ("cron", "fault"),
    [
        ("*/70 * * * *", "minute step 70 is not between 1 and 59"),
        ("*/61 * * * *", "minute step 61 is not between 1 and 59"),
        ("*/0 * * * *", "minute step 0 is not between 1 and 59"),
        ("5-1 * * * *", "minute range '5-1' runs backwards"),
        ("MON * * * *", "minute 'MON' is not understood"),
        ("60 * * * *", "minute 60 is not between 0 and 59"),
        ("-1 * * * *", "minute '-1' is not understood"),
        ("1.5 * * * *", "minute '1.5' is not understood"),
        ("1,,2 * * * *", "minute '' is not understood"),
        ("*-5 * * * *", "minute '*-5' is not understood"),
        ("* 24 * * *", "hour 24 is not between 0 and 23"),
        ("* * 0 * *", "day of month 0 is not between 1 and 31"),
        ("* * 32 * *", "day of month 32 is not between 1 and 31"),
        ("* * * 13 *", "month 13 is not between 1 and 12"),
        ("* * * mon *", "month 'mon' is not understood"),
        ("* * * * 7", "day of week 7 is not between 0 and 6"),
        ("* * * * jan", "day of week 'jan' is not understood"),
        ("* * * *", "has 4 fields instead of five"),
        ("* * * * * *", "has 6 fields instead of five"),
        ("@daily", "instead of five"),
        ("", "has 0 fields instead of five"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
    ],
)
def test_a_wrong_schedule_is_refused_in_one_line(cron: str, fault: str) -> None:
    line = refusal(USERS_SCHEDULE_CRON=cron)

    assert line.startswith(f"USERS_SCHEDULE_CRON={cron!r}")
    assert fault in line
    assert line.endswith("Example: USERS_SCHEDULE_CRON='*/15 * * * *'")
    assert "\n" not in line


@pytest.mark.parametrize("cron", ["5/10 * * * *", "* * * * mon/2"])
def test_what_celery_does_not_understand_in_the_same_way_is_refused(cron: str) -> None:
    assert refusal(USERS_SCHEDULE_CRON=cron).startswith("USERS_SCHEDULE_CRON=")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "db"),
        ("DATABASE_URL", "mysql://db/name"),
        ("DATABASE_URL", "postgresql+asyncpg://db/name"),
        ("DATABASE_URL", "postgresql://db:port/name"),
        ("DATABASE_URL", "postgresql:///name?host=a&port=x"),
        ("DATABASE_URL", "postgresql:///name?host=a,b&port=1,2,3"),
        ("DATABASE_URL", "postgresql://db/name?sslmodee=require"),
        ("DATABASE_URL", "sqlite://host/name.db"),
        ("CELERY_BROKER_URL", ""),
        ("CELERY_BROKER_URL", "redis://redis/0?db=1"),
        ("CELERY_BROKER_URL", "rediss://redis/0?ssl_cert_reqs=perhaps"),
        ("CELERY_BROKER_URL", "amqp://rabbitmq//?heartbeat=often"),
        ("CELERY_BROKER_URL", "amqp://rabbitmq//?=x"),
        ("CELERY_BROKER_URL", "amqp://rabbitmq//;rabbitmq"),
        ("CELERY_BROKER_URL", "rabbitmq"),
        ("CELERY_BROKER_URL", "amqp:rabbitmq"),
        ("CELERY_BROKER_URL", "http://rabbitmq:15672"),
        ("CELERY_BROKER_URL", "amqp://rabbitmq:port//"),
        ("CELERY_BROKER_URL", "redis://redis:99999/0"),
        ("CELERY_RESULT_BACKEND", "rpc"),
        ("CELERY_RESULT_BACKEND", "amqp://rabbitmq"),
        ("USERS_API_URL", ""),
        ("USERS_API_URL", "dummyjson.com/users"),
        ("USERS_API_URL", "ftp://dummyjson.com/users"),
        ("USERS_API_URL", "file:///etc/passwd"),
        ("USERS_API_URL", "http://"),
        ("USERS_API_URL", "http:///users"),
        ("USERS_API_URL", "http://host:port/users"),
        ("USERS_API_URL", "http://host:99999/users"),
        ("USERS_API_URL", "http://[::1/users"),
        ("USERS_API_URL", "http://host/users?limit=5"),
        ("USERS_API_URL", "http://host/users#first"),
        ("USERS_API_URL", "http://ho st/users"),
        ("USERS_API_URL", "http://host/us\ners"),
        ("ADDRESS_API_URL", "nonsense"),
        ("CREDIT_CARD_API_URL", "nonsense"),
        ("USERS_API_SOURCE", "github"),
        ("LOG_LEVEL", "LOUD"),
        ("ENRICH_BATCH_SIZE", "0"),
        ("ENRICH_BATCH_SIZE", "-5"),
        ("ENRICH_BATCH_SIZE", "100001"),
        ("ENRICH_BATCH_SIZE", "twenty"),
        ("ENRICH_BATCH_SIZE", "1.5"),
        ("ENRICH_BATCH_SIZE", "9" * 30),
        ("USERS_PAGE_SIZE", "0"),
        ("DATABASE_POOL_SIZE", "0"),
        ("PROVIDER_TIMEOUT_SECONDS", "0"),
        ("PROVIDER_TIMEOUT_SECONDS", "-1"),
        ("PROVIDER_TIMEOUT_SECONDS", "nan"),
        ("PROVIDER_TIMEOUT_SECONDS", "inf"),
        ("PROVIDER_TIMEOUT_SECONDS", "10s"),
        ("PROVIDER_PARALLELISM", "0"),
        ("FILESYSTEM_BROKER_DIR", ""),
        ("HEARTBEAT_FILE", ""),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(name: str, value: str) -> None:
    line = refusal(**{name: value})

    assert line.startswith(f"{name}=")
    assert " is wrong: " in line
    assert f"Example: {name}=" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"CHUNK_SECONDS": 400}, ["CHUNK_SECONDS", "TASK_SOFT_TIME_LIMIT_SECONDS", "400", "270"]),
        ({"TASK_TIME_LIMIT_SECONDS": 100}, ["TASK_SOFT_TIME_LIMIT_SECONDS", "TASK_TIME_LIMIT_SECONDS", "270", "100"]),
        ({"CHUNK_SECONDS": 40}, ["CHUNK_SECONDS", "CHUNK_LEASE_SECONDS", "66", "60"]),
        ({"PROVIDER_TIMEOUT_SECONDS": 20}, ["PROVIDER_TIMEOUT_SECONDS", "CHUNK_LEASE_SECONDS", "92", "60"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_their_names(
    variables: dict[str, object], named: list[str]
) -> None:
    line = refusal(**variables)

    assert [text for text in named if text not in line] == []
    assert "\n" not in line


def test_every_wrong_variable_gets_its_own_line() -> None:
    lines = refusal(ENRICH_BATCH_SIZE="x", USERS_SCHEDULE_CRON="* *", USERS_API_URL="users").split("\n")

    names = [line.partition("=")[0] for line in lines]
    assert sorted(names) == ["ENRICH_BATCH_SIZE", "USERS_API_URL", "USERS_SCHEDULE_CRON"]


def test_each_example_would_be_taken() -> None:
    wrong = {
        "DATABASE_URL": "x",
        "CELERY_BROKER_URL": "x",
        "CELERY_RESULT_BACKEND": "x",
        "USERS_API_URL": "x",
        "USERS_SCHEDULE_CRON": "x",
        "ENRICH_BATCH_SIZE": "x",
        "LOG_LEVEL": "x",
        "PROVIDER_TIMEOUT_SECONDS": "x",
        "USERS_API_SOURCE": "x",
    }

    for line in refusal(**wrong).split("\n"):
        name, _, value = line.partition("Example: ")[2].partition("=")
        assert load_settings({name: value.strip("'")}), line


# Secrets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://somebody:{SECRET}@db/name"),
        ("DATABASE_URL", f"mysql://somebody:{SECRET}/{SECRET}@db/name"),
        ("DATABASE_URL", f"mysql://somebody:{SECRET}#{SECRET}@db/name"),
        ("DATABASE_URL", f"mysql://somebody:{SECRET} {SECRET}@db/name"),
        ("DATABASE_URL", f"somebody:{SECRET}@db"),
        ("DATABASE_URL", f"postgresql://somebody:{SECRET}@db:port/name"),
        ("DATABASE_URL", f"postgresql://somebody:{SECRET}"),
        ("CELERY_BROKER_URL", f"http://somebody:{SECRET}@rabbitmq"),
        ("CELERY_BROKER_URL", f"somebody:{SECRET}@rabbitmq"),
        ("CELERY_BROKER_URL", f"amqp:somebody:{SECRET}@rabbitmq"),
        ("CELERY_RESULT_BACKEND", f"db+postgresql://somebody:{SECRET}@db/name"),
        ("USERS_API_URL", f"http://somebody:{SECRET}@host/users?limit=5"),
        ("USERS_API_URL", f"http://somebody:{SECRET}@host:port/users"),
        ("USERS_API_URL", f"ftp://somebody:{SECRET}@host/users"),
    ],
)
def test_no_password_is_in_a_refusal(name: str, value: str) -> None:
    line = refusal(**{name: value})

    assert line.startswith(f"{name}=")
    assert SECRET not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"postgresql://somebody:{SECRET}@db/name"),
        ("CELERY_BROKER_URL", f"amqp://somebody:{SECRET}@rabbitmq//"),
        ("CELERY_RESULT_BACKEND", f"redis://:{SECRET}@redis/0"),
        ("USERS_API_URL", f"https://somebody:{SECRET}@host/users"),
    ],
)
def test_no_password_is_in_the_settings_as_text(name: str, value: str) -> None:
    settings = load_settings({name: value})

    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert SECRET not in str(settings.model_dump())
    assert SECRET not in settings.model_dump_json()


# What is put right


@pytest.mark.parametrize("cron", ["*/15 * * * *", "  */15   *  * *\t*  ", "*/15\t*\t*\t*\t*", "*/15 * * * *\n"])
def test_blanks_in_a_schedule_do_not_matter(cron: str) -> None:
    assert str(load_settings({"USERS_SCHEDULE_CRON": cron}).users_schedule_cron) == "*/15 * * * *"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@db/name", "postgresql+psycopg://u:p@db/name"),
        ("postgres://u:p@db/name", "postgresql+psycopg://u:p@db/name"),
        ("postgresql+psycopg://u:p@db/name", "postgresql+psycopg://u:p@db/name"),
        ("postgres://u:p%40ss@db/name?sslmode=require", "postgresql+psycopg://u:p%40ss@db/name?sslmode=require"),
        ("sqlite:///file.db", "sqlite+pysqlite:///file.db"),
        (" postgresql://u:p@db/name\n", "postgresql+psycopg://u:p@db/name"),
    ],
)
def test_the_database_driver_is_filled_in(given: str, used: str) -> None:
    assert load_settings({"DATABASE_URL": given}).database_url.get_secret_value() == used


@pytest.mark.parametrize(
    "url",
    [
        *("amqp://guest:guest@rabbitmq:5672//", "amqps://rabbitmq/vhost", "redis://:secret@redis:6379/0"),
        *("rediss://redis/0?ssl_cert_reqs=required", "filesystem://localhost//", "amqp://a//;amqp://b//?heartbeat=5"),
    ],
)
def test_rabbitmq_and_redis_are_taken_as_brokers(url: str) -> None:
    assert load_settings({"CELERY_BROKER_URL": url}).celery_broker_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "username", "password", "used"),
    [
        ("amqp://rabbitmq:5672//", "sw", "a@b/c#%", "amqp://sw:a%40b%2Fc%23%25@rabbitmq:5672//"),
        ("amqps://mq.example/my%2Fvhost", "sw", "geheim", "amqps://sw:geheim@mq.example/my%2Fvhost"),
        ("redis://redis:6379/0", None, "geheim", "redis://:geheim@redis:6379/0"),
        ("amqp://u:p@rabbitmq//", "sw", "other", "amqp://u:p@rabbitmq//"),
        ("amqp://rabbitmq//", None, None, "amqp://rabbitmq//"),
        (
            "amqp://a//;amqp://u:p@b//;amqp://c//",
            "sw",
            "geheim",
            "amqp://sw:geheim@a//;amqp://u:p@b//;amqp://sw:geheim@c//",
        ),
    ],
)
def test_user_and_password_of_the_broker_are_put_into_an_address_that_has_none(
    url: str, username: str | None, password: str | None, used: str
) -> None:
    given = {"CELERY_BROKER_USERNAME": username, "CELERY_BROKER_PASSWORD": password}
    settings = load_settings({"CELERY_BROKER_URL": url, **{name: value for name, value in given.items() if value}})

    assert settings.broker_url == used
    assert password is None or password not in repr(settings)


@pytest.mark.parametrize("name", ["CELERY_BROKER_USERNAME", "CELERY_BROKER_PASSWORD"])
def test_what_cannot_be_put_into_an_address_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=.* is wrong: is not UTF-8. Example: {name}='[^N]"):
        load_settings({name: "\udc80"})


def test_a_slash_at_the_end_of_a_source_does_not_matter() -> None:
    assert load_settings({"USERS_API_URL": "https://dummyjson.com/users/ "}).users_api_url == (
        "https://dummyjson.com/users"
    )


# Real processes


def test_celery_connects_with_user_and_password_that_are_apart_from_the_address() -> None:
    variables = {
        "CELERY_BROKER_URL": "amqp://rabbitmq:5672//",
        "CELERY_BROKER_USERNAME": "sw",
        "CELERY_BROKER_PASSWORD": "a@b/c#%",
    }
    code = (
        "from app.celery_app import celery\n"
        "for connection in (celery.connection_for_read(), celery.connection_for_write()):\n"
        "    print(connection.userid, connection.password, connection.hostname)"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert printed.splitlines() == ["sw a@b/c#% rabbitmq"] * 2


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The roles, started at once with a wrong schedule, in a copy of the code that leaves nothing behind here."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", folder)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    celery = ("celery", "-A", "app.celery_app.celery")
    commands = {
        "api": ("uvicorn", "--port", port, "app.main:app"),
        "worker": (*celery, "worker"),
        "beat": (*celery, "beat"),
        "migrations": ("alembic", "upgrade", "head"),
        "run": ("app", "run", "--port", port),
    }
    environment = os.environ | {"USERS_SCHEDULE_CRON": "*/70 * * * *"}
    processes = {
        role: subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role, command in commands.items()
    }
    yield processes
    for process in processes.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("role", ["api", "worker", "beat", "migrations", "run"])
def test_a_process_with_a_wrong_schedule_ends_with_one_line_that_says_so(
    refused: dict[str, subprocess.Popen[str]], role: str
) -> None:
    output, errors = refused[role].communicate(timeout=START_SECONDS)

    assert refused[role].returncode not in (0, None)
    assert errors == (
        "USERS_SCHEDULE_CRON='*/70 * * * *' is wrong: minute step 70 is not between 1 and 59. "
        "Example: USERS_SCHEDULE_CRON='*/15 * * * *'\n"
    )
    assert "Traceback" not in output


# The token


@pytest.mark.parametrize("token", ["a" * 16, "7fB1._~+/=-aaaaaaaaaaaa", "  with-a-line-break-behind\n"])
def test_a_token_is_kept_and_never_shown(token: str) -> None:
    settings = load_settings({"API_TOKEN": token})

    assert settings.api_token is not None
    assert settings.api_token.get_secret_value() == token.strip()
    assert token.strip() not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()


@pytest.mark.parametrize("token", ["", "   "])
def test_a_blank_token_is_none(token: str) -> None:
    assert load_settings({"API_TOKEN": token}).api_token is None


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("fifteen-letters", "has fewer than 16 characters, which may be guessed"),
        ("sixteen letters!", "has a character that a Bearer token cannot have"),
        ("sixteen-lettérs-", "has a character that a Bearer token cannot have"),
    ],
)
def test_a_token_that_is_none_is_refused_and_not_shown(token: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"API_TOKEN": token})

    assert str(caught.value).startswith(f"API_TOKEN='***' is wrong: {reason}")
    assert token not in str(caught.value)


def test_reading_by_token_needs_one() -> None:
    with pytest.raises(ConfigurationError, match="READ_TOKEN_REQUIRED=true needs an API_TOKEN that readers can send"):
        load_settings({"READ_TOKEN_REQUIRED": "true"})

    assert load_settings({"READ_TOKEN_REQUIRED": "true", "API_TOKEN": "a" * 16}).read_token_required
