"""What a chat wants done, over HTTP (contract 2.4)."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs.api import serializers as shapes
from jobs.api.views import ERRORS
from jobs.intents import MAX_ITEMS, submit_intents
from jobs.representation import job_json

INTENTS = {
    "user_text": "find the README and show it",
    "jobs": [
        {"type": "tools.file_search", "input": {"query": "README"}},
        {"type": "data.file_read", "input": {"path": "README.md", "depends_on_idx": [1]}},
    ],
}
PLACE = "The item's place in the request, from 0."


class Intents(fields.Serializer[Any]):
    """Jobs as a chat wrote them down. Fields of the wrong type count as left out."""

    jobs = fields.ListField(
        child=fields.JSONField(),
        min_length=1,
        max_length=MAX_ITEMS,
        help_text="type, queue, input, priority, timeout_sec (120), max_attempts (1), tags. In `input`,"
        " `depends_on_last_job` true names the job made before it, and `depends_on_idx` earlier items, from 1.",
    )
    user_text = fields.CharField(required=False, help_text="What the person had written.")
    options = fields.JSONField(
        required=False, help_text="`inject_tool_docs`: read a tool's TOOL.md first, where there is one. `repair`."
    )


class CreatedIntent(fields.Serializer[Any]):
    """A job, and where it comes from."""

    source_idx = fields.IntegerField(help_text=PLACE)
    kind = fields.ChoiceField(choices=["intent", "tool_doc"])
    tool_type = fields.CharField(required=False, help_text="Whose manual it reads; only of kind tool_doc.")
    job = shapes.Job()


class IntentRepair(fields.Serializer[Any]):
    """What was changed in an item."""

    idx = fields.IntegerField(help_text=PLACE)
    kind = fields.CharField()
    value = fields.JSONField()


class SkippedIntent(fields.Serializer[Any]):
    """An item that became no job."""

    idx = fields.IntegerField(help_text=PLACE)
    type = fields.CharField()
    code = fields.CharField()
    message = fields.CharField()


ANSWER = shapes.answer(
    "IntentsAnswer",
    created_jobs=CreatedIntent(many=True),
    normalized_jobs=fields.ListField(child=fields.JSONField(), help_text="`idx` and the fields each item came to."),
    repairs=IntentRepair(many=True),
    skipped=SkippedIntent(many=True),
)


class IntentsView(APIView):
    """Creating the jobs that a chat suggests."""

    examples: ClassVar[dict[str, Any]] = {"POST": INTENTS}

    @extend_schema(
        operation_id="jobs_submit_intent",
        tags=["jobs"],
        request=Intents,
        responses={201: ANSWER, 200: ANSWER, **ERRORS},
        examples=[OpenApiExample("Find a file, then read it", INTENTS, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Create 1 to 40 jobs as far as they go: 201, or 200 when none was made. Well-known slips are repaired."""
        principal = principal_of(request)
        done = submit_intents(request.data, created_by=principal.actor, principal=principal)
        created = [
            {
                "source_idx": it.idx, "kind": "tool_doc" if it.tool_type else "intent",
                **({"tool_type": it.tool_type} if it.tool_type else {}), "job": job_json(it.job),
            }
            for it in done.created
        ]  # fmt: skip
        body = {
            "ok": True,
            "created_jobs": created,
            "normalized_jobs": done.normalized,
            "repairs": [{"idx": it.idx, "kind": it.kind, "value": it.value} for it in done.repairs],
            "skipped": [
                {"idx": it.idx, "type": it.type, "code": it.problem.code.name, "message": str(it.problem)}
                for it in done.skipped
            ],
        }
        return Response(body, status=201 if created else 200)
