"""`/v1/agent-tools`: the tools that models may be given, and calling them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import principal_of
from jobs import bodies
from jobs.api.serializers import answer
from jobs.api.views import ERRORS
from providers import batch, tools
from rauskuclaw.api.awaited import AwaitedResponse

TOOLS_ANSWER = answer(
    "AgentTools",
    tools=serializers.ListField(child=serializers.DictField(), help_text="As OpenAI's chat completions have them."),
    count=serializers.IntegerField(),
)
BATCH = {"calls": [{"call_id": "c1", "name": "data_file_read", "arguments": {"path": "README.md"}}], "mode": "sync"}


class AgentCall(serializers.Serializer[Any]):
    """One call."""

    call_id = serializers.CharField(max_length=120)
    name = serializers.CharField()
    arguments = serializers.DictField(required=False, allow_null=True)


class AgentBatch(serializers.Serializer[Any]):
    """What `invoke-batch` takes; `providers.batch.Batch` checks it."""

    calls = AgentCall(many=True, help_text="1 to 20.")
    mode = serializers.ChoiceField(choices=["sync", "async"], default="sync")
    wait_ms = serializers.IntegerField(default=batch.DEFAULT_WAIT_MS, help_text="100 to 60000; 0 is the default.")
    queue = serializers.CharField(default="default")


BATCH_ANSWER = answer(
    "AgentBatchAnswer",
    results=serializers.ListField(child=serializers.DictField(), help_text="One for each call, in order."),
    tool_messages=serializers.ListField(child=serializers.DictField(), help_text="Of sync: for the model that asked."),
    mode=serializers.CharField(),
)


class AgentToolsView(APIView):
    """The tools that work now."""

    @extend_schema(operation_id="agent_tools", tags=["agent tools"], responses={200: TOOLS_ANSWER, **ERRORS})
    def get(self, request: Request) -> Response:
        """List the functions that a model may be given: their job types are enabled, and so are their settings."""
        specs = tools.specs(tools.offered())
        return Response({"ok": True, "tools": specs, "count": len(specs)})


class InvokeBatchView(APIView):
    """Calls of tools."""

    serializer_class = AgentBatch
    examples: ClassVar[dict[str, Any]] = {"POST": BATCH}

    @extend_schema(
        operation_id="agent_tools_invoke_batch",
        tags=["agent tools"],
        request=AgentBatch,
        responses={200: BATCH_ANSWER, **ERRORS},
        examples=[OpenApiExample("Read a file", BATCH, request_only=True)],
    )
    def post(self, request: Request) -> Response | AwaitedResponse:
        """Make a job of each call; one that cannot be made says so in its place. `sync` waits up to `wait_ms`."""
        wanted = bodies.parse(batch.Batch, request.data)
        made = batch.make(wanted, principal_of(request))
        if wanted.mode == "async":
            return Response(_told(made, wanted.mode))

        def render() -> bytes:
            response = self.finalize_response(request, Response(_told(made, wanted.mode)))
            return bytes(response.render().content)

        renderer = request.accepted_renderer
        charset = f"; charset={renderer.charset}" if renderer.charset else ""
        waiting = batch.Waiting(made, wanted.wait_ms, render)
        return AwaitedResponse(waiting, content_type=renderer.media_type + charset)


def _told(made: Sequence[batch.Made], mode: str) -> dict[str, Any]:
    waited = mode == "sync"
    messages = [it.as_message() for it in made] if waited else []
    return {
        "ok": True,
        "results": [it.as_result(waited=waited) for it in made],
        "tool_messages": messages,
        "mode": mode,
    }
