"""Writing and forgetting memories. What a write means for search is `queueing.py`'s and `embedding.py`'s."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from access import audit
from jobs.storable import dumps, text
from memory import queries, queueing, sql, working
from memory.models import Memory, Session, Vector
from memory.words import searched_words
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem

PURGE_BATCH = 1_000


@dataclass(frozen=True)
class Author:
    """Who says something: an actor as the audit log has them, perhaps a job; whether that is to be trusted."""

    name: str
    job_id: uuid.UUID | None = None
    trusted: bool = True


def write(
    *, scope: str, key: str, value: Any, author: Author, tags: Sequence[str] = (), ttl_sec: int | None = None
) -> Memory:
    """Write a memory over whatever its scope and key held (contract 8.1), and have it embedded.

    The write is committed before its embedding job is made, so none is made for what is not there.
    Raises NotStorable for what is no JSON, MEMORY_EMBED_QUEUE_FAILED when no job could be made: the memory is saved.
    """
    stored, kept = dumps(value), [text(tag) for tag in tags]
    enabled = load().memory_vector_enabled
    (row,) = sql.rows(
        "write",
        {
            "id": uuid.uuid4(), "scope": scope, "key": key, "value": stored, "tags": kept, "ttl_sec": ttl_sec,
            "words": searched_words(key=key, tags=tags, value=value), "written_by": author.name,
            "job_id": author.job_id, "trusted": author.trusted, "embed": enabled,
        },
    )  # fmt: skip
    if enabled:
        queueing.embed_soon(row["id"])
    return queries.shown().get(pk=row["id"])


def delete(memory_id: str, *, by: str) -> uuid.UUID:
    """Forget one memory; Postgres takes its vectors along. Raises NOT_FOUND, also when it has expired."""
    with transaction.atomic():
        memory = queries.live_memory(memory_id)
        found: uuid.UUID = memory.pk
        if not Memory.objects.filter(pk=found)._raw_delete(using=connection.alias):
            raise Problem(errors.NOT_FOUND, queries.NO_SUCH_MEMORY)
        audit.record(
            actor=by, action="memory.deleted", object_type="memory", object_id=str(found),
            details={"scope": memory.scope, "key": memory.key},
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class Forgotten:
    """What a reset did. remaining: of all scopes."""

    matched_memories: int
    deleted_memories: int
    deleted_vectors: int
    remaining_memories: int
    remaining_vectors: int


def reset(scope: str | None, *, by: str) -> Forgotten:
    """Forget a scope, or everything, expired rows and working memory too."""
    with transaction.atomic():
        memories = Memory.objects.all() if scope is None else Memory.objects.filter(scope=scope)
        vectors = Vector.objects.all() if scope is None else Vector.objects.filter(memory__scope=scope)
        deleted_vectors = vectors.count()
        deleted = memories._raw_delete(using=connection.alias)
        deleted_sessions = 0
        if scope in {None, working.SCOPE}:
            deleted_sessions, _ = Session.objects.all().delete()
        done = Forgotten(deleted, deleted, deleted_vectors, Memory.objects.count(), Vector.objects.count())
        # Last: whoever else has something to record waits from here on.
        audit.record(
            actor=by, action="memory.reset", object_type="memory", object_id=scope or "*",
            details={
                "deleted_memories": deleted, "deleted_vectors": deleted_vectors, "deleted_sessions": deleted_sessions,
            },
        )  # fmt: skip
        return done


def purge() -> int:
    """Delete what has expired, a batch a statement, so that no lock is held long. How many rows."""
    count = 0
    for name in ("purge_memories", "purge_sessions"):
        batch = PURGE_BATCH
        while batch == PURGE_BATCH:
            batch = len(sql.rows(name, {"limit": PURGE_BATCH}))
            count += batch
    return count
