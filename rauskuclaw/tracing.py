"""Traces by OpenTelemetry: off, and nothing of it even imported, unless the standard OTEL_* variables ask for them.

One trace goes from a request through its job's attempts to the callback: who makes a job writes its `traceparent`
(W3C Trace Context) into the job's row, and claims and callbacks bring it along, so that it costs no round trip.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

_ASKING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NOTHING: AbstractContextManager[None] = nullcontext()


def _is_asked_for() -> bool:
    """By the variables that OpenTelemetry itself reads; they are its own, and so not in `rauskuclaw.config`."""
    env, exporter = os.environ, os.environ.get("OTEL_TRACES_EXPORTER")
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    return exporter == "otlp" or any(env.get(name) for name in _ASKING)


enabled = _is_asked_for()
"""Whether this process makes spans."""


def import_redis_plainly() -> None:
    """Import redis-py so that it finds no OpenTelemetry, unless traces are on: it imports the SDK wherever that is
    installed, 40 ms and 3 MB in every process, for metrics that nobody has asked it for."""
    if enabled or "redis" in sys.modules or "opentelemetry" in sys.modules:
        return
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        import redis.asyncio  # noqa: F401
    finally:
        del sys.modules["opentelemetry"]


@cache
def _tracer() -> Tracer:
    """Set up at the first span: the thread that sends them must be the process' own, and pool processes are forked."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from rauskuclaw import __version__

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "rauskuclaw"}
    provider = TracerProvider(resource=Resource.create({**named, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    HTTPXClientInstrumentor().instrument()
    return trace.get_tracer("rauskuclaw", __version__)


def instrument_web() -> None:
    """In the web process, before Django loads its middlewares: a span for each request."""
    if enabled:
        from opentelemetry.instrumentation.django import DjangoInstrumentor

        _tracer()
        DjangoInstrumentor().instrument()


def flush() -> None:
    """Send what is waiting: for processes that end without Python's exit handlers."""
    if enabled and _tracer.cache_info().currsize:
        from opentelemetry import trace

        trace.get_tracer_provider().force_flush(2000)  # type: ignore[attr-defined]


def traceparent() -> str | None:
    """Of the current span, for a row or a header; None without one."""
    if not enabled:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def now_ns() -> int:
    """When something begins that turns out to be a span only when it is over (`past_span`); 0 while traces are off."""
    return time.time_ns() if enabled else 0


def span(
    name: str, *, parent: str | None = None, kind: str = "internal", **attributes: Any
) -> AbstractContextManager[Any]:
    """A span for the length of a block; within, it is the current one.

    parent: a `traceparent`; None: the current span. kind: internal, client, producer or consumer.
    """
    return _span(name, parent, kind, attributes) if enabled else _NOTHING


def note(span: Any, *, error: str = "", **attributes: Any) -> None:
    """Say of an open span what came of it. error: what went wrong, if anything did."""
    if span is not None:
        from opentelemetry.trace import Status, StatusCode

        span.set_attributes(_attributes(attributes))
        if error:
            span.set_status(Status(StatusCode.ERROR, error))


def trace_id() -> str | None:
    """Of the current span, 32 hex digits; None without one."""
    parent = traceparent()
    return None if parent is None else parent.split("-")[1]


def past_span(name: str, *, parent: str | None, since_ns: int, **attributes: Any) -> None:
    """A span that began at `since_ns` and ends now."""
    if enabled:
        _tracer().start_span(
            name, context=_context(parent), start_time=since_ns, attributes=_attributes(attributes)
        ).end()


@contextmanager
def _span(name: str, parent: str | None, kind: str, attributes: dict[str, Any]) -> Iterator[Any]:
    from opentelemetry.trace import SpanKind

    with _tracer().start_as_current_span(
        name, context=_context(parent), kind=SpanKind[kind.upper()], attributes=_attributes(attributes)
    ) as opened:
        yield opened


def _context(parent: str | None) -> Context | None:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def _attributes(values: dict[str, Any]) -> dict[str, Any]:
    """`job_id=…` as `rauskuclaw.job_id`: a name of our own, since there is no convention for jobs."""
    return {f"rauskuclaw.{name}": value for name, value in values.items() if value is not None}
