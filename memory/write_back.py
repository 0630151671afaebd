"""Remembering what a chat job's model has answered (contract 8.5)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from jobs.handlers.base import AttemptFailed
from memory import store
from memory.context import Log, first_fault
from memory.requests import Key, Scope, Ttl, tags_of
from memory.store import Author
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.config import load
from rauskuclaw.errors import Problem

EMPTY = "EMPTY_PROVIDER_OUTPUT"
"""The reason where there was nothing to remember."""


class WriteBack(BaseModel):
    """`input.memory_write`. key None: one of the job's own."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    scope: Scope
    key: Key | None = None
    ttl_sec: Ttl | None = None
    tags: list[str] = []
    required: StrictBool = False


@dataclass(frozen=True)
class Said:
    """An answer, and whose it is."""

    text: str
    job_id: uuid.UUID
    job_type: str
    provider: str
    model: str


def parse(memory_write: Any) -> WriteBack | None:
    """Before the model is asked: an answer that could not be kept would be in vain. None: nothing is to be kept.

    Raises AttemptFailed MEMORY_WRITE_INPUT.
    """
    if memory_write is None or memory_write is False:
        return None
    if isinstance(memory_write, Mapping):
        given = {name: value for name, value in memory_write.items() if value is not None}
        for name in ("key", "ttl_sec"):
            if isinstance(given.get(name), str) and not given[name].strip():
                del given[name]
        memory_write = {**given, "tags": tags_of(given.get("tags"))}
    try:
        return WriteBack.model_validate(memory_write, strict=True)
    except ValidationError as error:
        raise AttemptFailed(errors.MEMORY_WRITE_INPUT, first_fault(error, "input.memory_write")) from None


def save(wanted: WriteBack, said: Said, *, log: Log) -> dict[str, Any] | None:
    """Keep the answer, as something a model said: not to be trusted. Twice with the same key is once.

    Returns `memory_write` of the job's result; None where it could not be kept and need not be. Not in a transaction.
    Raises AttemptFailed MEMORY_WRITE_UNAVAILABLE where it must be.
    """
    key = wanted.key or f"chat.reply.{said.job_id}"
    facts = {"scope": wanted.scope, "key": key}
    text = said.text.strip()
    if not text:
        _tell(wanted, facts, {"reason": EMPTY}, "the model's answer is empty", log)
        return None
    source = {
        "job_id": str(said.job_id), "job_type": said.job_type, "provider": said.provider, "model": said.model,
        "at": iso_ms(datetime.now(UTC)),
    }  # fmt: skip
    author = Author(f"job:{said.job_type}", job_id=said.job_id, trusted=False)
    value = {"text": text, "source": source}
    try:
        memory = store.write(
            scope=wanted.scope, key=key, value=value, author=author, tags=wanted.tags, ttl_sec=wanted.ttl_sec
        )
    except Problem as problem:
        details = {"reason": problem.code.name, **({"details": problem.details} if problem.details else {})}
        _tell(wanted, facts, details, problem.message, log)
        return None
    done: dict[str, Any] = {"memory_id": str(memory.pk), **facts, "embedding_queued": load().memory_vector_enabled}
    log("Chat memory write-back saved", **done)
    return done


def _tell(wanted: WriteBack, facts: dict[str, Any], details: dict[str, Any], error: str, log: Log) -> None:
    told: dict[str, Any] = {**facts, "code": errors.MEMORY_WRITE_UNAVAILABLE.name, "details": details, "error": error}
    if wanted.required:
        log("Required chat memory write-back failed", "error", **told)
        raise AttemptFailed(errors.MEMORY_WRITE_UNAVAILABLE, f"the answer was not kept: {error}", details)
    log("Chat memory write-back failed; continuing", "warn", **told)
