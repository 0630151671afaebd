"""Many jobs over HTTP: cancelling and retrying by filter, and the jobs that have failed for good."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs import bulk, queries
from jobs.api import params
from jobs.api import serializers as shapes
from jobs.api.views import ERRORS, JOB_CREATED
from jobs.models import Status
from jobs.representation import failures_json, job_json
from rauskuclaw.api.pagination import int_param

BULK = {"action": "retry", "filter": {"type": "data.fetch", "error_code": "UPSTREAM_ERROR"}}


class JobBulkView(APIView):
    """Cancelling or retrying many jobs."""

    examples: ClassVar[dict[str, Any]] = {"POST": BULK}

    @extend_schema(
        operation_id="jobs_bulk",
        tags=["jobs"],
        parameters=[params.IDEMPOTENCY_KEY],
        request=shapes.Bulk,
        responses={201: JOB_CREATED, 200: JOB_CREATED, **ERRORS},
        examples=[OpenApiExample("Retry what an upstream server failed", BULK, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Make a job that cancels or retries every job of this key's queues that the filter finds and that exists now.

        It tells its progress, its result counts what was done, skipped and failed, and cancelling it stops it.
        """
        done = bulk.submit(
            request.data, principal=principal_of(request), idempotency_key=params.idempotency_key(request)
        )
        body = {"ok": True, "job": job_json(done.job), "idempotent": done.idempotent}
        return Response(body, status=200 if done.idempotent else 201)


class DeadJobsView(APIView):
    """The jobs that have failed for good."""

    @extend_schema(
        operation_id="jobs_dead",
        tags=["jobs"],
        parameters=params.DEAD_LIST,
        responses={
            200: shapes.page(
                "DeadJobs",
                "Jobs",
                groups=shapes.FailureGroup(many=True),
                grouped=fields.IntegerField(help_text="Jobs in the groups: the newest 10,000 at most."),
                jobs=shapes.Job(many=True),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """Failed jobs by type and error code, and a page of them, newest first, each with its error.

        Run one again with POST /v1/jobs/{id}/retry, many with POST /v1/jobs/bulk.
        """
        principal = principal_of(request)
        wanted = params.job_filter(request, status=Status.FAILED)
        groups = failures_json(queries.failure_groups(wanted, principal=principal))
        page = queries.job_page(
            wanted,
            principal=principal,
            limit=int_param(request, "limit", 50, 200),
            after=params.position(request),
        )
        shown = [job_json(job) for job in page.jobs]
        head = {"ok": True, "groups": groups, "grouped": sum(group["count"] for group in groups)}
        return Response({**head, "jobs": shown, "count": len(shown), "next_cursor": params.cursor(page.next)})
