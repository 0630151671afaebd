"""`/v1/runtime/repo-context/prewarm` (contract 2.11): what a chat job would be given of the workspace."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from pydantic import ValidationError
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.api.serializers import answer
from jobs.api.views import ERRORS
from providers import repo_context
from providers.conversation import ChatInput, conversation
from providers.faults import Fault

CHAT = "ai.chat.generate"
PREWARM = {"type": CHAT, "input": {"prompt": "What does our README promise?"}}


class Prewarm(serializers.Serializer[Any]):
    """A chat job, as it would be created."""

    type = serializers.CharField(default=CHAT)
    input = serializers.JSONField(required=False)


class RepoContextPrewarmView(APIView):
    """The files of the workspace that go before a conversation."""

    examples: ClassVar[dict[str, Any]] = {"POST": PREWARM}

    @extend_schema(
        operation_id="repo_context_prewarm",
        tags=["runtime"],
        request=Prewarm,
        responses={
            200: answer(
                "RepoContextPrewarm",
                type=serializers.CharField(required=False),
                enabled=serializers.BooleanField(required=False),
                full_context=serializers.BooleanField(required=False, help_text="Whole files, no summaries: true."),
                warmed_summaries=serializers.IntegerField(required=False, help_text="Always 0."),
                included_sections=serializers.IntegerField(required=False, help_text="Files that there are."),
                skipped=serializers.BooleanField(required=False),
                reason=serializers.CharField(required=False),
            ),
            **ERRORS,
        },
        examples=[OpenApiExample("A question", PREWARM, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """How many files a chat job of this input would be given. They are read anew for each job; nothing is kept."""
        body = request.data if isinstance(request.data, dict) else {}
        type_ = body.get("type") or CHAT
        if type_ != CHAT:
            return Response({"ok": True, "skipped": True, "reason": f"{type_} is given no repository context"})
        try:
            given = ChatInput.model_validate(body.get("input") or {})
            messages = conversation(given) if given.has_question else []
        except (ValidationError, Fault):
            given, messages = ChatInput(), []
        chosen = repo_context.wanted(given)
        return Response(
            {
                "ok": True,
                "type": CHAT,
                "enabled": bool(chosen),
                "full_context": True,
                "warmed_summaries": 0,
                "included_sections": len(repo_context.sections(chosen, messages)),
            }
        )
