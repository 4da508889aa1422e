"""Traces by OpenTelemetry, set up by its own OTEL_* variables. Without an endpoint nothing is traced or sent.

A process that works sets itself up once, after the fork: the api, beat, and each child of a worker. Attributes are
given by keywords whose double underscores stand for dots.
"""

import logging
import os
import secrets
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.context import Context, attach, detach
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import (
    INVALID_SPAN,
    NoOpTracer,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)

from app import __version__
from app.utils.masking import redact

if TYPE_CHECKING:
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
    from sqlalchemy import Engine

# A process that ends waits no longer for a collector that does not answer.
_STOP_SECONDS = 3
_NO_TRACER = NoOpTracer()
_QUIET_SECONDS = 60
_COMPLAINING = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")

_provider: "TracerProvider | None" = None
_tracer: Tracer = _NO_TRACER
_instrumentor: "SQLAlchemyInstrumentor | None" = None
_engines: "list[Engine]" = []


def set_up_tracing(role: str) -> bool:
    """Whether this process traces what it does from here on: an OTLP endpoint is configured.

    OpenTelemetry itself would send to localhost when none is, and complain for ever.
    """
    global _provider, _tracer  # noqa: PLW0603  # one of each a process
    if not _is_wanted(os.environ):
        return False
    # The names of what spans tell that are settled; an instrumentation reads it once.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    # The SDK costs a role that is not traced a good part of its start.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = {"service.namespace": "synergyway", "service.version": __version__}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        named[SERVICE_NAME] = f"synergyway-{role}"
    # Without its own exit handler, which would wait for a dead collector. Over HTTP: gRPC does not survive a fork.
    _provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    _provider.sampler = cast("Sampler", _OnlyBelowOthers(_provider.sampler))
    for name in _COMPLAINING:
        logging.getLogger(name).addFilter(_once_a_minute)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("synergyway", __version__)
    return True


class _OnceAMinute(logging.Filter):
    """A collector that is away is worth a line, and not several for each batch."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, _: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _QUIET_SECONDS
        return True


_once_a_minute = _OnceAMinute()


class _OnlyBelowOthers:
    """A sampler by which a statement or a request that belongs to nothing, such as a probe's, is no trace.

    The rest is decided by the sampler that OTEL_TRACES_SAMPLER names.
    """

    def __init__(self, sampler: "Sampler") -> None:
        self._sampler = sampler

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, kind: SpanKind | None = None, *more: Any
    ) -> "SamplingResult":
        from opentelemetry.sdk.trace.sampling import ALWAYS_OFF  # noqa: PLC0415

        is_alone = kind is SpanKind.CLIENT and not get_current_span(parent_context).get_span_context().is_valid
        return (ALWAYS_OFF if is_alone else self._sampler).should_sample(parent_context, trace_id, name, kind, *more)

    def get_description(self) -> str:
        return f"OnlyBelowOthers({self._sampler.get_description()})"


def is_set_up() -> bool:
    """Whether this process traces what it does."""
    return _provider is not None


def stop_tracing() -> None:
    """Sends what is left to send, for a few seconds at the most."""
    global _provider, _tracer, _instrumentor
    provider, _provider, _tracer = _provider, None, _NO_TRACER
    instrumentor, _instrumentor = _instrumentor, None
    if instrumentor is not None:
        instrumentor.uninstrument()
        _engines.clear()
    if provider is not None:
        # The SDK's own limits do not hold while a collector accepts connections and says nothing.
        last = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(_STOP_SECONDS)


def trace_database(engine: "Engine") -> None:
    """Makes each statement of the engine a span. Values are parameters, and are in none of them."""
    global _instrumentor  # noqa: PLW0603
    if _provider is None:
        return
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor  # noqa: PLC0415

    # It is set up once for all engines, so once more when another one comes.
    if _instrumentor is not None:
        _instrumentor.uninstrument()
    _engines.append(engine)
    _instrumentor = SQLAlchemyInstrumentor()
    _instrumentor.instrument(engines=_engines, tracer_provider=_provider)


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    *,
    carrier: Mapping[str, str] | None = None,
    **attributes: str | int,
) -> Iterator[Span]:
    """A span around what is done inside, below the one that is open.

    carrier: the headers that name the span above it instead; when they name none, it begins a trace.
    """
    if _provider is None:
        yield INVALID_SPAN
        return
    current = get_current_span()
    if carrier is None and current.get_span_context().is_valid and not current.is_recording():
        # Sampling has left the trace out, and what is below it too.
        yield current
        return
    above = None if carrier is None else extract(carrier, Context())
    # Not start_as_current_span, whose layers cost as much again.
    opened = _tracer.start_span(name, above, kind, _named(attributes))
    token = attach(set_span_in_context(opened, above))
    try:
        yield opened
    except Exception as error:
        mark_failed(error)
        raise
    finally:
        detach(token)
        opened.end()


def annotate(**attributes: str | int) -> None:
    """Adds attributes to the span that is open."""
    get_current_span().set_attributes(_named(attributes))


def mark_failed(error: BaseException) -> None:
    """Marks the span that is open as failed, and keeps the error as the logs show it."""
    message = redact(str(error))
    shown = {"exception.message": message, "exception.stacktrace": redact("".join(traceback.format_exception(error)))}
    opened = get_current_span()
    opened.record_exception(error, shown)
    opened.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {message}"))


def add_headers(headers: MutableMapping[str, Any], trace_id: str | None = None) -> None:
    """Tells whoever receives the headers which span they come from, or at least which trace they belong to."""
    if get_current_span().get_span_context().is_valid:
        inject(headers)
    elif trace_id is not None:
        # As in https://www.w3.org/TR/trace-context/, below a span that nobody has seen.
        headers["traceparent"] = f"00-{trace_id}-{secrets.token_hex(8)}-01"


def current_ids() -> tuple[str, str] | None:
    """The ids of the trace and the span that are open."""
    context = get_current_span().get_span_context()
    return (format_trace_id(context.trace_id), format_span_id(context.span_id)) if context.is_valid else None


def kept_trace_id() -> str | None:
    """The id of the open trace when it can be looked up later: sampling has not left it out."""
    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid and context.trace_flags.sampled else None


def _named(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    return {key.replace("__", "."): value for key, value in attributes.items()}


def _is_wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() != "otlp":
        return False
    return any(environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("TRACES_", ""))
