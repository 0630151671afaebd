"""Making vectors: take memories that wait, embed them in batches, keep the vectors.

No lock is held while a model works. A memory is taken for LEASE_SEC; a vector is kept only if the memory still is of
the revision that was embedded.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.storable import dumps, error_json
from memory import embedders, spaces, sql
from memory.embedders.base import EmbedFailed, Vectors
from memory.models import Space, Vector
from memory.words import embedded_text
from rauskuclaw import errors

logger = logging.getLogger("memory.embedding")

LEASE_SEC = 90
"""Longer than an embedding job may run."""
BATCH = 64
MAX_TRIES = 30
"""Of one revision: a bit more than a day."""


@dataclass(frozen=True)
class Taken:
    """A memory that this process embeds."""

    id: uuid.UUID
    revision: int
    text: str

    def as_json(self) -> dict[str, Any]:
        """What the statements know it by."""
        return {"id": str(self.id), "revision": self.revision}


def take_one(memory_id: uuid.UUID) -> list[Taken]:
    """The memory, if it has no vector or needs another one."""
    return _taken("claim_one", {"id": memory_id})


def take(limit: int = BATCH) -> list[Taken]:
    """Memories that wait, the longest first: those without a vector, then those that are to get another one."""
    return _taken("claim", {"limit": limit}) or _taken("claim_again", {"limit": limit})


def _taken(statement: str, params: dict[str, Any]) -> list[Taken]:
    rows = sql.rows(statement, {**params, "lease_sec": LEASE_SEC})
    return [
        Taken(
            row["id"], row["revision"],
            embedded_text(scope=row["scope"], key=row["key"], tags=row["tags"], value=json.loads(row["value"])),
        )
        for row in rows
    ]  # fmt: skip


def embed(taken: Sequence[Taken]) -> dict[uuid.UUID, EmbedFailed]:
    """Give them vectors in every live model. What failed, and why; that is noted in the rows, too."""
    failed: dict[uuid.UUID, EmbedFailed] = {}
    for space in spaces.live().all:
        current = {it.id: it.revision for it in taken}
        there = Vector.objects.filter(space=space, memory_id__in=current).values_list("memory_id", "revision")
        done = {memory_id for memory_id, revision in there if revision == current[memory_id]}
        failed |= _embed_in(space, [it for it in taken if it.id not in done])
    sql.rows("settle", {"rows": dumps([it.as_json() for it in taken])})
    for error in set(failed.values()):
        rows = [it.as_json() for it in taken if failed.get(it.id) is error]
        told = error_json(error.message, code=error.code.name, details=error.details)
        sql.rows("fail", {"rows": dumps(rows), "error": dumps(told), "retry": error.retryable, "max_tries": MAX_TRIES})
    return failed


def _embed_in(space: Space, taken: Sequence[Taken]) -> dict[uuid.UUID, EmbedFailed]:
    """In one model. A batch that it refuses is tried one by one: only the text that is at fault is to fail."""
    failed: dict[uuid.UUID, EmbedFailed] = {}
    made_by = embedders.embedder(space.provider, space.model)
    for start in range(0, len(taken), made_by.batch):
        batch = taken[start : start + made_by.batch]
        try:
            save(space, batch, made_by.embed([it.text for it in batch]))
        except EmbedFailed as error:
            if error.code is errors.MEMORY_EMBED_INPUT and len(batch) > 1:
                for it in batch:
                    failed |= _embed_in(space, [it])
            else:
                failed |= dict.fromkeys((it.id for it in batch), error)
    return failed


def save(space: Space, taken: Sequence[Taken], vectors: Vectors) -> None:
    """Keep vectors, one for each memory. Raises EmbedFailed where they are not as long as those before."""
    dimension = _dimension_of(space, vectors.shape[1])
    if dimension != vectors.shape[1]:
        raise EmbedFailed(
            errors.MEMORY_VECTOR_DIMENSION,
            f"{space} made vectors of {dimension} numbers before, and of {vectors.shape[1]} now",
            {"existing_dimension": dimension, "requested_dimension": vectors.shape[1]},
        )
    rows = [it.as_json() | {"embedding": as_text(vector)} for it, vector in zip(taken, vectors.tolist(), strict=True)]
    sql.rows("save", {"space": space.pk, "rows": dumps(rows)})


def as_text(vector: Sequence[float]) -> str:
    """A vector as pgvector reads it."""
    # One format for all numbers takes half the time of one each, and a search in a small scope does little else.
    return f"[{','.join(['%.8g'] * len(vector))}]" % tuple(vector)


def _dimension_of(space: Space, dimension: int) -> int:
    """The first vectors decide."""
    if space.dimension is None:
        Space.objects.filter(pk=space.pk, dimension=None).update(dimension=dimension)
        space.refresh_from_db(fields=["dimension"])
    return space.dimension or dimension


def embed_all(go_on: Callable[[], bool]) -> int:
    """Embed what waits, batch by batch, while `go_on()` and no batch fails as a whole. How many have vectors now."""
    count = 0
    while go_on() and (taken := take()):
        failed = embed(taken)
        count += len(taken) - len(failed)
        if len(failed) == len(taken):
            break
    return count
