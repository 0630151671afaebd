"""Approvals over HTTP: what waits for a person, and the person's word."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs import bodies
from jobs.api import approvals_schema, params
from jobs.api import serializers as shapes
from jobs.api.views import ERRORS
from jobs.approvals import decisions, queries
from jobs.approvals.models import Approval
from jobs.approvals.representation import approval_json
from jobs.approvals.requests import Approve, Deny, state_of
from rauskuclaw.api.pagination import int_param, text_param

APPROVE = {
    "arguments_hash": "9f2c3d6f0f0f5b8f1a6f5f0cf2c3a4f9d9b7b2f3c6a1e0d4b8c7a6f5e4d3c2b1",
    "note": "Looked at it.",
}
DENY = {"note": "Write to drafts/ instead."}
ANSWER = shapes.answer("ApprovalAnswer", approval=approvals_schema.Approval())
LIST = [
    params.parameter("state", "pending, approved, denied, expired or withdrawn; without it all."),
    params.parameter("limit", "1 to 200, default 50.", OpenApiTypes.INT),
    params.parameter("cursor", "`next_cursor` of the page before."),
]


class ApprovalsView(APIView):
    """What this key may see of what waited, or waits, for a person."""

    @extend_schema(
        operation_id="approvals_list",
        tags=["approvals"],
        parameters=LIST,
        responses={
            200: shapes.page("ApprovalList", "Approvals", approvals=approvals_schema.Approval(many=True)),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """List approvals, the newest first, a page at a time."""
        page = queries.page(
            principal=principal_of(request),
            limit=int_param(request, "limit", 50, 200),
            state=state_of(text_param(request, "state")),
            after=params.position(request),
        )
        shown = [approval_json(approval) for approval in page.approvals]
        return Response({"ok": True, "approvals": shown, "count": len(shown), "next_cursor": params.cursor(page.next)})


class ApprovalView(APIView):
    """One approval, by the id of its job."""

    @extend_schema(operation_id="approvals_get", tags=["approvals"], responses={200: ANSWER, **ERRORS})
    def get(self, request: Request, job_id: str) -> Response:
        """Get an approval, with exactly what would be run."""
        return _answer(queries.visible_approval(job_id, principal=principal_of(request)))


class ApproveView(APIView):
    """Saying yes."""

    examples: ClassVar[dict[str, Any]] = {"POST": APPROVE}

    @extend_schema(
        operation_id="approvals_approve",
        tags=["approvals"],
        request=approvals_schema.Approve,
        responses={200: ANSWER, **ERRORS},
        examples=[OpenApiExample("What was shown, and why", APPROVE, request_only=True)],
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Let the job begin. `arguments_hash` is that of the approval that was looked at.

        409 APPROVAL_MISMATCH for another one, 409 CONFLICT when there is nothing to decide any more, 403 where the key
        may not make such a job itself.
        """
        principal, said = principal_of(request), bodies.parse(Approve, request.data)
        approval = queries.visible_approval(job_id, principal=principal)
        done = decisions.approve(
            approval, arguments_hash=said.arguments_hash, by=principal.actor, principal=principal, note=said.note
        )
        return _answer(done)


class DenyView(APIView):
    """Saying no."""

    examples: ClassVar[dict[str, Any]] = {"POST": DENY}

    @extend_schema(
        operation_id="approvals_deny",
        tags=["approvals"],
        request=approvals_schema.Deny,
        responses={200: ANSWER, **ERRORS},
        examples=[OpenApiExample("Say what to do instead", DENY, request_only=True)],
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Cancel the job before it begins; whoever asked for it goes on and is told the note."""
        principal, said = principal_of(request), bodies.parse(Deny, request.data or {})
        approval = queries.visible_approval(job_id, principal=principal)
        return _answer(decisions.deny(approval, by=principal.actor, principal=principal, note=said.note))


def _answer(approval: Approval) -> Response:
    return Response({"ok": True, "approval": approval_json(approval)})
