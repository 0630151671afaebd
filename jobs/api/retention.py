"""Retention over HTTP: how long things are kept, and what would go. It concerns the jobs of all queues."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.permissions import EveryQueue, RolePermission
from access.principals import principal_of
from jobs.api import retention_schema as shapes
from jobs.api.serializers import answer
from jobs.api.views import ERRORS
from jobs.retention import policies, run
from jobs.retention.models import ALL_TYPES
from jobs.retention.policies import Policies
from jobs.retention.representation import finding_json, overview_json, policy_json

CHANGE = {"job_days": 30, "failed_days": 90, "log_days": 14}
SHORT = {"job_days": 3, "job_count": 100_000}
POLICY_ANSWER = answer("RetentionPolicyAnswer", policy=shapes.RetentionPolicy())


class _View(APIView):
    permission_classes = [RolePermission, EveryQueue]


class RetentionView(_View):
    """How long everything is kept."""

    examples: ClassVar[dict[str, Any]] = {"PATCH": CHANGE}

    @extend_schema(operation_id="retention_get", tags=["retention"], responses={200: shapes.Retention(), **ERRORS})
    def get(self, request: Request) -> Response:
        """Every policy, the partitions of the log, and how far the last run came."""
        return Response({"ok": True, **overview_json()})

    @extend_schema(
        operation_id="retention_update",
        tags=["retention"],
        request=shapes.RetentionPolicyChange,
        responses={200: POLICY_ANSWER, **ERRORS},
        examples=[OpenApiExample("A month, and failed jobs for three", CHANGE, request_only=True)],
    )
    def patch(self, request: Request) -> Response:
        """Change what holds for all types that have no policy of their own; null: what the settings say."""
        return _changed(request, ALL_TYPES)


class TypePolicyView(_View):
    """How long the jobs of one type are kept."""

    examples: ClassVar[dict[str, Any]] = {"PATCH": SHORT}

    @extend_schema(operation_id="retention_type_get", tags=["retention"], responses={200: POLICY_ANSWER, **ERRORS})
    def get(self, request: Request, name: str) -> Response:
        """What holds for a type, whether or not it has a policy of its own."""
        policies.check(name)
        return Response({"ok": True, "policy": policy_json(Policies(), name)})

    @extend_schema(
        operation_id="retention_type_update",
        tags=["retention"],
        request=shapes.RetentionPolicyChange,
        responses={200: POLICY_ANSWER, **ERRORS},
        examples=[OpenApiExample("Three days, and 100,000 jobs at most", SHORT, request_only=True)],
    )
    def patch(self, request: Request, name: str) -> Response:
        """Change the policy of a type, there or to come; null: what holds for all types. The next run goes by it."""
        return _changed(request, name)

    @extend_schema(operation_id="retention_type_delete", tags=["retention"], responses={200: POLICY_ANSWER, **ERRORS})
    def delete(self, request: Request, name: str) -> Response:
        """Delete the policy of a type, so that the one of all types holds."""
        policies.forget(name, by=principal_of(request).actor)
        return Response({"ok": True, "policy": policy_json(Policies(), name)})


class PreviewView(_View):
    """What would go."""

    @extend_schema(
        operation_id="retention_preview",
        tags=["retention"],
        responses={
            200: answer("RetentionPreview", found=shapes.RetentionFinding(many=True), count=fields.IntegerField()),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """What a run would delete now, by kind and policy. Nothing is deleted; it may take seconds."""
        found = [finding_json(finding) for finding in run.preview()]
        return Response({"ok": True, "found": found, "count": len(found)})


def _changed(request: Request, type_: str) -> Response:
    policies.change(type_, policies.parse_change(request.data), by=principal_of(request).actor)
    return Response({"ok": True, "policy": policy_json(Policies(), type_)})
