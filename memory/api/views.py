"""Memories over HTTP (contract 2.8): each method parses, calls one verb and answers."""

from __future__ import annotations

from dataclasses import asdict
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
from jobs.api.views import ERRORS as JOB_ERRORS
from memory import queries, requests, search, store
from memory.api import serializers as shapes
from memory.queries import MemoryFilter
from memory.representation import found_json, memory_json, scope_json
from memory.store import Author
from rauskuclaw.api.pagination import int_param, text_param

NEW_MEMORY = {
    "scope": "project.web.chat",
    "key": "deploy.window",
    "value": {"text": "Production is deployed on Tuesdays before noon."},
    "tags": ["decision"],
}
SEARCH = {"scope": "project.web.chat", "query": "When do we deploy?", "mode": "hybrid", "top_k": 5}
RESET = {"confirm": True, "scope": "project.web.chat"}
ERRORS = {**JOB_ERRORS, 503: job_shapes.ErrorAnswer}
MEMORY_ANSWER = job_shapes.answer("MemoryAnswer", memory=shapes.Memory())


INCLUDE_EXPIRED = parameter("include_expired", "1: those too that have expired and are not deleted yet.")
LIST = [
    parameter("scope", "Exact."),
    parameter("key", "Exact."),
    parameter("tag", "Memories that carry this tag."),
    INCLUDE_EXPIRED,
    parameter("limit", "1 to 500, default 100.", OpenApiTypes.INT),
    parameter("cursor", "`next_cursor` of the page before."),
]
SCOPES = [
    parameter("q", "Scopes whose name holds this text; case does not matter."),
    INCLUDE_EXPIRED,
    parameter("limit", "1 to 1000, default 200.", OpenApiTypes.INT),
]


class MemoriesView(APIView):
    """Memories, last updated first; and writing one."""

    examples: ClassVar[dict[str, Any]] = {"POST": NEW_MEMORY}

    @extend_schema(
        operation_id="memory_list",
        tags=["memory"],
        parameters=LIST,
        responses={
            200: job_shapes.answer(
                "MemoryList",
                memories=shapes.Memory(many=True),
                count=fields.IntegerField(help_text="Memories on this page."),
                next_cursor=fields.CharField(allow_null=True, help_text="null after the last page."),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """List memories, last updated first, a page at a time."""
        scope, key, tag = (text_param(request, name) for name in ("scope", "key", "tag"))
        wanted = MemoryFilter(scope, key, tag, include_expired=_expired_too(request))
        page = queries.memory_page(
            wanted,
            limit=int_param(request, "limit", 100, 500),
            after=params.position(request),
        )
        shown = [memory_json(memory) for memory in page.memories]
        return Response({"ok": True, "memories": shown, "count": len(shown), "next_cursor": params.cursor(page.next)})

    @extend_schema(
        operation_id="memory_write",
        tags=["memory"],
        request=shapes.NewMemory,
        responses={201: MEMORY_ANSWER, **ERRORS},
        examples=[OpenApiExample("A decision", NEW_MEMORY, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Write a memory, in place of what its scope and key held. It is embedded by a job."""
        new = requests.parse_new(request.data)
        author = Author(principal_of(request).actor, trusted=new.trusted)
        memory = store.write(
            scope=new.scope, key=new.key, value=new.value, author=author, tags=new.tags, ttl_sec=new.ttl_sec
        )
        return Response({"ok": True, "memory": memory_json(memory)}, status=201)


class ScopesView(APIView):
    """Scopes."""

    @extend_schema(
        operation_id="memory_scopes",
        tags=["memory"],
        parameters=SCOPES,
        responses={
            200: job_shapes.answer(
                "MemoryScopes",
                include_expired=fields.BooleanField(),
                query=fields.CharField(),
                count=fields.IntegerField(),
                scopes=shapes.Scope(many=True),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """The scopes that hold memories, in numbers, last updated first."""
        text, expired = text_param(request, "q") or "", _expired_too(request)
        limit = int_param(request, "limit", 200, 1000)
        found = [scope_json(it) for it in queries.scopes(text=text, include_expired=expired, limit=limit)]
        return Response({"ok": True, "include_expired": expired, "query": text, "count": len(found), "scopes": found})


class MemoryView(APIView):
    """One memory."""

    @extend_schema(operation_id="memory_get", tags=["memory"], responses={200: MEMORY_ANSWER, **ERRORS})
    def get(self, request: Request, memory_id: str) -> Response:
        """Get a memory. One that has expired is a 404."""
        return Response({"ok": True, "memory": memory_json(queries.live_memory(memory_id))})

    @extend_schema(
        operation_id="memory_delete",
        tags=["memory"],
        responses={
            200: job_shapes.answer("MemoryDeleted", id=fields.UUIDField(), deleted=fields.BooleanField()),
            **ERRORS,
        },
    )
    def delete(self, request: Request, memory_id: str) -> Response:
        """Forget a memory."""
        deleted = store.delete(memory_id, by=principal_of(request).actor)
        return Response({"ok": True, "id": str(deleted), "deleted": True})


class ResetView(APIView):
    """Forgetting a scope, or everything."""

    examples: ClassVar[dict[str, Any]] = {"POST": RESET}

    @extend_schema(
        operation_id="memory_reset",
        tags=["memory"],
        request=shapes.Reset,
        responses={
            200: job_shapes.answer(
                "MemoryReset",
                scope=fields.CharField(allow_null=True),
                deleted_memories=fields.IntegerField(),
                deleted_vectors=fields.IntegerField(),
                matched_memories=fields.IntegerField(),
                remaining_memories=fields.IntegerField(help_text="Of all scopes."),
                remaining_vectors=fields.IntegerField(help_text="Of all scopes."),
            ),
            **ERRORS,
        },
        examples=[OpenApiExample("Forget a scope", RESET, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Forget a scope, or without one everything. There is no way back."""
        wanted = requests.parse_reset(request.data)
        done = store.reset(wanted.scope, by=principal_of(request).actor)
        return Response({"ok": True, "scope": wanted.scope, **asdict(done)})


class SearchView(APIView):
    """Searching."""

    examples: ClassVar[dict[str, Any]] = {"POST": SEARCH}

    @extend_schema(
        operation_id="memory_search",
        tags=["memory"],
        request=shapes.Search,
        responses={
            200: job_shapes.answer(
                "MemorySearch",
                matches=shapes.MemoryMatch(many=True, help_text="Best first."),
                count=fields.IntegerField(),
                mode=fields.CharField(),
                model=fields.CharField(allow_null=True, help_text="The embedding model that was used."),
                building=fields.CharField(
                    allow_null=True, help_text="The one that takes its place as soon as it has every vector."
                ),
                pending=fields.IntegerField(help_text="Memories of the scope that have no vector yet."),
                failed=fields.IntegerField(help_text="Memories of the scope that could not get one."),
                vector_error=shapes.VectorError(allow_null=True, help_text="Why a hybrid search has found words only."),
            ),
            **ERRORS,
        },
        examples=[OpenApiExample("By meaning and by words", SEARCH, request_only=True)],
    )
    @counts_as_read
    def post(self, request: Request) -> Response:
        """Find memories of a scope by meaning, by words, or both. Those without a vector are `pending`."""
        search.require_enabled(request.data)
        return Response({"ok": True, **found_json(search.search(requests.parse_search(request.data)))})


def _expired_too(request: Request) -> bool:
    return request.query_params.get("include_expired") in {"1", "true"}
