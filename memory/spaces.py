"""Which embedding model is used, which one is being filled to take over, and their HNSW indexes.

A model that the configuration names for the first time is filled beside the one in use. Searches change over when every
memory that has a vector in the old one has one in the new (docs/adr/0024-memory-search.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection, transaction

from jobs.storable import dumps
from memory import embedders, sql
from memory.models import EmbeddingStatus, Memory, Space, Vector
from rauskuclaw import errors

logger = logging.getLogger("memory.spaces")

STEP = 5_000
"""Rows that one statement marks or deletes."""
MAX_VECTOR_DIMENSION, MAX_HALFVEC_DIMENSION = 2_000, 4_000
"""What pgvector can index. Longer vectors are compared one by one."""
INDEX_OPTIONS = "m = 16, ef_construction = 200"
_LOCK = 0x6D656D6F7279
"""Advisory lock of the states, and, with a space's id, of its index ("memory" in ASCII)."""


@dataclass(frozen=True)
class Live:
    """The models that memories get vectors in."""

    active: Space
    building: Space | None

    @property
    def all(self) -> list[Space]:
        """The one in use first."""
        return [self.active, *([self.building] if self.building else [])]


def live() -> Live:
    """The models in use, after taking note of what the configuration names now."""
    wanted = embedders.wanted()
    found = _found()
    newest = found.get(Space.State.BUILDING) or found.get(Space.State.ACTIVE)
    if newest is None or (newest.provider, newest.model) != wanted:
        _take_note(*wanted)
        found = _found()
    return Live(found[Space.State.ACTIVE], found.get(Space.State.BUILDING))


def active() -> Space | None:
    """The model that searches use; None before the first."""
    return _found().get(Space.State.ACTIVE)


def _found() -> dict[str, Space]:
    return {space.state: space for space in Space.objects.exclude(state=Space.State.RETIRED)}


@transaction.atomic
def _take_note(provider: str, model: str) -> None:
    _lock()
    Space.objects.get_or_create(provider=provider, model=model, defaults={"state": Space.State.RETIRED})
    wanted = Space.objects.select_for_update().get(provider=provider, model=model)
    others = Space.objects.exclude(pk=wanted.pk)
    others.filter(state=Space.State.BUILDING).update(state=Space.State.RETIRED)
    if wanted.state == Space.State.ACTIVE:
        return
    # One that has made no vector yet is not worth waiting for.
    others.filter(state=Space.State.ACTIVE, dimension=None).update(state=Space.State.RETIRED)
    wanted.state = Space.State.BUILDING if others.filter(state=Space.State.ACTIVE).exists() else Space.State.ACTIVE
    wanted.marked_to, wanted.is_marked = None, False
    wanted.save(update_fields=["state", "marked_to", "is_marked"])
    logger.info("the embedding model %s is now %s", wanted, wanted.state)


def mark_next(space: Space) -> bool:
    """Queue the next STEP memories for a model that is being filled. Whether there are more."""
    rows = sql.rows("mark", {"space": space.pk, "limit": STEP})
    return any(not row["is_marked"] for row in rows)


def is_complete(space: Space) -> bool:
    """Whether nothing waits any more for a model that is being filled. Served by memory_to_embed_again."""
    again = Memory.objects.filter(embedding_status=EmbeddingStatus.READY, embed_after__isnull=False)
    return space.is_marked and (space.dimension is None or has_index(space)) and not again.exists()


@transaction.atomic
def change_over() -> bool:
    """Let searches use the model that was being filled. False if it is not complete (any more)."""
    _lock()
    building = Space.objects.filter(state=Space.State.BUILDING).first()
    if building is None or not is_complete(building):
        return False
    Space.objects.filter(state=Space.State.ACTIVE).update(state=Space.State.RETIRED)
    Space.objects.filter(pk=building.pk).update(state=Space.State.ACTIVE)
    left_behind = {
        "message": f"{building} could not embed it", "code": errors.MEMORY_EMBED_ERROR.name, "details": None,
    }  # fmt: skip
    sql.rows("change_over", {"space": building.pk, "error": dumps(left_behind)})
    logger.info("searches use the embedding model %s now", building)
    return True


def indexed_as(dimension: int) -> str | None:
    """The type that vectors of this length are indexed as; None: they cannot be."""
    if dimension <= MAX_VECTOR_DIMENSION:
        return f"vector({dimension})"
    return f"halfvec({dimension})" if dimension <= MAX_HALFVEC_DIMENSION else None


def has_index(space: Space) -> bool:
    """Whether its index can be used, or there can be none."""
    if space.dimension is None or indexed_as(space.dimension) is None:
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [space.index_name])
        row = cursor.fetchone()
    return bool(row and row[0])


def make_index(space: Space) -> None:
    """Make its index without locking anybody out; not in a transaction. What an earlier try left behind is dropped."""
    type_ = indexed_as(space.dimension or 0)
    with _alone_with(space) as alone:
        if not alone or type_ is None or has_index(space):
            return
        operators = f"{type_.partition('(')[0]}_cosine_ops"
        with connection.cursor() as cursor:
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {space.index_name}")
            cursor.execute(
                f"CREATE INDEX CONCURRENTLY {space.index_name} ON memory_vector"
                f" USING hnsw ((embedding::{type_}) {operators}) WITH ({INDEX_OPTIONS}) WHERE space_id = {space.pk}"
            )
    logger.info("the vectors of %s have an index", space)


def forget_vectors(space: Space, limit: int = STEP) -> bool:
    """Delete some vectors of a model, and with the last its index; not in a transaction. Whether there are more.

    Nothing is deleted once the model's state is another one than `space` says: it may be wanted again.
    """
    same = Space.objects.filter(pk=space.pk, state=space.state)
    with transaction.atomic():
        # Who changes the state waits for the batch, and the next one sees it.
        if not same.select_for_update(no_key=True).exists():
            return False
        ids = list(Vector.objects.filter(space=space).values_list("memory_id", flat=True)[:limit])
        Vector.objects.filter(space=space, memory_id__in=ids)._raw_delete(using=connection.alias)
    if ids:
        return True
    with _alone_with(space) as alone, connection.cursor() as cursor:
        if alone:
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {space.index_name}")
            same.update(dimension=None)
    return False


@contextmanager
def _alone_with(space: Space) -> Iterator[bool]:
    """Holds the lock of a model's index, if nobody else does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK << 8 | space.pk])
        alone: bool = cursor.fetchone()[0]
        try:
            yield alone
        finally:
            if alone and connection.is_usable():
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK << 8 | space.pk])


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
