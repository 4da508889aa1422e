"""Every setting of the service: read once from the environment, checked, frozen, passed down."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.errors import ConfigurationError
from app.utils.cron import Cron
from app.utils.masking import redact

SourceName = Literal["auto", "dummyjson", "jsonplaceholder", "random_data_api"]

BROKER_SCHEMES = ("amqp", "amqps", "redis", "rediss", "filesystem")
BACKEND_SCHEMES = ("rpc", "redis", "rediss", "disabled", "cache+memory")
SHORTEST_TOKEN = 16
_UNFIT = "has a host, a port or an option that its driver does not take"
# Kombu takes any, and fails at those that it does not know when it connects.
_BROKER_OPTION = re.compile(
    r"(connect_timeout|heartbeat)=\d{1,5}|login_method=\w+|"
    r"ssl_cert_reqs=(CERT_REQUIRED|CERT_OPTIONAL|CERT_NONE|required|optional|none)|ssl_(?!cert_reqs=)\w+=.+"
)
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
}


def _cron(value: object) -> Cron:
    return value if isinstance(value, Cron) else Cron.parse(str(value))


def _http_url(value: object) -> str:
    text = str(value).strip()
    parts = _split(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http:// or https:// address with a host")
    if parts.query or parts.fragment:
        raise ValueError("has a query or a fragment: only the address of the collection is wanted")
    return text.rstrip("/")


def _split(text: str) -> SplitResult:
    """Raises ValueError, without the text in it, when this is no address."""
    if any(character.isspace() for character in text):
        raise ValueError("has a space or a line break inside")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("has a host or a port that is none") from None
    return parts


def _encodable(value: object) -> object:
    """The text, which goes into an address by its bytes. Raises ValueError when it has none."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    return value


def _with_user(url: str, user: str) -> str:
    """The address with the user in it, unless it has one."""
    parts = urlsplit(url)
    return url if "@" in parts.netloc else parts._replace(netloc=f"{user}@{parts.netloc}").geturl()


def _check_options(options: Mapping[str, Any]) -> None:
    from psycopg import ProgrammingError  # noqa: PLC0415  # SQLite does without the driver
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    try:
        make_conninfo(**options)
    except ProgrammingError:
        raise ValueError(_UNFIT) from None


def _database_url(value: object) -> SecretStr:
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        raise ValueError("is not a database address") from None
    if url.drivername not in _DRIVERS:
        raise ValueError(f"names the driver {url.drivername!r}; known are {', '.join(_DRIVERS)}")
    url = url.set(drivername=_DRIVERS[url.drivername])
    try:
        _, options = url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError):
        raise ValueError(_UNFIT) from None
    if url.get_backend_name() == "postgresql":
        _check_options(options)
    return SecretStr(url.render_as_string(hide_password=False))


def _address(schemes: tuple[str, ...], option: re.Pattern[str] | None = None) -> BeforeValidator:
    """option: what an option and its value may be, where not any will do."""

    def check(value: object) -> SecretStr:
        text = (value.get_secret_value() if isinstance(value, SecretStr) else str(value)).strip()
        for alternative in text.split(";"):
            parts = _split(alternative)
            if parts.scheme not in schemes or "://" not in alternative:
                raise ValueError(f"starts with none of {', '.join(scheme + '://' for scheme in schemes)}")
            if option and not all(option.fullmatch("=".join(found)) for found in parse_qsl(parts.query)):
                raise ValueError(
                    "has another option than connect_timeout, heartbeat, login_method and ssl_…, or a wrong value"
                )
        return SecretStr(text)

    return BeforeValidator(check)


def _token(value: object) -> SecretStr | None:
    text = (value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")).strip()
    if not text:
        return None
    if len(text) < SHORTEST_TOKEN:
        raise ValueError(f"has fewer than {SHORTEST_TOKEN} characters, which may be guessed")
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", text):
        raise ValueError("has a character that a Bearer token cannot have: letters, digits and ._~+/=- are allowed")
    return SecretStr(text)


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Token = Annotated[SecretStr | None, BeforeValidator(_token)]
CronSetting = Annotated[Cron, NoDecode, BeforeValidator(_cron), PlainSerializer(str)]
HttpUrl = Annotated[str, BeforeValidator(_http_url), PlainSerializer(redact)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_USERS_CRON = "*/15 * * * *"
_ENRICH_CRON = "*/10 * * * *"
_SAMPLE_URL = "http://dummyjson/users"


class Settings(BaseSettings):
    """The variable of each setting is its name in capitals. Units are in the names."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_default=True, arbitrary_types_allowed=True)

    app_env: str = "local"
    log_level: Annotated[LogLevel, BeforeValidator(_upper)] = "INFO"

    api_token: Token = None
    read_token_required: bool = False

    database_url: Annotated[SecretStr, BeforeValidator(_database_url)] = SecretStr(
        "postgresql+psycopg://postgres:postgres@db:5432/postgres"
    )
    database_pool_size: int = Field(10, ge=1, le=100)

    celery_broker_url: Annotated[SecretStr, _address(BROKER_SCHEMES, _BROKER_OPTION)] = SecretStr(
        "amqp://guest:guest@rabbitmq:5672//"
    )
    # For deployments that have them apart from the address: put into it when it has none.
    celery_broker_username: Annotated[str | None, BeforeValidator(_encodable)] = Field(None, min_length=1)
    celery_broker_password: Annotated[SecretStr | None, BeforeValidator(_encodable)] = Field(None, min_length=1)
    celery_result_backend: Annotated[SecretStr, _address(BACKEND_SCHEMES)] = SecretStr("rpc://")
    filesystem_broker_dir: str = Field("var/broker", min_length=1)

    users_schedule_cron: CronSetting = Cron.parse(_USERS_CRON)
    enrich_addr_cron: CronSetting = Cron.parse(_ENRICH_CRON)
    enrich_cc_cron: CronSetting = Cron.parse(_ENRICH_CRON)
    enrich_batch_size: int = Field(20, ge=1, le=100_000)

    # Not shown: they may carry a name and a password.
    users_api_url: HttpUrl = Field(_SAMPLE_URL, repr=False)
    address_api_url: HttpUrl = Field(_SAMPLE_URL, repr=False)
    credit_card_api_url: HttpUrl = Field(_SAMPLE_URL, repr=False)
    users_api_source: SourceName = "auto"
    address_api_source: SourceName = "auto"
    credit_card_api_source: SourceName = "auto"
    users_page_size: int = Field(100, ge=1, le=1_000)
    provider_connect_timeout_seconds: float = Field(3.0, gt=0, le=60)
    provider_timeout_seconds: float = Field(10.0, gt=0, le=120)
    provider_parallelism: int = Field(4, ge=1, le=32)
    provider_max_body_bytes: int = Field(20_000_000, ge=1_000)

    chunk_rows: int = Field(2_500, ge=1, le=100_000)
    chunk_seconds: float = Field(10.0, gt=0)
    chunk_lease_seconds: int = Field(60, ge=2, le=3_600)
    chunk_max_attempts: int = Field(6, ge=1, le=50)
    reaper_interval_seconds: float = Field(10.0, gt=0, le=3_600)
    task_soft_time_limit_seconds: int = Field(270, ge=1)
    task_time_limit_seconds: int = Field(300, ge=2, le=1_500)
    runs_keep_days: int = Field(30, ge=1)
    # A worker's /tmp is its own.
    heartbeat_file: str = Field("/tmp/synergyway-heartbeat", min_length=1)  # noqa: S108  # nosec B108

    # Whatever scrapes it comes from outside.
    metrics_host: str = Field("0.0.0.0", min_length=1)  # noqa: S104  # nosec B104
    metrics_port: int = Field(9100, ge=0, le=65_535)

    @property
    def broker_url(self) -> str:
        """The broker's address, or several with ``;`` between them, each with user and password, percent-encoded."""
        url = self.celery_broker_url.get_secret_value()
        if self.celery_broker_password is None:
            return url
        password = quote(self.celery_broker_password.get_secret_value(), safe="")
        user = f"{quote(self.celery_broker_username or '', safe='')}:{password}"
        return ";".join(_with_user(alternative, user) for alternative in url.split(";"))

    @model_validator(mode="after")
    def _token_is_there(self) -> "Settings":
        if self.read_token_required and self.api_token is None:
            raise ValueError(
                "READ_TOKEN_REQUIRED=true needs an API_TOKEN that readers can send; set one, for example the output of "
                "`openssl rand -hex 32`"
            )
        return self

    @model_validator(mode="after")
    def _limits_agree(self) -> "Settings":
        if not self.chunk_seconds < self.task_soft_time_limit_seconds < self.task_time_limit_seconds:
            raise ValueError(
                "CHUNK_SECONDS, TASK_SOFT_TIME_LIMIT_SECONDS and TASK_TIME_LIMIT_SECONDS must grow in this order; "
                f"they are {self.chunk_seconds:g}, {self.task_soft_time_limit_seconds}, {self.task_time_limit_seconds}"
            )
        # The lease is renewed when something is written. Until then a source may use up the chunk's time and two more
        # answers, each of which may wait for its connection first. Before it is known for whom it has an answer, it is
        # asked four times, however long that takes: for two pages, for users one by one, and for nobody in particular.
        answer = self.provider_connect_timeout_seconds + self.provider_timeout_seconds
        slowest = max(self.chunk_seconds + 2 * answer, 4 * answer)
        if slowest > self.chunk_lease_seconds:
            raise ValueError(
                "CHUNK_LEASE_SECONDS must be at least CHUNK_SECONDS + 2 x (PROVIDER_CONNECT_TIMEOUT_SECONDS + "
                "PROVIDER_TIMEOUT_SECONDS), and at least 4 x these two, or slow answers cost the lease: "
                f"{slowest:g}, and it is {self.chunk_lease_seconds}"
            )
        return self


_HIDDEN = frozenset(
    name for name in Settings.model_fields if name.endswith(("_url", "_backend", "_password", "_token"))
)
_EXAMPLES = {
    "app_env": "local",
    "log_level": "INFO",
    "api_token": "<what `openssl rand -hex 32` prints>",  # nosec B105
    "database_url": "postgresql+psycopg://user:password@host:5432/name",
    "celery_broker_url": "amqp://user:password@host:5672//",
    "celery_broker_username": "synergyway",
    "celery_broker_password": "<what `openssl rand -hex 32` prints>",  # nosec B105
    "celery_result_backend": "rpc://",
}


def load_settings(environ: Mapping[str, Any] | None = None) -> Settings:
    """The settings of this process.

    Raises ConfigurationError with one line for each wrong variable: its name, what is wrong, an example.
    """
    try:
        return Settings() if environ is None else Settings(_env_file=None, **{k.lower(): v for k, v in environ.items()})
    except ValidationError as error:
        problems = [_explain(detail["loc"], detail["msg"], detail["input"]) for detail in error.errors()]
        raise ConfigurationError("\n".join(problems)) from None


def settings_or_exit() -> Settings:
    """The settings of this process, or its end with the explanation on standard error and exit code 1."""
    try:
        return load_settings()
    except ConfigurationError as error:
        _exit(str(error))


def _exit(message: str) -> NoReturn:
    raise SystemExit(message)


def _explain(location: tuple[int | str, ...], message: str, value: object) -> str:
    text = message.removeprefix("Value error, ")
    if not location:
        return f"Wrong settings: {text}."
    name = str(location[0])
    default = Settings.model_fields[name].default
    example = _EXAMPLES.get(name, str(default))
    # A malformed address may hide its password where no pattern finds it.
    shown = "***" if name in _HIDDEN else str(value)
    return f"{name.upper()}={shown!r} is wrong: {text}. Example: {name.upper()}={example!r}"
