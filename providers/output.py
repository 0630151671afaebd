"""What a chat job gives back (contract 7.2, 7.3)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from providers.base import Usage

_ONLY_WHERE_GIVEN = ("memory_context", "memory_write", "tool_execution", "untrusted_sources")


class ChatOutput(BaseModel):
    """The model's answer."""

    provider: str
    model: str
    output_text: str
    finish_reason: str | None = Field(None, description="stop, length, tool_calls or content_filter.")
    tool_calls: list[dict[str, Any]] | None = Field(None, description="Calls that nobody has run, as OpenAI has them.")
    usage: dict[str, Any] | None = Field(
        None, description="Tokens of all calls of the job, and `cost_usd` where the model has a price."
    )
    id: str | None = Field(None, description="The provider's id of the answer.")
    memory_context: dict[str, Any] | None = Field(None, description="What the memory gave to the conversation.")
    memory_write: dict[str, Any] | None = Field(None, description="Where the answer was kept.")
    tool_execution: dict[str, Any] | None = Field(None, description="Which tools were run, in how many rounds.")

    untrusted_sources: list[str] | None = Field(
        None, description="What came into the conversation from outside, and may have swayed the answer."
    )

    @model_serializer(mode="wrap")
    def _leave_out_what_was_not_done(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = handler(self)
        return {name: value for name, value in dumped.items() if value is not None or name not in _ONLY_WHERE_GIVEN}


def usage_json(usage: Usage | None) -> dict[str, Any] | None:
    """Tokens as OpenAI names them."""
    if usage is None:
        return None
    told = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
    }
    return {**told, "estimated": True} if usage.estimated else told
