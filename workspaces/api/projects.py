"""Metadata of projects over HTTP (contract 2.13)."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs.api import serializers as job_shapes
from jobs.api.views import ERRORS
from rauskuclaw.errors import bad_field
from workspaces import projects

# Inline, as these names are no Python ones.
PROJECT_META_CHANGE = inline_serializer(
    "ProjectMetaChange",
    {
        "displayName": serializers.CharField(required=False, allow_null=True, max_length=200),
        "notes": serializers.CharField(required=False, allow_null=True, max_length=20_000),
        "tags": serializers.ListField(required=False, allow_null=True),
        "isArchived": serializers.BooleanField(required=False),
    },
)
PROJECT_META = inline_serializer(
    "ProjectMeta",
    {
        "projectId": serializers.CharField(),
        "displayName": serializers.CharField(allow_null=True),
        "notes": serializers.CharField(allow_null=True),
        "tags": serializers.ListField(allow_null=True),
        "isArchived": serializers.BooleanField(),
        "updatedAt": serializers.DateTimeField(allow_null=True),
    },
)
META_ANSWER = job_shapes.answer("ProjectMetaAnswer", meta=PROJECT_META)


class ProjectMetaView(APIView):
    """What people noted of one project. Any id is a project's."""

    examples: ClassVar[dict[str, Any]] = {"PATCH": {"displayName": "Garden", "tags": ["home"]}}

    @extend_schema(operation_id="project_meta_get", tags=["projects"], responses={200: META_ANSWER, **ERRORS})
    def get(self, request: Request, project_id: str) -> Response:
        """Its metadata; never a 404."""
        found = projects.get([project_id])
        return Response({"ok": True, "meta": projects.meta_json(project_id, found[project_id])})

    @extend_schema(
        operation_id="project_meta_update",
        tags=["projects"],
        request=PROJECT_META_CHANGE,
        responses={200: META_ANSWER, **ERRORS},
    )
    def patch(self, request: Request, project_id: str) -> Response:
        """Change what is sent."""
        change = projects.parse_change(request.data)
        meta = projects.update(project_id, change, by=principal_of(request).actor)
        return Response({"ok": True, "meta": projects.meta_json(project_id, meta)})


class ProjectsMetaView(APIView):
    """What people noted of several projects."""

    @extend_schema(
        operation_id="project_meta_list",
        tags=["projects"],
        parameters=[OpenApiParameter("ids", OpenApiTypes.STR, required=True, description="1 to 100, comma-separated.")],
        responses={
            200: job_shapes.answer("ProjectMetaList", meta=serializers.DictField(child=PROJECT_META)),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """Metadata by id."""
        ids = [text.strip() for text in request.query_params.get("ids", "").split(",") if text.strip()]
        if not 1 <= len(ids) <= projects.MAX_IDS:
            raise bad_field("ids", f"must be 1 to {projects.MAX_IDS} ids, comma-separated")
        found = projects.get(ids)
        return Response({"ok": True, "meta": {it: projects.meta_json(it, meta) for it, meta in found.items()}})
