"""`system.memory.embed.sync`: its input (contract 6.13). Embedding comes with the memory."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.handlers.base import Needs, UnavailableHandler
from jobs.handlers.fields import ObjectInput


class EmbedInput(ObjectInput):
    """Which memory."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"memory_id": "6f1f0a1e-8f0a-4a43-9a56-0f4f7c1f7d55"}]})
    required = ("system.memory.embed.sync", "memory_id")

    memory_id: str = Field(max_length=120, description="Id of the memory to embed.")


class EmbedOutput(BaseModel):
    """The new state of the memory, or why there was nothing to do."""

    memory_id: str
    embedding_status: Literal["ready"] | None = None
    dimension: int | None = None
    model: str | None = None
    skipped: bool = False
    reason: Literal["not_found", "expired"] | None = None


class MemoryEmbed(UnavailableHandler[EmbedInput, EmbedOutput]):
    """Computes the embedding of one memory."""

    id = "builtin:memory.embed.sync"
    Input = EmbedInput
    Output = EmbedOutput
    needs = Needs(network=True)
    checks_input_at_creation = False


HANDLERS = (MemoryEmbed,)
