"""Finding memories: by meaning (vectors), by words (text), or both (hybrid). Why it is done so: ADR 24.

A scope is searched exactly while it is small, and through the HNSW index when it is large; the index goes on looking
while a filter leaves too few rows, and where it gives up, all of the scope is compared. So no filter starves a search.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection

from memory import embedders, spaces, statements
from memory.embedders.base import EmbedFailed
from memory.embedding import as_text
from memory.models import Memory, Space
from memory.requests import Search
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem

FUSED = 4
"""A hybrid search looks at so many times top_k of either kind."""
RRF_K = 60
"""Reciprocal rank fusion: the constant of its inventors (Cormack, Clarke and Büttcher 2009)."""


@dataclass(frozen=True)
class Match:
    """A memory that was found. distance: cosine, 0..2; None where words found it. score: higher is better."""

    memory: Memory
    score: float
    distance: float | None = None


@dataclass(frozen=True)
class Found:
    """What a search found, best first, and what it could not look at."""

    matches: Sequence[Match]
    mode: str
    pending: int = 0
    """Memories of the scope that have no vector yet."""
    failed: int = 0
    model: str | None = None
    """The embedding model that was used; None: none."""
    building: str | None = None
    """The one that is to take its place as soon as it has every vector."""
    vector_error: Problem | None = None
    """Why a hybrid search has found words only."""


@dataclass(frozen=True)
class Facts:
    """What there is to search, by vectors."""

    space: Space | None
    building: str | None
    is_indexed: bool
    pending: int
    failed: int
    is_small: bool
    """Few enough rows fit the filter to compare them all."""


def search(wanted: Search) -> Found:
    """Raises VECTOR_NOT_ENABLED, MEMORY_EMBEDDING_UNAVAILABLE (strict), MEMORY_EMBED_… and MEMORY_VECTOR_….

    A hybrid search that is not strict raises none of them: it says in `vector_error` what kept it from vectors.
    """
    if wanted.mode == "text":
        return Found(by_words(wanted), wanted.mode)
    if wanted.mode == "vector":
        return by_meaning(wanted)
    wide = wanted.model_copy(update={"top_k": wanted.top_k * FUSED})
    try:
        meant = by_meaning(wide)
    except EmbedFailed as error:
        if wanted.strict:
            raise
        meant = Found((), "vector", vector_error=error)
    matches = fuse([meant.matches, by_words(wide)])[: wanted.top_k]
    return replace(meant, matches=matches, mode=wanted.mode)


def require_enabled(body: object) -> None:
    """The switch is looked at before anything else (contract 8.3). Raises VECTOR_NOT_ENABLED where it matters."""
    mode = body.get("mode") if isinstance(body, Mapping) else None
    if mode not in {"text", "hybrid"}:
        _require_enabled()


def _require_enabled() -> None:
    if not load().memory_vector_enabled:
        raise EmbedFailed(errors.VECTOR_NOT_ENABLED, "Semantic search is off: set MEMORY_VECTOR_ENABLED=1.")


def by_meaning(wanted: Search) -> Found:
    """The nearest memories. The query is embedded by the model in use, whatever the configuration names by now."""
    _require_enabled()
    facts = facts_of(wanted)
    if wanted.strict:
        _require_ready(wanted, facts)
    if facts.space is None:
        space = spaces.live().active
        embedders.embedder(space.provider, space.model).embed([wanted.query])
        return Found((), "vector", facts.pending, facts.failed, space.model)
    space = facts.space
    (query,) = embedders.embedder(space.provider, space.model).embed([wanted.query])
    matches = nearest(query.tolist(), wanted, facts)
    return Found(matches, "vector", facts.pending, facts.failed, space.model, facts.building)


def facts_of(wanted: Search) -> Facts:
    """What there is to search, in one round trip."""
    with connection.cursor() as cursor:
        cursor.execute(*statements.facts(wanted))
        id_, provider, model, dimension, is_indexed, building, pending, failed, is_small = cursor.fetchone()
    space = None if id_ is None else Space(id=id_, provider=provider, model=model, dimension=dimension, state="active")
    return Facts(space, building, bool(is_indexed), pending, failed, is_small)


def _require_ready(wanted: Search, facts: Facts) -> None:
    """The contract's rule: every memory of the scope has its vector, or there is no search."""
    with connection.cursor() as cursor:
        cursor.execute(*statements.missing(wanted, facts.space.pk if facts.space else 0))
        missing = cursor.fetchone()[0]
    if facts.pending or facts.failed or missing:
        details = {
            "scope": wanted.scope, "pending_count": facts.pending, "failed_count": facts.failed,
            "missing_vector_count": missing,
        }  # fmt: skip
        message = (
            f"{missing} memories of the scope {wanted.scope!r} have no vector yet: wait, or search without strict."
        )
        raise EmbedFailed(errors.MEMORY_EMBEDDING_UNAVAILABLE, message, details)


def nearest(query: Sequence[float], wanted: Search, facts: Facts) -> list[Match]:
    """The `top_k` memories closest to `query` by cosine distance, nearest first.

    query: as long as the vectors of `facts.space`. Raises MEMORY_VECTOR_DIMENSION where it is not,
    MEMORY_VECTOR_SEARCH_FAILED.
    """
    space = facts.space
    if space is None or space.dimension is None:
        return []
    if len(query) != space.dimension:
        raise EmbedFailed(
            errors.MEMORY_VECTOR_DIMENSION, f"{space} makes other vectors now than those that are kept",
            {"existing_dimension": space.dimension, "requested_dimension": len(query)},
        )  # fmt: skip
    type_ = spaces.indexed_as(space.dimension) if facts.is_indexed and not facts.is_small else None
    found = _nearest(query, wanted, space, type_)
    if type_ is not None and len(found) < wanted.top_k:
        # The index gave up: what fits lies far from the query, or there is no more of it.
        found = _nearest(query, wanted, space, None)
    return sorted(found, key=lambda match: match.distance or 0)


def _nearest(query: Sequence[float], wanted: Search, space: Space, type_: str | None) -> list[Match]:
    """By the index, which has the vectors as `type_`; None: by comparing all."""
    try:
        memories: list[Any] = list(Memory.objects.raw(*statements.nearest(wanted, as_text(query), space.pk, type_)))
    except (OperationalError, InterfaceError):
        raise
    except DatabaseError as error:
        raise EmbedFailed(errors.MEMORY_VECTOR_SEARCH_FAILED, f"Postgres could not search: {error}") from error
    return [Match(memory, round(1 / (1 + memory.distance), 6), memory.distance) for memory in memories]


def by_words(wanted: Search) -> list[Match]:
    """Memories that hold the query's words: all of them, then, while there are too few, any of them.

    The query is a web search's: "quoted words" stand together, -word must not be there.
    """
    found = _by_words(wanted, every=True)
    if len(found) < wanted.top_k:
        have = {match.memory.pk for match in found}
        found += [match for match in _by_words(wanted, every=False) if match.memory.pk not in have]
    return found[: wanted.top_k]


def _by_words(wanted: Search, *, every: bool) -> list[Match]:
    memories: Iterable[Any] = Memory.objects.raw(*statements.by_words(wanted, every=every))
    return [Match(memory, round(memory.rank, 6)) for memory in memories]


def fuse(rankings: Sequence[Sequence[Match]]) -> list[Match]:
    """One ranking of several: each place counts 1 / (RRF_K + place), so that what several find comes first."""
    best: dict[Any, Match] = {}
    scores: dict[Any, float] = {}
    for ranking in rankings:
        for place, match in enumerate(ranking, start=1):
            best.setdefault(match.memory.pk, match)
            scores[match.memory.pk] = scores.get(match.memory.pk, 0.0) + 1 / (RRF_K + place)
    ranked = sorted(best, key=lambda pk: -scores[pk])
    return [replace(best[pk], score=round(scores[pk], 6)) for pk in ranked]
