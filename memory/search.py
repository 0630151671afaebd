"""Finding memories: by meaning (vectors), by words (text), or both (hybrid). Why it is done so: ADR 24.

A scope is searched exactly while it is small, and through the HNSW index when it is large; the index goes on looking
while a filter leaves too few rows, and where it gives up, all of the scope is compared. So no filter starves a search.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, OperationalError, connection
from django.db.models import DEFERRED

from jobs import sql
from memory import embedders, spaces, statements, trigrams
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

Row = tuple[Any, ...]
"""Of a search of vectors: statements.COLUMNS of a memory, its distance, and what else the statement says."""
PLACE_OF_DISTANCE = len(statements.COLUMNS)
_PLACES_NOT_READ = tuple(
    place for place, field in enumerate(Memory._meta.concrete_fields) if field.attname not in statements.COLUMNS
)
_PLACES_OF_JSON = tuple(statements.COLUMNS.index(name) for name in ("value", "embedding_error"))


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
    if wanted.strict:
        _require_ready(wanted)
    space = _space()
    while True:
        try:
            (query,) = embedders.embedder(space.provider, space.model).embed([wanted.query])
            found = nearest(query.tolist(), wanted, space)
        except EmbedFailed:
            # Of the model that was in use before, which may be gone for good?
            if _space(anew=True).pk == space.pk:
                raise
            found = None
        if found is not None:
            return found
        space = _space(anew=True)


_spaces: dict[int, Space] = {}
"""The model in use, as this process last read it. `nearest` finds out if it is another one by now."""


def _space(*, anew: bool = False) -> Space:
    found = None if anew else next(iter(_spaces.values()), None)
    if found is None:
        found = spaces.active() or spaces.live().active
        _spaces.clear()
        _spaces[found.pk] = found
    return found


def nearest(query: Sequence[float], wanted: Search, space: Space) -> Found | None:
    """The `top_k` memories closest to `query` by cosine distance, nearest first.

    query: made by `space`. None: that is not the model in use any more.
    Raises MEMORY_VECTOR_DIMENSION where vectors that are kept are of another length, MEMORY_VECTOR_SEARCH_FAILED.
    """
    text, type_ = as_text(query), spaces.indexed_as(len(query))
    rows = _rows(statements.look(wanted, text, space.pk, type_), len(query), space, prepared=True)
    in_use, is_indexed, is_small, pending, failed, building = rows[0][PLACE_OF_DISTANCE + 1 :]
    if in_use != space.pk:
        return None
    if wanted.is_filtered:
        rows = _filtered(text, wanted, space, type_ if is_indexed and not is_small else None, len(query))
    elif not is_small and (len(rows) < wanted.top_k or rows[0][0] is None):
        rows = _compared(text, wanted, space, len(query))
    matches = [_match(row) for row in rows if row[0] is not None]
    return Found(
        sorted(matches, key=lambda match: match.distance or 0), "vector", pending, failed, space.model, building
    )


def _filtered(query: str, wanted: Search, space: Space, type_: str | None, length: int) -> list[Row]:
    """By the index, which has the vectors as `type_`, and by comparing all where there is none, or where it gave up:
    what fits lies far from the query, or there is no more of it."""
    found = []
    if type_ is not None:
        found = _rows(statements.nearest(wanted, query, space.pk, type_), length, space)
    return found if len(found) == wanted.top_k else _compared(query, wanted, space, length)


def _compared(query: str, wanted: Search, space: Space, length: int) -> list[Row]:
    return _rows(statements.nearest(wanted, query, space.pk, None), length, space)


def _rows(statement: statements.Statement, length: int, space: Space, *, prepared: bool = False) -> list[Row]:
    """Run a search of vectors for one of so many numbers."""
    try:
        if prepared:
            return sql.tuples_of(*statement)
        with connection.cursor() as cursor:
            cursor.execute(*statement)
            found: list[Row] = cursor.fetchall()
            return found
    except (OperationalError, InterfaceError):
        raise
    except DatabaseError as error:
        dimension = Space.objects.get(pk=space.pk).dimension
        if dimension not in {None, length}:
            raise EmbedFailed(
                errors.MEMORY_VECTOR_DIMENSION, f"{space} makes other vectors now than those that are kept",
                {"existing_dimension": dimension, "requested_dimension": length},
            ) from None  # fmt: skip
        raise EmbedFailed(errors.MEMORY_VECTOR_SEARCH_FAILED, f"Postgres could not search: {error}") from error


def _match(row: Row) -> Match:
    values = list(row[:PLACE_OF_DISTANCE])
    for place in _PLACES_OF_JSON:
        if (text := values[place]) is not None:
            values[place] = json.loads(text)
    for place in _PLACES_NOT_READ:
        values.insert(place, DEFERRED)
    memory = Memory.from_db(DEFAULT_DB_ALIAS, statements.COLUMNS, values)
    distance = row[PLACE_OF_DISTANCE]
    return Match(memory, round(1 / (1 + distance), 6), distance)


def _require_ready(wanted: Search) -> None:
    """The contract's rule: every memory of the scope has its vector, or there is no search."""
    with connection.cursor() as cursor:
        cursor.execute(*statements.not_ready(wanted))
        pending, failed, missing = cursor.fetchone()
    if missing:
        details = {
            "scope": wanted.scope, "pending_count": pending, "failed_count": failed, "missing_vector_count": missing,
        }  # fmt: skip
        message = (
            f"{missing} memories of the scope {wanted.scope!r} have no vector yet: wait, or search without strict."
        )
        raise EmbedFailed(errors.MEMORY_EMBEDDING_UNAVAILABLE, message, details)


def by_words(wanted: Search) -> list[Match]:
    """Memories that hold the query's words: all of them; then, while there are too few, any of them; then words like
    them.

    The query is a web search's: "quoted words" stand together, -word must not be there.
    """
    found: dict[Any, Match] = {}
    ways: tuple[Callable[[], statements.Statement | None], ...] = (
        lambda: statements.by_words(wanted, every=True),
        lambda: statements.by_words(wanted, every=False),
        lambda: statements.by_trigrams(wanted) if trigrams.has_index() else None,
    )
    for way in ways:
        if len(found) < wanted.top_k and (statement := way()) is not None:
            memories: Iterable[Any] = Memory.objects.raw(*statement)
            for memory in memories:
                found.setdefault(memory.pk, Match(memory, round(memory.rank, 6)))
    return list(found.values())[: wanted.top_k]


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
