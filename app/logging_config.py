"""Logs: one JSON object a line on every role, or a readable line on a developer's terminal."""

import logging
import logging.config
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from app import __version__, tracing
from app.utils.masking import redact

_ids: ContextVar[Mapping[str, object]] = ContextVar("log_ids", default=MappingProxyType({}))


@contextmanager
def log_ids(**ids: object) -> Iterator[None]:
    """Adds ids to every line logged inside, and in threads that copy this context."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def add_log_ids(**ids: object) -> None:
    """Adds ids to every line logged from here on; None takes one away."""
    _ids.set({name: value for name, value in {**_ids.get(), **ids}.items() if value is not None})


class _AddIds(logging.Filter):
    """Those at hand, and those of the span that is open."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _ids.get().items():
            setattr(record, name, value)
        if ids := tracing.current_ids():
            record.trace_id, record.span_id = ids
        return True


class JsonLines(JsonFormatter):
    """One object a line: time, level, logger, message, service, role, version, and the ids at hand."""

    def __init__(self, role: str) -> None:
        super().__init__(
            "{levelname}{name}{message}",
            style="{",
            rename_fields={"levelname": "level", "name": "logger"},
            static_fields={"service": "synergyway", "role": role, "version": __version__},
            json_ensure_ascii=False,
        )

    def add_fields(self, log_data, record, message_dict):  # type: ignore[no-untyped-def]  # as in the library
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        super().add_fields(log_data, record, message_dict)
        # What a worker's main process logs of a task that it has received, or that has succeeded.
        task = log_data.get("data")
        if isinstance(task, Mapping) and {"id", "name"} <= task.keys():
            log_data.setdefault("task_id", task["id"])
            log_data.setdefault("task_name", task["name"])
        for name in ("color_message", "data", "taskName"):  # uvicorn's, Celery's and asyncio's own
            log_data.pop(name, None)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {name: redact(value) if isinstance(value, str) else value for name, value in log_data.items()}


class ReadableLines(logging.Formatter):
    """A line for a person: time, level, role, logger, message, ids."""

    def __init__(self, role: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {role:<7} %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        ids = " ".join(f"{name}={value}" for name, value in _ids.get().items())
        text = redact(super().format(record))
        return f"{text} [{ids}]" if ids else text


def configure_logging(*, level: str, app_env: str, role: str) -> None:
    """Sends every logger of this process to standard error in the form that fits it."""
    readable = app_env == "local" and sys.stderr.isatty()
    formatter = {"()": ReadableLines if readable else JsonLines, "role": role}
    # These bring handlers and levels of their own when they start.
    libraries = ("uvicorn", "uvicorn.error", "celery", "celery.task", "celery.redirected", "flower")
    access = logging.getLogger("uvicorn.access")
    # `uvicorn --no-access-log` leaves it neither a handler nor a way up, and looks for these at each request.
    access_is_wanted = bool(access.handlers) or access.propagate
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"ids": {"()": _AddIds}},
            "formatters": {"lines": formatter},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines", "filters": ["ids"]}},
            "root": {"level": level, "handlers": ["stderr"]},
            "loggers": {
                **{name: {"handlers": [], "propagate": True, "level": "NOTSET"} for name in libraries},
                access.name: {"handlers": [], "propagate": access_is_wanted, "level": "NOTSET"},
                # A line at INFO for each connection that is taken and returned.
                "psycopg.pool": {"level": "WARNING"},
            },
        }
    )
    logging.captureWarnings(True)
