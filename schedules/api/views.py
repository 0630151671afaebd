"""Schedules over HTTP (contract 9): each method parses, calls one verb and answers."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.permissions import counts_as_read
from access.principals import principal_of
from jobs.api import params
from jobs.api import serializers as job_shapes
from jobs.api.params import parameter
from jobs.api.views import ERRORS, JOB_ANSWER
from jobs.bodies import faulty
from jobs.representation import job_json
from rauskuclaw.api.pagination import SWITCHES, decode_cursor, encode_cursor, int_param, text_param
from rauskuclaw.patterns import JOB_TYPE, QUEUE
from schedules import cadence, dispatch, planning, queries, requests
from schedules.api import serializers as shapes
from schedules.models import Schedule
from schedules.queries import ScheduleFilter
from schedules.representation import due_json, flow_json, policy_json, run_json, schedule_json

NEW_SCHEDULE = {
    "name": "nightly report",
    "type": "report.generate",
    "input": {"title": "Nightly", "metrics": {"visits": 42}},
    "cron": "30 3 * * 1-5",
    "policy": {"time_zone": "Europe/Helsinki", "overlap": "skip"},
}
CHANGE = {"cron": "0 4 * * 1-5", "policy": {"missed": "skip"}}
PREVIEW = {"cron": "30 3 * * *", "policy": {"time_zone": "Europe/Helsinki"}}
SCHEDULE_ANSWER = job_shapes.answer(
    "ScheduleAnswer", schedule=shapes.Schedule(), policy=shapes.Policy(), flow=shapes.Flow()
)


LIST = [
    parameter("enabled", "1 or true, 0 or false."),
    parameter("type", "Exact."),
    parameter("queue", "Exact; 403 when the key may not use it."),
    parameter("limit", "1 to 500, default 100.", OpenApiTypes.INT),
    parameter("cursor", "`next_cursor` of the page before."),
]
RUNS = [
    parameter("limit", "1 to 500, default 50.", OpenApiTypes.INT),
    parameter("cursor", "`next_cursor` of the page before."),
]


class SchedulesView(APIView):
    """The schedules that this key may see, newest first; and creating one."""

    examples: ClassVar[dict[str, Any]] = {"POST": NEW_SCHEDULE}

    @extend_schema(
        operation_id="schedules_list",
        tags=["schedules"],
        parameters=LIST,
        responses={
            200: job_shapes.page(
                "ScheduleList",
                "Schedules",
                schedules=shapes.Schedule(many=True),
                policies=fields.ListField(child=shapes.Policy(), help_text="Of each schedule, in the same order."),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """List schedules, newest first, a page at a time."""
        page = queries.schedule_page(
            _filter(request),
            principal=principal_of(request),
            limit=int_param(request, "limit", 100, 500),
            after=params.position(request),
        )
        shown = [schedule_json(schedule) for schedule in page.schedules]
        return Response(
            {
                "ok": True,
                "schedules": shown,
                "count": len(shown),
                "policies": [policy_json(schedule) for schedule in page.schedules],
                "next_cursor": params.cursor(page.next),
            }
        )

    @extend_schema(
        operation_id="schedules_create",
        tags=["schedules"],
        request=shapes.NewSchedule,
        responses={201: SCHEDULE_ANSWER, **ERRORS},
        examples=[OpenApiExample("A report on weekday nights", NEW_SCHEDULE, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Create a schedule. Its input is checked when a job is made of it."""
        principal = principal_of(request)
        new, flow = requests.parse_new(request.data)
        return _shown(planning.create(new, flow, principal=principal, by=principal.actor), status=201)


class SchedulePreviewView(APIView):
    """Trying out when a schedule would be due."""

    examples: ClassVar[dict[str, Any]] = {"POST": PREVIEW}

    @extend_schema(
        operation_id="schedules_preview",
        tags=["schedules"],
        request=shapes.Cadence,
        responses={
            200: job_shapes.answer(
                "SchedulePreview",
                time_zone=fields.CharField(),
                due=shapes.DueTime(many=True),
                count=fields.IntegerField(),
            ),
            **ERRORS,
        },
        examples=[OpenApiExample("Every night in Helsinki", PREVIEW, request_only=True)],
    )
    @counts_as_read
    def post(self, request: Request) -> Response:
        """The next 50 due times of such a schedule, and where the clocks change between them. Nothing is created."""
        planned, moments = planning.preview(requests.parse_preview(request.data))
        zone = cadence.zone(planned.zone)
        due = due_json(moments, zone)
        return Response({"ok": True, "time_zone": zone.key, "due": due, "count": len(due)})


class ScheduleView(APIView):
    """One schedule."""

    examples: ClassVar[dict[str, Any]] = {"PATCH": CHANGE}

    @extend_schema(operation_id="schedules_get", tags=["schedules"], responses={200: SCHEDULE_ANSWER, **ERRORS})
    def get(self, request: Request, schedule_id: str) -> Response:
        """Get a schedule. One on a queue that the key may not see is a 404."""
        return _shown(queries.visible_schedule(schedule_id, principal=principal_of(request)))

    @extend_schema(
        operation_id="schedules_update",
        tags=["schedules"],
        request=shapes.ScheduleChange,
        responses={200: SCHEDULE_ANSWER, **ERRORS},
        examples=[OpenApiExample("An hour later, and missed nights are skipped", CHANGE, request_only=True)],
    )
    def patch(self, request: Request, schedule_id: str) -> Response:
        """Change a schedule. A new cron, zone or start counts from now, a new interval from the next run."""
        principal = principal_of(request)
        change, flow = requests.parse_change(request.data)
        return _shown(planning.update(schedule_id, change, flow, principal=principal, by=principal.actor))

    @extend_schema(
        operation_id="schedules_delete",
        tags=["schedules"],
        responses={
            200: job_shapes.answer("ScheduleDeleted", id=fields.UUIDField(), deleted=fields.BooleanField()),
            **ERRORS,
        },
    )
    def delete(self, request: Request, schedule_id: str) -> Response:
        """Delete a schedule and its history. Its jobs stay."""
        principal = principal_of(request)
        deleted = planning.delete(schedule_id, principal=principal, by=principal.actor)
        return Response({"ok": True, "id": str(deleted), "deleted": True})


class ScheduleRunView(APIView):
    """Running a schedule at once."""

    @extend_schema(
        operation_id="schedules_run", tags=["schedules"], request=None, responses={201: JOB_ANSWER, **ERRORS}
    )
    def post(self, request: Request, schedule_id: str) -> Response:
        """Make a job of it now, whether or not it is enabled. Its next time stays."""
        principal = principal_of(request)
        job = dispatch.run_now(schedule_id, principal=principal, by=principal.actor)
        return Response({"ok": True, "job": job_json(job)}, status=201)


class SchedulePauseView(APIView):
    """Pausing a schedule."""

    @extend_schema(
        operation_id="schedules_pause", tags=["schedules"], request=None, responses={200: SCHEDULE_ANSWER, **ERRORS}
    )
    def post(self, request: Request, schedule_id: str) -> Response:
        """Let it make no jobs until it is resumed; those that it made go on."""
        principal = principal_of(request)
        return _shown(planning.pause(schedule_id, principal=principal, by=principal.actor))


class ScheduleResumeView(APIView):
    """Resuming a schedule."""

    @extend_schema(
        operation_id="schedules_resume", tags=["schedules"], request=None, responses={200: SCHEDULE_ANSWER, **ERRORS}
    )
    def post(self, request: Request, schedule_id: str) -> Response:
        """Let it make jobs again. Due times of the pause are missed ones: `policy.missed` says what becomes of them."""
        principal = principal_of(request)
        return _shown(planning.resume(schedule_id, principal=principal, by=principal.actor))


class ScheduleRunsView(APIView):
    """The history of a schedule."""

    @extend_schema(
        operation_id="schedules_runs",
        tags=["schedules"],
        parameters=RUNS,
        responses={
            200: job_shapes.page(
                "ScheduleRuns",
                "Runs",
                runs=shapes.Run(many=True),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request, schedule_id: str) -> Response:
        """What its due times came to, newest first, kept for SCHEDULER_HISTORY_DAYS."""
        schedule = queries.visible_schedule(schedule_id, principal=principal_of(request))
        cursor = text_param(request, "cursor")
        found, more = queries.runs_of(
            schedule,
            limit=int_param(request, "limit", 50, 500),
            before=None if cursor is None else decode_cursor(cursor, int)[0],
        )
        runs = [run_json(run) for run in found]
        return Response({"ok": True, "runs": runs, "count": len(runs), "next_cursor": more and encode_cursor(more)})


def _shown(schedule: Schedule, status: int = 200) -> Response:
    beside = {"policy": policy_json(schedule), "flow": flow_json(schedule)}
    return Response({"ok": True, "schedule": schedule_json(schedule), **beside}, status=status)


def _filter(request: Request) -> ScheduleFilter:
    """Raises VALIDATION_ERROR."""
    enabled, type_, queue = (text_param(request, name) for name in ("enabled", "type", "queue"))
    if enabled is not None and enabled.strip() and enabled.strip().lower() not in SWITCHES:
        raise faulty("enabled", "must be 1, 0, true or false")
    if type_ is not None and not JOB_TYPE.fullmatch(type_):
        raise faulty("type", "must be 3 to 80 of a-z 0-9 . _ -")
    if queue is not None and not QUEUE.fullmatch(queue):
        raise faulty("queue", "must be 1 to 80 of a-z 0-9 . _ : -")
    return ScheduleFilter(SWITCHES.get((enabled or "").strip().lower()), type_, queue)
