"""Jobs over HTTP (contract 2.3, 2.5, 2.6): each method parses, calls one verb and answers."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from access.principals import principal_of
from jobs import callbacks, intake, lifecycle, queries, submission
from jobs.api import params
from jobs.api import serializers as shapes
from jobs.explain import explain
from jobs.models import Job
from jobs.representation import attempt_json, delivery_json, flow_json, job_json, log_json, tree_json
from jobs.requests import parse_new_job
from rauskuclaw.api.pagination import int_param
from rauskuclaw.errors import Problem

ERRORS = dict.fromkeys((400, 401, 403, 404, 409), shapes.ErrorAnswer)
NEW_JOB = {
    "type": "report.generate",
    "queue": "default",
    "input": {
        "title": "Nightly build",
        "source": "ci",
        "metrics": {"tests": 412, "failures": 0},
        "highlights": ["green"],
    },
    "priority": 5,
    "tags": ["example"],
}
JOB_CREATED = shapes.answer("JobCreated", job=shapes.Job(), idempotent=fields.BooleanField())
JOB_ANSWER = shapes.answer("JobAnswer", job=shapes.Job())


class JobsView(APIView):
    """The jobs that this key may see, newest first; and creating one."""

    examples: ClassVar[dict[str, Any]] = {"POST": NEW_JOB}

    @extend_schema(
        operation_id="jobs_list",
        tags=["jobs"],
        parameters=params.JOB_LIST,
        responses={
            200: shapes.page(
                "JobList",
                "Jobs",
                jobs=shapes.Job(many=True),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """List jobs, newest first, a page at a time."""
        page = queries.job_page(
            params.job_filter(request),
            principal=principal_of(request),
            limit=int_param(request, "limit", 50, 200),
            after=params.position(request),
        )
        shown = [job_json(job) for job in page.jobs]
        return Response({"ok": True, "jobs": shown, "count": len(shown), "next_cursor": params.cursor(page.next)})

    @extend_schema(
        operation_id="jobs_create",
        tags=["jobs"],
        parameters=[params.IDEMPOTENCY_KEY],
        request=shapes.NewJob,
        responses={
            201: JOB_CREATED,
            200: JOB_CREATED,
            **ERRORS,
        },
        examples=[OpenApiExample("A report", NEW_JOB, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Create a job: 201, or 200 with the job that its Idempotency-Key or its unique key has made before."""
        principal = principal_of(request)
        done = submission.submit(
            parse_new_job(request.data),
            created_by=principal.actor,
            idempotency_key=params.idempotency_key(request),
            principal=principal,
        )
        body = {"ok": True, "job": job_json(done.job, whole=True), "idempotent": done.idempotent}
        return Response(body, status=200 if done.idempotent else 201)


class JobBatchView(APIView):
    """Creating many jobs at once."""

    examples: ClassVar[dict[str, Any]] = {"POST": {"jobs": [NEW_JOB, {**NEW_JOB, "priority": 8}]}}

    @extend_schema(
        operation_id="jobs_create_batch",
        tags=["jobs"],
        request=shapes.NewBatch,
        responses={
            200: shapes.answer(
                "BatchAnswer",
                results=shapes.BatchItem(many=True),
                created=fields.IntegerField(),
                failed=fields.IntegerField(),
            ),
            **ERRORS,
        },
        examples=[OpenApiExample("Two reports", examples["POST"], request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Create 1 to 1,000 jobs in one transaction. Items that are refused do not stop the others."""
        principal = principal_of(request)
        done = intake.submit_batch_body(request.data, created_by=principal.actor, principal=principal)
        results = [
            item.as_envelope() if isinstance(item, Problem) else {"ok": True, "job": job_json(item.job)}
            for item in done
        ]
        failed = sum(isinstance(item, Problem) for item in done)
        return Response({"ok": True, "results": results, "created": len(done) - failed, "failed": failed})


class JobView(APIView):
    """One job, how far it is, and where to go from it."""

    @extend_schema(
        operation_id="jobs_get",
        tags=["jobs"],
        responses={
            200: shapes.answer(
                "JobDetail",
                job=shapes.Job(),
                progress=shapes.Progress(allow_null=True),
                flow=shapes.JobFlow(),
                links=shapes.JobLinks(),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request, job_id: str) -> Response:
        """Get a job. A job on a queue that the key may not see is a 404."""
        job = queries.visible_job(job_id, principal=principal_of(request))
        beside = {"progress": job.progress, "flow": flow_json(job), "links": _links(job, request)}
        return Response({"ok": True, "job": job_json(job, whole=True), **beside})


class JobCancelView(APIView):
    """Cancelling a job."""

    @extend_schema(tags=["jobs"], operation_id="jobs_cancel", request=None, responses={200: JOB_ANSWER, **ERRORS})
    def post(self, request: Request, job_id: str) -> Response:
        """Cancel a queued or running job, whose processes are stopped; 409 when it has succeeded or failed."""
        principal = principal_of(request)
        job = queries.visible_job(job_id, principal=principal)
        return Response({"ok": True, "job": job_json(lifecycle.cancel(job.id, by=principal.actor), whole=True)})


class JobRetryView(APIView):
    """Running an ended job again."""

    @extend_schema(tags=["jobs"], operation_id="jobs_retry", request=None, responses={200: JOB_ANSWER, **ERRORS})
    def post(self, request: Request, job_id: str) -> Response:
        """Queue a failed or cancelled job again, as a new series of up to max_attempts attempts; 409 for others."""
        principal = principal_of(request)
        job = queries.visible_job(job_id, principal=principal)
        return Response({"ok": True, "job": job_json(lifecycle.reopen(job.id, by=principal.actor), whole=True)})


class JobLogsView(APIView):
    """The log of a job."""

    @extend_schema(
        operation_id="jobs_logs",
        tags=["jobs"],
        parameters=[params.TAIL],
        responses={
            200: shapes.answer("LogList", logs=shapes.LogLine(many=True), count=fields.IntegerField()),
            **ERRORS,
        },
    )
    def get(self, request: Request, job_id: str) -> Response:
        """The newest lines of the job's log, oldest first."""
        job = queries.visible_job(job_id, principal=principal_of(request))
        logs = [log_json(line) for line in queries.log_tail(job, tail=int_param(request, "tail", 200, 2000))]
        return Response({"ok": True, "logs": logs, "count": len(logs)})


class JobAttemptsView(APIView):
    """The attempts at a job."""

    @extend_schema(
        operation_id="jobs_attempts",
        tags=["jobs"],
        responses={
            200: shapes.answer("AttemptList", attempts=shapes.Attempt(many=True), count=fields.IntegerField()),
            **ERRORS,
        },
    )
    def get(self, request: Request, job_id: str) -> Response:
        """Every attempt at the job, the first one first."""
        job = queries.visible_job(job_id, principal=principal_of(request))
        attempts = [attempt_json(attempt) for attempt in queries.attempts_of(job)]
        return Response({"ok": True, "attempts": attempts, "count": len(attempts)})


class JobExplainView(APIView):
    """Why a job is not running, or how it ended."""

    @extend_schema(
        operation_id="jobs_explain",
        tags=["jobs"],
        responses={
            200: shapes.answer(
                "Explanation",
                job_id=fields.UUIDField(),
                status=fields.CharField(),
                summary=fields.CharField(help_text="The heaviest reason, in one sentence."),
                reasons=shapes.Reason(many=True),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request, job_id: str) -> Response:
        """Explain the job's state, in words and codes, with what to do; the heaviest reason first."""
        job = queries.visible_job(job_id, principal=principal_of(request))
        reasons = [reason.as_json() for reason in explain(job)]
        head = {"ok": True, "job_id": str(job.id), "status": job.status, "summary": reasons[0]["message"]}
        return Response({**head, "reasons": reasons})


class JobTreeView(APIView):
    """A job and what it made."""

    @extend_schema(
        operation_id="jobs_tree",
        tags=["jobs"],
        parameters=[params.TREE_LIMIT],
        responses={
            200: shapes.answer(
                "JobTree",
                tree=shapes.JobNode(),
                count=fields.IntegerField(help_text="Jobs in the tree, its root too."),
                is_cut=fields.BooleanField(help_text="Whether there are more than `limit`."),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request, job_id: str) -> Response:
        """The job with the jobs that it made, and those they made, as far as the key may see them."""
        principal, limit = principal_of(request), int_param(request, "limit", 1000, 10_000)
        job = queries.visible_job(job_id, principal=principal)
        found = queries.tree_of(job, principal=principal, most=limit + 1)
        shown = found[:limit]
        return Response({"ok": True, "tree": tree_json(shown), "count": len(shown), "is_cut": len(found) > limit})


class JobCallbacksView(APIView):
    """The callbacks of a job."""

    @extend_schema(
        operation_id="jobs_callbacks",
        tags=["jobs"],
        responses={
            200: shapes.answer("DeliveryList", callbacks=shapes.Delivery(many=True), count=fields.IntegerField()),
            **ERRORS,
        },
    )
    def get(self, request: Request, job_id: str) -> Response:
        """The job's callback deliveries, one for each end it came to, newest first."""
        job = queries.visible_job(job_id, principal=principal_of(request))
        deliveries = [delivery_json(delivery) for delivery in queries.callbacks_of(job)]
        return Response({"ok": True, "callbacks": deliveries, "count": len(deliveries)})


class CallbackRedeliverView(APIView):
    """Sending a callback again."""

    @extend_schema(
        operation_id="callbacks_redeliver",
        tags=["jobs"],
        request=None,
        responses={200: shapes.answer("DeliveryAnswer", callback=shapes.Delivery()), **ERRORS},
    )
    def post(self, request: Request, delivery_id: int) -> Response:
        """Deliver a callback again, with a fresh set of tries."""
        principal = principal_of(request)
        delivery = queries.visible_callback(delivery_id, principal=principal)
        return Response({"ok": True, "callback": delivery_json(callbacks.redeliver(delivery.id, by=principal.actor))})


class DevJobsView(APIView):
    """Jobs for trying things out; 404 in production unless ALLOW_DEV_ENDPOINTS=1."""

    examples: ClassVar[dict[str, Any]] = {"POST": {"type": "report.generate", "queue": "default"}}

    @extend_schema(
        tags=["jobs"], operation_id="dev_jobs_create", request=shapes.DevJob, responses={200: JOB_ANSWER, **ERRORS}
    )
    def post(self, request: Request) -> Response:
        """Create a job of any type, existing or not, with an empty input."""
        principal = principal_of(request)
        job = intake.submit_dev_job(request.data, created_by=principal.actor, principal=principal)
        return Response({"ok": True, "job": job_json(job)})


def _links(job: Job, request: Request) -> dict[str, str]:
    names = ("logs", "attempts", "explain", "callbacks", "stream", "tree")
    return {name: reverse(f"job-{name}", args=[job.id], request=request) for name in names}
