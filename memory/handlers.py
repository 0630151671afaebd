"""The jobs of memory: embedding (contract 6.13), and the upkeep of indexes and models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from jobs.handlers.base import AttemptFailed, Handler, JobContext, Needs
from jobs.handlers.fields import ObjectInput
from jobs.queries import parse_id
from memory import embedding, queries, queueing, spaces, upkeep
from memory.models import Memory
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms_or_none
from rauskuclaw.config import load

LEAVE_OFF_SEC = 25
"""With less time left than this, a job leaves the rest to the next."""


class EmbedInput(ObjectInput):
    """Which memory."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"memory_id": "6f1f0a1e-8f0a-4a43-9a56-0f4f7c1f7d55"}]})
    required = ("system.memory.embed.sync", "memory_id")

    memory_id: str = Field(max_length=120, description="Id of the memory to embed.")


class EmbedOutput(BaseModel):
    """The new state of the memory, or why there was nothing to do. What does not apply is left out."""

    memory_id: str
    embedding_status: Literal["ready"] | None = None
    dimension: int | None = None
    model: str | None = None
    skipped: Literal[True] | None = None
    reason: Literal["not_found", "expired"] | None = None
    embedded: int = 0
    """Memories that got vectors in all: a job takes along what else waits."""

    @model_serializer(mode="wrap")
    def _without_null(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class MemoryEmbed(Handler[EmbedInput, EmbedOutput]):
    """Computes the embedding of one memory, and of all others that wait."""

    id = "builtin:memory.embed.sync"
    Input = EmbedInput
    Output = EmbedOutput
    needs = Needs(network=True)
    checks_input_at_creation = False

    def run(self, ctx: JobContext[EmbedInput]) -> EmbedOutput:
        """Its own memory first."""
        if not load().memory_vector_enabled:
            raise AttemptFailed(errors.VECTOR_NOT_ENABLED, "set MEMORY_VECTOR_ENABLED=1")
        memory_id = parse_id(ctx.input.memory_id)
        memory = queries.shown().filter(pk=memory_id).first() if memory_id else None
        skipped = self._skipped(ctx, memory)
        taken = [] if memory is None or skipped else embedding.take_one(memory.pk)
        own = {it.id for it in taken}
        taken += [it for it in embedding.take(embedding.BATCH - len(taken)) if it.id not in own]
        failed = embedding.embed(taken) if taken else {}
        count = len(taken) - len(failed)
        if not failed:
            count += embedding.embed_all(lambda: ctx.remaining_sec() > LEAVE_OFF_SEC)
            queueing.embed_rest()
        upkeep.ask_for_upkeep()
        if memory is not None and (error := failed.get(memory.pk)):
            raise AttemptFailed(error.code, error.message, error.details, retryable=error.retryable)
        if skipped:
            return skipped.model_copy(update={"embedded": count})
        space = spaces.live().active
        return EmbedOutput(
            memory_id=ctx.input.memory_id, embedding_status="ready", dimension=space.dimension, model=space.model,
            embedded=count,
        )  # fmt: skip

    def _skipped(self, ctx: JobContext[EmbedInput], memory: Memory | None) -> EmbedOutput | None:
        """Why its own memory needs nothing, if so."""
        memory_id = ctx.input.memory_id
        if memory is None:
            ctx.log("Memory row missing; skipping embed job", "warn", memory_id=memory_id)
            return EmbedOutput(memory_id=memory_id, skipped=True, reason="not_found")
        if not queries.live().filter(pk=memory.pk).exists():
            expires_at = iso_ms_or_none(memory.expires_at)
            ctx.log("Memory row expired; skipping embed job", memory_id=memory_id, expires_at=expires_at)
            return EmbedOutput(memory_id=memory_id, skipped=True, reason="expired")
        return None


class UpkeepInput(ObjectInput):
    """Nothing."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class UpkeepOutput(BaseModel):
    """What was done."""

    done: list[str]


class MemoryUpkeep(Handler[UpkeepInput, UpkeepOutput]):
    """Makes indexes, changes searches over to another embedding model, deletes the vectors of the old one."""

    id = "builtin:memory.upkeep"
    Input = UpkeepInput
    Output = UpkeepOutput

    def run(self, ctx: JobContext[UpkeepInput]) -> UpkeepOutput:
        """Whatever is due; twice is harmless."""
        done = upkeep.run()
        for line in done:
            ctx.log(line)
        return UpkeepOutput(done=done)


HANDLERS = (MemoryEmbed, MemoryUpkeep)
