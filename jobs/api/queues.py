"""Queues over HTTP: how busy they are, pausing them, limiting them."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs import queues
from jobs.api import serializers as shapes
from jobs.api.views import ERRORS
from jobs.queues import QueueChange

CHANGE = {"paused": False, "max_running": 4}
QUEUE_ANSWER = shapes.answer("QueueAnswer", queue=shapes.Queue())


class QueuesView(APIView):
    """The queues that this key may see."""

    @extend_schema(
        operation_id="queues_list",
        tags=["queues"],
        responses={
            200: shapes.answer("QueueList", queues=shapes.Queue(many=True), count=fields.IntegerField()),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """List every queue that a job was on, a live worker consumes or somebody has set something for, by name."""
        shown = [queue.as_json() for queue in queues.overviews(principal_of(request))]
        return Response({"ok": True, "queues": shown, "count": len(shown)})


class QueueView(APIView):
    """One queue."""

    examples: ClassVar[dict[str, Any]] = {"PATCH": CHANGE}

    @extend_schema(operation_id="queues_get", tags=["queues"], responses={200: QUEUE_ANSWER, **ERRORS})
    def get(self, request: Request, name: str) -> Response:
        """Get a queue; 403 when the key may not use it."""
        return _shown(request, name)

    @extend_schema(
        operation_id="queues_update",
        tags=["queues"],
        request=shapes.QueueChange,
        responses={200: QUEUE_ANSWER, **ERRORS},
        examples=[OpenApiExample("Four jobs at once", CHANGE, request_only=True)],
    )
    def patch(self, request: Request, name: str) -> Response:
        """Pause, resume or limit a queue, used or not; it acts at once, and jobs that run go on."""
        return _changed(request, name, queues.parse_change(request.data))


class QueuePauseView(APIView):
    """Pausing a queue."""

    @extend_schema(operation_id="queues_pause", tags=["queues"], request=None, responses={200: QUEUE_ANSWER, **ERRORS})
    def post(self, request: Request, name: str) -> Response:
        """Let no job of the queue begin until it is resumed; those that run go on, new ones may be created."""
        return _changed(request, name, QueueChange(paused=True))


class QueueResumeView(APIView):
    """Resuming a queue."""

    @extend_schema(operation_id="queues_resume", tags=["queues"], request=None, responses={200: QUEUE_ANSWER, **ERRORS})
    def post(self, request: Request, name: str) -> Response:
        """Let jobs of the queue begin again, now."""
        return _changed(request, name, QueueChange(paused=False))


def _changed(request: Request, name: str, change: QueueChange) -> Response:
    principal = principal_of(request)
    queues.change(name, change, by=principal.actor, principal=principal)
    return _shown(request, name)


def _shown(request: Request, name: str) -> Response:
    return Response({"ok": True, "queue": queues.overview(name, principal=principal_of(request)).as_json()})
