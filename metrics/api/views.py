"""Metrics over HTTP (contract 2.11 and 10): each method parses, asks and answers."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs.api.views import ERRORS
from metrics import pull
from metrics.api import serializers as shapes
from rauskuclaw import errors
from rauskuclaw.api.pagination import int_param, text_param
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
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


def _queues(request: Request) -> tuple[str, ...] | None:
    """The queues to look at; None for all. Raises VALIDATION_ERROR, FORBIDDEN."""
    principal, queue = principal_of(request), text_param(request, "queue")
    if queue is None:
        return principal.queue_allowlist
    if not QUEUE.fullmatch(queue):
        fault = {"path": "queue", "message": "must be 1 to 80 characters of a-z 0-9 . _ : -"}
        raise Problem(errors.VALIDATION_ERROR, f"queue {fault['message']}", {"errors": [fault]})
    principal.require_queue(queue)
    return (queue,)
