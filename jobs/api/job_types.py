"""Job types over HTTP (contract 2.7)."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs import job_types, queries
from jobs.api import serializers as shapes
from jobs.api.views import ERRORS
from jobs.representation import type_json

NEW_TYPE = {
    "name": "report.nightly",
    "handler": "builtin:report.generate",
    "default_timeout_sec": 300,
    "default_max_attempts": 3,
    "retry": {"base_sec": 5, "factor": 2, "max_sec": 600, "jitter": 0.2},
    "limits": {"max_running": 4, "rate": {"limit": 100, "period_sec": 3600}},
}
CHANGE = {"enabled": True, "default_max_attempts": 3}
TYPE_ANSWER = shapes.answer("JobTypeAnswer", type=shapes.JobType())


class JobTypesView(APIView):
    """The kinds of jobs there are: what runs them, their defaults, and the JSON Schema of their input."""

    examples: ClassVar[dict[str, Any]] = {"POST": NEW_TYPE}

    @extend_schema(
        operation_id="job_types_list",
        tags=["job types"],
        responses={
            200: shapes.answer("JobTypeList", types=shapes.JobType(many=True), count=fields.IntegerField()),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """List the job types by name."""
        types = [type_json(job_type) for job_type in queries.job_types()]
        return Response({"ok": True, "types": types, "count": len(types)})

    @extend_schema(
        operation_id="job_types_create",
        tags=["job types"],
        request=shapes.NewJobType,
        responses={201: TYPE_ANSWER, **ERRORS},
        examples=[OpenApiExample("A nightly report", NEW_TYPE, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Create a job type; 409 when the name exists."""
        created = job_types.create(job_types.parse_new(request.data), by=principal_of(request).actor)
        return Response({"ok": True, "type": type_json(created)}, status=201)


class JobTypeView(APIView):
    """One kind of jobs."""

    examples: ClassVar[dict[str, Any]] = {"PATCH": CHANGE}

    @extend_schema(operation_id="job_types_get", tags=["job types"], responses={200: TYPE_ANSWER, **ERRORS})
    def get(self, request: Request, name: str) -> Response:
        """Get a job type."""
        return Response({"ok": True, "type": type_json(queries.job_type(name))})

    @extend_schema(
        operation_id="job_types_update",
        tags=["job types"],
        request=shapes.JobTypeChange,
        responses={200: TYPE_ANSWER, **ERRORS},
        examples=[OpenApiExample("Enable it, with three attempts", CHANGE, request_only=True)],
    )
    def patch(self, request: Request, name: str) -> Response:
        """Change a job type. Jobs that exist keep their time limit and attempts; a pause and `limits` act at once."""
        changed = job_types.update(name, job_types.parse_change(request.data), by=principal_of(request).actor)
        return Response({"ok": True, "type": type_json(changed)})


class JobTypePauseView(APIView):
    """Pausing a job type."""

    @extend_schema(
        operation_id="job_types_pause", tags=["job types"], request=None, responses={200: TYPE_ANSWER, **ERRORS}
    )
    def post(self, request: Request, name: str) -> Response:
        """Let no job of the type begin until it is resumed; those that run go on, new ones may be created."""
        return _switched(request, name, paused=True)


class JobTypeResumeView(APIView):
    """Resuming a job type."""

    @extend_schema(
        operation_id="job_types_resume", tags=["job types"], request=None, responses={200: TYPE_ANSWER, **ERRORS}
    )
    def post(self, request: Request, name: str) -> Response:
        """Let jobs of the type begin again, now."""
        return _switched(request, name, paused=False)


def _switched(request: Request, name: str, *, paused: bool) -> Response:
    changed = job_types.update(name, job_types.JobTypeChange(paused=paused), by=principal_of(request).actor)
    return Response({"ok": True, "type": type_json(changed)})
