"""Traces by OpenTelemetry, set up by its own OTEL_* variables. Without an endpoint nothing is traced or sent.

A process that works sets itself up once, after the fork: the api, beat, and each child of a worker. Attributes are
given by keywords whose double underscores stand for dots.
"""

import logging
import os
import random
import secrets
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.context import Context, attach, detach
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
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
from app.utils.log_filters import OnceAMinute
from app.utils.masking import redact

if TYPE_CHECKING:
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
    from sqlalchemy import Engine

# A process that ends waits no longer for a collector that does not answer.
_STOP_SECONDS = 3
_NO_TRACER = NoOpTracer()
_NO_SPAN = nullcontext(INVALID_SPAN)
_NOTHING_ABOVE = Context()
_LOW_BITS = (1 << 64) - 1
_COMPLAINING = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")

_provider: "TracerProvider | None" = None
_tracer: Tracer = _NO_TRACER
# A collector that is away is worth a line, and not several for each batch.
_once_a_minute = OnceAMinute()
# Of the traces that begin here a ratio keeps those whose low bits are below this; None while there is no such ratio.
_keeps_below: int | None = None
_instrumentor: "SQLAlchemyInstrumentor | None" = None
_engines: "list[Engine]" = []


def set_up_tracing(role: str) -> bool:
    """Whether this process traces what it does from here on: an OTLP endpoint is configured.

    OpenTelemetry itself would send to localhost when none is, and complain for ever.
    """
    global _provider, _tracer, _keeps_below  # noqa: PLW0603  # one of each a process
    if not _is_wanted(os.environ):
        return False
    # The names of what spans tell that are settled; an instrumentation reads it once.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    # The SDK costs a role that is not traced a good part of its start.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased  # noqa: PLC0415

    named = {"service.namespace": "synergyway", "service.version": __version__, "synergyway.role": role}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        named[SERVICE_NAME] = f"synergyway-{role}"
    # Without its own exit handler, which would wait for a dead collector. Over HTTP: gRPC does not survive a fork.
    _provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    # What decides below nothing. Without that name each decision is left to the SDK.
    for_roots = getattr(_provider.sampler, "_root", _provider.sampler)
    _keeps_below = for_roots.bound if isinstance(for_roots, TraceIdRatioBased) else None
    if _keeps_below is not None:
        _provider.id_generator = _kept_ids(_keeps_below)
    _provider.sampler = cast("Sampler", _OnlyBelowOthers(_provider.sampler, ALWAYS_OFF))
    for name in _COMPLAINING:
        logging.getLogger(name).addFilter(_once_a_minute)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("synergyway", __version__)
    return True


def _kept_ids(below: int) -> "RandomIdGenerator":
    """Ids of traces that a ratio keeps: what it leaves out never comes to the SDK."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator as Ids  # noqa: PLC0415

    class KeptIds(Ids):
        def generate_trace_id(self) -> int:
            low = random.randrange(max(below, 1))  # noqa: S311  # nosec B311  # no secret
            return random.getrandbits(64) << 64 | low  # nosec B311

    return KeptIds()


class _OnlyBelowOthers:
    """A sampler by which a statement or a request that belongs to nothing, such as a probe's, is no trace.

    The rest is decided by the sampler that OTEL_TRACES_SAMPLER names.
    """

    def __init__(self, sampler: "Sampler", for_loners: "Sampler") -> None:
        self._sampler, self._for_loners = sampler, for_loners

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, kind: SpanKind | None = None, *more: Any
    ) -> "SamplingResult":
        is_alone = kind is SpanKind.CLIENT and not get_current_span(parent_context).get_span_context().is_valid
        sampler = self._for_loners if is_alone else self._sampler
        return sampler.should_sample(parent_context, trace_id, name, kind, *more)

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


def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    *,
    carrier: Mapping[str, str] | None = None,
    **attributes: str | int,
) -> AbstractContextManager[Span]:
    """A span around what is done inside, below the one that is open.

    carrier: the headers that name the span above it instead; when they name none, it begins a trace.
    """
    if _provider is None:
        return _NO_SPAN
    if carrier is None:
        current = get_current_span()
        if current.get_span_context().is_valid and not current.is_recording():
            # Sampling has left the trace out, and what is below it too.
            return nullcontext(current)
    return _OpenSpan(name, kind, carrier, attributes)


class _OpenSpan:
    """A span that is open inside. Neither a generator nor start_as_current_span, which cost as much again."""

    __slots__ = ("_above", "_attributes", "_kind", "_name", "_opened", "_token")

    def __init__(
        self, name: str, kind: SpanKind, carrier: Mapping[str, str] | None, attributes: Mapping[str, str | int]
    ) -> None:
        self._name, self._kind, self._attributes = name, kind, attributes
        self._above = None if carrier is None else extract(carrier, _NOTHING_ABOVE) if carrier else _NOTHING_ABOVE

    def __enter__(self) -> Span:
        self._opened = self._left_out() or _tracer.start_span(
            self._name, self._above, self._kind, _named(self._attributes)
        )
        self._token = attach(set_span_in_context(self._opened, self._above))
        return self._opened

    def _left_out(self) -> Span | None:
        """The span of a trace that begins here and that the ratio leaves out; asking the SDK costs four times that."""
        if _keeps_below is None:
            return None
        if self._above is not _NOTHING_ABOVE and get_current_span(self._above).get_span_context().is_valid:
            return None
        trace_id = random.getrandbits(128)  # nosec B311  # no secret
        if trace_id & _LOW_BITS < _keeps_below:
            return None
        return NonRecordingSpan(SpanContext(trace_id, random.getrandbits(64) or 1, is_remote=False))  # nosec B311

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        try:
            if isinstance(error, Exception):
                mark_failed(error)
        finally:
            detach(self._token)
            self._opened.end()


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


def trace_id_in(headers: Mapping[str, Any]) -> str | None:
    """The id of the trace that a message belongs to, by its headers."""
    carrier = {"traceparent": headers.get("traceparent") or ""}
    above = get_current_span(extract(carrier, _NOTHING_ABOVE)).get_span_context()
    return format_trace_id(above.trace_id) if above.is_valid else None


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
