"""Working memory over HTTP (contract 2.9)."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs.api.params import parameter
from jobs.api.serializers import answer
from jobs.bodies import faulty
from memory import working
from memory.api import serializers as shapes
from memory.api.views import ERRORS
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.api.pagination import int_param, text_param

SAVE = {
    "session_id": "session.lq2k9x.1f0a77c2",
    "state": {
        "current_goal": "Ship the release",
        "active_tasks": [{"id": "1", "description": "Write the notes", "status": "in_progress"}],
        "open_questions": ["Who signs it off?"],
    },
}
SESSION = parameter("session_id", "The session.")


class WorkingMemoryView(APIView):
    """What sessions are about now."""

    examples: ClassVar[dict[str, Any]] = {"POST": SAVE}

    @extend_schema(
        operation_id="working_memory_get",
        tags=["memory"],
        parameters=[SESSION, parameter("limit", "Without a session: 1 to 100, default 10.", OpenApiTypes.INT)],
        responses={
            200: answer(
                "WorkingMemory",
                state=shapes.WorkingState(required=False, help_text="With a session."),
                sessions=shapes.WorkingSession(many=True, required=False, help_text="Without one: newest first."),
                count=fields.IntegerField(required=False),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """One session's working memory, or the newest sessions."""
        session_id = text_param(request, "session_id")
        if session_id is not None:
            return Response({"ok": True, "state": working.state_json(working.session(session_id))})
        found = working.sessions(int_param(request, "limit", 10, 100))
        listed = [{"session_id": it.pk, "updated_at": iso_ms(it.updated_at)} for it in found]
        return Response({"ok": True, "sessions": listed, "count": len(listed)})

    @extend_schema(
        operation_id="working_memory_save",
        tags=["memory"],
        request=shapes.WorkingSave,
        responses={
            201: answer(
                "WorkingMemorySaved",
                session_id=fields.CharField(),
                updated_at=fields.DateTimeField(),
                state=shapes.WorkingState(),
            ),
            **ERRORS,
        },
        examples=[OpenApiExample("A session", SAVE, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Save a session's working memory, in place of all that it held."""
        saved = working.save(working.parse_save(request.data), by=principal_of(request).actor)
        state = working.state_json(saved)
        return Response(
            {"ok": True, "session_id": saved.pk, "updated_at": state["updated_at"], "state": state}, status=201
        )

    @extend_schema(
        operation_id="working_memory_clear",
        tags=["memory"],
        parameters=[SESSION],
        responses={
            200: answer("WorkingMemoryCleared", session_id=fields.CharField(), deleted_entries=fields.IntegerField()),
            **ERRORS,
        },
    )
    def delete(self, request: Request) -> Response:
        """Forget a session's working memory."""
        session_id = text_param(request, "session_id")
        if session_id is None:
            raise faulty("session_id", "is required: which session to forget")
        return Response({"ok": True, "session_id": session_id, "deleted_entries": working.clear(session_id)})


class LatestView(APIView):
    """The newest session."""

    @extend_schema(
        operation_id="working_memory_latest",
        tags=["memory"],
        responses={
            200: answer(
                "WorkingMemoryLatest",
                state=shapes.WorkingState(allow_null=True),
                message=fields.CharField(required=False, help_text="Where there is none."),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """The working memory that was saved last."""
        newest = working.sessions(1)
        if not newest:
            return Response({"ok": True, "state": None, "message": "No session has saved any working memory."})
        return Response({"ok": True, "state": working.state_json(newest[0])})
