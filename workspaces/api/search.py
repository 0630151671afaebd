"""Searching the workspace over HTTP: what the jobs `tools.file_search` and `tools.find_in_files` do, at once."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.api import serializers as job_shapes
from jobs.api.views import ERRORS
from rauskuclaw.api.pagination import int_param, text_param
from rauskuclaw.config import load
from rauskuclaw.errors import bad_field
from workspaces.api import serializers as shapes
from workspaces.paths import parse
from workspaces.search import NamesFound, TextFound, find_names, find_text
from workspaces.tree import workspace
from workspaces.walk import Clock

MAX_QUERY_CHARS = 500
MAX_SCANNED = 50_000
MAX_BYTES_PER_FILE = 2_097_152
KINDS = ("names", "text")


def _flag(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, description=f"`1`: {description}")


class SearchView(APIView):
    """Files by name, or by what is in them."""

    @extend_schema(
        operation_id="workspace_search",
        tags=["workspace"],
        parameters=[
            OpenApiParameter("query", OpenApiTypes.STR, required=True, description="Text, up to 500 characters."),
            OpenApiParameter("in", OpenApiTypes.STR, enum=KINDS, description="Where to look; default names."),
            OpenApiParameter("path", OpenApiTypes.STR, description="Directory; default: the whole workspace."),
            _flag("regex", "`query` is a regular expression of RE2 (in=text)."),
            _flag("case_sensitive", "case matters (in=text)."),
            _flag("include_hidden", "names with a leading dot count, too."),
            OpenApiParameter("limit", OpenApiTypes.INT, description="1 to 500, default 50."),
            OpenApiParameter("cursor_offset", OpenApiTypes.INT, description="`next_cursor_offset` (in=names)."),
        ],
        responses={
            200: job_shapes.answer(
                "WorkspaceSearch",
                query=fields.CharField(),
                base_path=fields.CharField(),
                has_more=fields.BooleanField(),
                truncated=fields.BooleanField(help_text="Whether the time or another limit ended it."),
                result_count=fields.IntegerField(),
                matches=shapes.Match(many=True),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """Search for at most WORKSPACE_SEARCH_TIMEOUT_MS. The answer has the fields of the job's result, too."""
        return Response(_found(request).model_dump())


def _found(request: Request) -> NamesFound | TextFound:
    tree = workspace()
    base = parse(request.query_params.get("path", ""), root=tree.root)
    query = request.query_params.get("query", "").strip()
    if not 0 < len(query) <= MAX_QUERY_CHARS:
        raise bad_field("query", f"is required: 1 to {MAX_QUERY_CHARS} characters")
    kind = text_param(request, "in") or KINDS[0]
    if kind not in KINDS:
        raise bad_field("in", f"must be one of: {', '.join(KINDS)}")
    limit = int_param(request, "limit", 50, 500)
    clock = Clock.of(load().workspace_search_timeout_ms / 1000)
    include_hidden = _is_on(request, "include_hidden")
    if kind == "names":
        return find_names(
            tree,
            base,
            query,
            include_hidden=include_hidden,
            max_results=limit,
            cursor_offset=int_param(request, "cursor_offset", 0, 10_000_000, minimum=0),
            max_scanned=MAX_SCANNED,
            clock=clock,
        )
    return find_text(
        tree,
        base,
        query,
        regex=_is_on(request, "regex"),
        case_sensitive=_is_on(request, "case_sensitive"),
        include_hidden=include_hidden,
        max_results=limit,
        max_bytes_per_file=MAX_BYTES_PER_FILE,
        max_scanned=MAX_SCANNED,
        clock=clock,
    )


def _is_on(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in {"1", "true"}
