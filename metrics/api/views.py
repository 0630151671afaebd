"""Metrics over HTTP (contract 2.11 and 10): each method parses, asks and answers."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs.api.views import ERRORS
from metrics import pull, runtime
from metrics.api import serializers as shapes
from rauskuclaw.api.pagination import int_param, text_param
from rauskuclaw.config import load
from rauskuclaw.errors import bad_field
from rauskuclaw.patterns import QUEUE


class MetricsView(APIView):
    """What happened lately, and what is wrong now."""

    @extend_schema(
        operation_id="runtime_metrics",
        tags=["runtime"],
        parameters=[
            OpenApiParameter(
                "window_sec", OpenApiTypes.INT,
                description=f"How far back to count, {pull.MIN_WINDOW_SEC} to {pull.MAX_WINDOW_SEC} seconds; default"
                " ALERT_WINDOW_SEC.",
            ),
            OpenApiParameter("queue", OpenApiTypes.STR, description="Only this; 403 when the key may not use it."),
        ],
        responses={200: shapes.MetricsAnswer, **ERRORS},
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Counters of the window, jobs by status, and the alerts that hold. With a queue, or a key with an allowlist:
        of these queues, and only counters that know their queue."""
        window_sec = int_param(
            request, "window_sec", load().alert_window_sec, pull.MAX_WINDOW_SEC, minimum=pull.MIN_WINDOW_SEC
        )
        return Response({"ok": True, **pull.metrics(window_sec, _queues(request))})


class WorkersView(APIView):
    """Who works on what."""

    @extend_schema(operation_id="runtime_workers", tags=["runtime"], responses={200: shapes.WorkersAnswer, **ERRORS})
    def get(self, request: Request) -> Response:
        """The live workers, and the jobs that each runs. A key with a queue allowlist sees those on its queues."""
        found = runtime.workers(principal_of(request))
        return Response({"ok": True, "workers": found, "count": len(found)})


class RuntimeQueuesView(APIView):
    """How busy the queues are, with their rates."""

    @extend_schema(operation_id="runtime_queues", tags=["runtime"], responses={200: shapes.QueuesAnswer, **ERRORS})
    def get(self, request: Request) -> Response:
        """The queues that this key may see: as `GET /v1/queues`, and how many jobs came and went in the last minute."""
        found = runtime.busy_queues(principal_of(request))
        return Response({"ok": True, "queues": found, "count": len(found)})


class HandlersView(APIView):
    """What the built-in handlers that reach out are set to."""

    @extend_schema(operation_id="runtime_handlers", tags=["runtime"], responses={200: shapes.HandlersAnswer, **ERRORS})
    def get(self, request: Request) -> Response:
        """Which are switched on; for admins also their allowlists and limits."""
        return Response({"ok": True, "handlers": runtime.handlers(principal_of(request))})


class ProvidersView(APIView):
    """What the language model providers are set to."""

    @extend_schema(
        operation_id="runtime_providers", tags=["runtime"], responses={200: shapes.ProvidersAnswer, **ERRORS}
    )
    def get(self, request: Request) -> Response:
        """Which are switched on; for admins also how."""
        return Response({"ok": True, "providers": runtime.providers(principal_of(request))})


def _queues(request: Request) -> tuple[str, ...] | None:
    """The queues to look at; None for all. Raises VALIDATION_ERROR, FORBIDDEN."""
    principal, queue = principal_of(request), text_param(request, "queue")
    if queue is None:
        return principal.queue_allowlist
    if not QUEUE.fullmatch(queue):
        raise bad_field("queue", "must be 1 to 80 characters of a-z 0-9 . _ : -")
    principal.require_queue(queue)
    return (queue,)
