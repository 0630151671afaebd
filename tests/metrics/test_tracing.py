"""Traces: one from a request through its job to the callback, and nothing at all while they are off."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from rauskuclaw import tracing
from rauskuclaw.config import ROOT
from tests.net.servers import serving
from tests.running import RunningStack, running_stack, wait_until


class Collector:
    """What an OTLP collector was sent over HTTP."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self._lock = threading.Lock()
        self.port = 0

    def take(self, body: bytes) -> None:
        """Keep the spans of a request, each with its service."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for of in request.resource_spans:
                names = [it.value.string_value for it in of.resource.attributes if it.key == "service.name"]
                self.spans += [(names[0], span) for scope in of.scope_spans for span in scope.spans]

    def of_trace(self, trace_id: str) -> dict[str, Span]:
        """By name."""
        with self._lock:
            return {span.name: span for _, span in self.spans if span.trace_id.hex() == trace_id}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of 127.0.0.1."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def attributes(span: Span) -> dict[str, Any]:
    return {it.key.removeprefix("rauskuclaw."): it.value.string_value or it.value.int_value for it in span.attributes}


def test_off_it_is_not_even_imported() -> None:
    program = (
        "import sys, rauskuclaw.asgi, rauskuclaw.celery, jobs.tasks; from rauskuclaw import tracing\n"
        "assert not tracing.enabled and tracing.traceparent() is None\n"
        "tracing.past_span('x', parent=None, since_ns=0)\n"
        "with tracing.span('x') as span: assert span is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )

    out = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert out.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({}, False), ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
    ids=["nothing", "endpoint", "endpoint for traces", "exporter", "disabled", "no exporter"],
)  # fmt: skip
def test_the_standard_variables_switch_it_on(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], asked: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert tracing._is_asked_for() is asked


@pytest.fixture(scope="module")
def traced() -> Iterator[tuple[RunningStack, Collector]]:
    with (
        collecting() as collector,
        running_stack(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}", OTEL_BSP_SCHEDULE_DELAY="200",
            CALLBACK_ALLOWLIST="127.0.0.1", LOG_FORMAT="json",
        ) as stack,
    ):  # fmt: skip
        yield stack, collector


@pytest.mark.stack
@pytest.mark.xdist_group("traced stack")
@pytest.mark.parametrize("type_", ["report.generate", "data.fetch"], ids=["process pool", "I/O pool"])
def test_one_trace_goes_from_the_request_to_the_callback(traced: tuple[RunningStack, Collector], type_: str) -> None:
    stack, collector = traced
    trace_id, caller = uuid.uuid4().hex, "00f067aa0ba902b7"
    given = {"title": "x"} if type_ == "report.generate" else {"url": "https://example.com/"}
    with serving(lambda exchange: exchange.answer(204)) as receiver:
        answer = stack.http.post(
            "/v1/jobs",
            json={"type": type_, "input": given, "callback_url": f"http://127.0.0.1:{receiver.port}/"},
            headers={"traceparent": f"00-{trace_id}-{caller}-01"},
        )
        job_id = answer.json()["job"]["id"]
        names = {"POST v1/jobs", "publish", "claim", f"run {type_}", "callback"}
        wait_until(lambda: names <= collector.of_trace(trace_id).keys(), what="all spans of the trace")

    spans = collector.of_trace(trace_id)
    request, run = spans["POST v1/jobs"], spans[f"run {type_}"]
    assert request.parent_span_id.hex() == caller
    assert {spans[name].parent_span_id for name in names - {"POST v1/jobs"}} == {request.span_id}
    assert attributes(run)["job_id"] == job_id
    assert attributes(run)["outcome"] == ("succeeded" if type_ == "report.generate" else "failed")
    assert attributes(spans["claim"])["attempt"] == 1
    assert spans["claim"].end_time_unix_nano <= run.start_time_unix_nano
    (sent,) = receiver.seen
    assert sent.headers["traceparent"].split("-")[1:3] == [trace_id, spans["callback"].span_id.hex()]
    assert {service for service, _ in collector.spans} == {"rauskuclaw"}
    assert f'"trace_id": "{trace_id}"' in stack.log
