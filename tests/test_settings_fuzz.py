"""Any text at all in any variable: it is taken and of use, or refused in one line that names the variable."""

import os
from collections.abc import Mapping

import pytest
from celery.app.backends import by_url
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from kombu import Connection
from requests import Request

from app.async_db import async_database
from app.db import Database
from app.errors import ConfigurationError
from app.settings import Settings, load_settings

SECRET = "geheim-7f3a9c"
VARIABLES = [name.upper() for name in Settings.model_fields]
HIDDEN = [name for name in VARIABLES if name.endswith(("_URL", "_BACKEND", "_PASSWORD", "_TOKEN"))]
SCHEMES = [
    *("postgresql", "postgres", "postgresql+psycopg", "sqlite", "mysql", "amqp", "amqps", "redis", "rediss"),
    *("filesystem", "rpc", "disabled", "cache+memory", "http", "https", "ftp", "file", "javascript", ""),
]
# As the environment holds them: bytes that are no UTF-8 come as lone surrogates, and none is NUL.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
BYTES = st.binary(max_size=20).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(["9" * 5_000, "1e400", "0x10", "1_000", "٣", "²", "+5", " 5 ", "5\n", "true", "NULL", "nan", "-0"]),
)
CRONS = st.lists(
    st.sampled_from(["*", "*/5", "1-5", "1,2", "0", "59", "mon", "?", "L", "#", "*/0", "99", "1-", "-", "1/2"]),
    min_size=3,
    max_size=7,
).map(" ".join)
URLS = st.builds(
    lambda scheme, slashes, user, host, port, path: f"{scheme}:{slashes}{user}{host}{port}{path}",
    st.sampled_from(SCHEMES),
    st.sampled_from(["//", "", "/", "///"]),
    st.sampled_from(["", "user@", "user:password@", ":password@", "a:b:c@", "%zz:%@", "u:p@ss@", "\x7f:\udcff@"]),
    st.sampled_from(
        ["host", "", "[::1]", "[::1", "host name", "ho%st", "host,other", "-", "." * 70, "ü.example", "1.2"]
    ),
    st.sampled_from(["", ":5432", ":0", ":99999", ":port", ":-1", ":", ":²"]),
    st.sampled_from(
        [
            "",
            "/",
            "//",
            "/name",
            "/a?b=c",
            "?",
            "#x",
            "/%00",
            "/%ff",
            "/..",
            "/?port=x&host=a",
            "/a b",
            "?=&=",
            "/?heartbeat=x",
            "/?ssl_cert_reqs=x",
        ]
    )
    | TEXT,
)
VALUES = TEXT | BYTES | NUMBERS | CRONS | URLS

long = os.environ.get("FUZZ_EXAMPLES")
thoroughly = examples(
    deadline=None,
    max_examples=int(long or 60),
    derandomize=not long,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def outcome(variables: Mapping[str, str]) -> Settings | str:
    """The settings, or why they are refused."""
    try:
        return load_settings(variables)
    except ConfigurationError as error:
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None
        return str(error)


def use(settings: Settings) -> None:
    """What the roles do with their settings at their start."""
    url = settings.database_url.get_secret_value()
    database = Database(url)
    assert database.engine.url.drivername
    database.dispose()
    async_database(url, pool_size=settings.database_pool_size)
    assert Connection(settings.broker_url).transport_cls
    assert by_url(settings.celery_result_backend.get_secret_value())
    for source in (settings.users_api_url, settings.address_api_url, settings.credit_card_api_url):
        Request("GET", source).prepare()
    for cron in (settings.users_schedule_cron, settings.enrich_addr_cron, settings.enrich_cc_cron):
        assert str(cron).count(" ") == 4
    repr(settings)


@pytest.mark.parametrize("name", VARIABLES)
def test_any_text_in_a_variable_is_of_use_or_refused_by_its_name(name: str) -> None:
    @thoroughly
    @given(value=VALUES)
    def hold(value: str) -> None:
        found = outcome({name: value})
        if isinstance(found, Settings):
            use(found)
        else:
            assert found.splitlines() == [found]
            assert name in found
            assert "Traceback" not in found
            assert len(found) < len(value) * 12 + 600

    hold()


@pytest.mark.parametrize("name", HIDDEN)
def test_no_secret_is_in_a_refusal_or_in_the_settings_whatever_surrounds_it(name: str) -> None:
    @thoroughly
    @given(before=VALUES, after=VALUES)
    def hold(before: str, after: str) -> None:
        found = outcome({name: before + SECRET + after})
        if isinstance(found, str):
            assert SECRET not in found
        elif not name.endswith("_API_URL"):  # of an address that is read, only name and password are secret
            assert SECRET not in repr(found) + str(found.model_dump())

    hold()
