"""What the heartbeat sees to, and the longer work that it makes a job of: indexes, the change to another model."""

from __future__ import annotations

import logging
import uuid

from django.db.models import F
from django.db.models.functions import Now

from memory import queueing, spaces, sql, trigrams
from memory.models import EmbeddingStatus, Memory, Space, Vector
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem

logger = logging.getLogger("memory.upkeep")

JOB_TYPE = "system.memory.upkeep"


def tend() -> None:
    """Every few seconds; any number may run at once. Sees to it that each memory that should gets its vectors."""
    try:
        if load().memory_vector_enabled:
            _tend_vectors()
        ask_for_upkeep()
    except Problem as problem:
        logger.warning("no job could be made: %s", problem)


def _tend_vectors() -> None:
    live = spaces.live()
    # Written while vectors were switched off.
    sql.rows("wake", {"limit": spaces.STEP})
    if live.building is not None and not live.building.is_marked:
        spaces.mark_next(live.building)
    queueing.embed_overdue()


def ask_for_upkeep() -> None:
    """Make a job if there is anything to do and none does it. Raises Problem where its type is missing or disabled."""
    if _is_due() and not queueing.open_jobs(JOB_TYPE):
        queueing.make(JOB_TYPE, {}, priority=5, timeout_sec=3600, max_attempts=3)


def _is_due() -> bool:
    if trigrams.is_installed() and not trigrams.has_index():
        return True
    for space in Space.objects.all():
        if space.state == Space.State.RETIRED:
            if space.dimension is not None or Vector.objects.filter(space=space).exists():
                return True
        elif not spaces.has_index(space) or (space.state == Space.State.BUILDING and spaces.is_complete(space)):
            return True
    return False


def run() -> list[str]:
    """Do what is due; not in a transaction. What was done, for people."""
    done = []
    if trigrams.is_installed() and not trigrams.has_index():
        trigrams.make_index()
        done.append("made the index of trigrams")
    for space in Space.objects.exclude(state=Space.State.RETIRED):
        if not spaces.has_index(space):
            spaces.make_index(space)
            done.append(f"made the index of {space}")
    if spaces.change_over():
        done.append(f"searches use {spaces.active()} now")
    for space in Space.objects.filter(state=Space.State.RETIRED):
        if space.dimension is None and not Vector.objects.filter(space=space).exists():
            continue
        while spaces.forget_vectors(space):
            pass
        if not Vector.objects.filter(space=space).exists():
            done.append(f"forgot the vectors of {space}")
    return done


def retry(memory_id: uuid.UUID) -> None:
    """Queue a memory that has no vector. Raises CONFLICT where it has one, or vectors are off."""
    waiting = Memory.objects.filter(pk=memory_id).exclude(embedding_status=EmbeddingStatus.READY)
    if not load().memory_vector_enabled or not waiting.update(embed_after=Now(), embed_tries=0):
        raise Problem(errors.CONFLICT, "it needs no vector")


def reembed(*, failed_only: bool) -> int:
    """Have memories embedded anew: those that failed, or all, for which all vectors of the model in use are forgotten.

    Returns how many. Searches find what has its new vector. Not in a transaction.
    """
    if failed_only:
        return len(sql.rows("retry_failed", {}))
    space = spaces.live().active
    _begin_anew()
    while spaces.forget_vectors(space):
        pass
    # The heartbeat may have had some embedded meanwhile, and the loop has deleted their new vectors, too.
    return _begin_anew()


def _begin_anew() -> int:
    """Forget that memories were embedded; how many. Each gets a revision of its own, so that no job that runs now takes
    an old vector for a new one."""
    return Memory.objects.update(
        revision=F("revision") + 1, embedding_status=EmbeddingStatus.PENDING, embedding_error=None, embedded_at=None,
        embed_after=None, embed_tries=0,
    )  # fmt: skip
