"""Checks of memory: that what is remembered can be found by meaning."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from memory import queries, spaces
from memory.models import EmbeddingStatus, Memory
from rauskuclaw.config import load
from rauskuclaw.operations.findings import Findings, ok, warn
from rauskuclaw.operations.text import count

SLOW = timedelta(minutes=5)
"""A memory that has waited so long for its embedding is worth a word."""


def vectors() -> Findings:
    """Memories get their vectors, by a model that can be searched."""
    without = queries.not_ready()
    pending, failed = without[EmbeddingStatus.PENDING], without[EmbeddingStatus.FAILED]
    if not load().memory_vector_enabled:
        if pending:
            told = f"{count(pending, 'memory', 'memories')} without a vector: MEMORY_VECTOR_ENABLED=0"
            yield ok("memory", f"{told}, they are found by their words")
        return
    space = spaces.active()
    if space is None or space.dimension is None:
        return
    waiting = Memory.objects.filter(embedding_status=EmbeddingStatus.PENDING, embed_after__lt=timezone.now() - SLOW)
    if waiting.exists():
        yield warn(
            "memory",
            f"{count(pending, 'memory', 'memories')} without a vector, some for more than 5 min",
            "Start beat and a worker of the queue `default`; see its jobs of type system.memory.embed.sync.",
        )
    elif not spaces.has_index(space):
        yield warn(
            "memory",
            f"The vectors of {space} have no index yet: searches compare all of a scope",
            "Wait for the job of type system.memory.upkeep, or see why it failed.",
        )
    else:
        yield ok("memory", f"Searches use {space}")
    if failed:
        yield warn(
            "memory.failed",
            f"{count(failed, 'memory', 'memories')} could not be embedded",
            "`embedding_error` says why; then `manage.py memory reembed --failed`.",
        )
