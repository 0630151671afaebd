"""The statements of a search. Made here and not in a file, for their parts depend on the filter and on the model.

What is put into their text are names, types and numbers of ours; all that a caller says is a parameter. They are bound
by the client, and so planned for their values: whether an index is worth using depends on the scope.
"""

from __future__ import annotations

import re
from typing import Any

from jobs.storable import dumps
from memory.models import TEXT_CONFIG, EmbeddingStatus, Memory
from memory.requests import Search

Statement = tuple[str, dict[str, Any]]

EXACT_ROWS = 1_000
"""Up to so many rows are compared one by one, and more where the index would look at more than that."""
RANKED_ROWS = 10_000
"""Of those that a text search matches, the newest so many are ranked."""
COLUMNS = tuple(field.attname for field in Memory._meta.concrete_fields if field.attname not in {"words", "lexemes"})
"""Of a memory that is found: all that anybody is shown."""
TRIGRAM_WORDS, MIN_TRIGRAM_CHARS = 8, 4
"""Of the query's words, the first so many that are so long are looked for by trigrams."""
_COLUMNS = ", ".join(f"m.{name}" for name in COLUMNS)
_FACTS = "facts.space, facts.is_indexed, facts.is_small, facts.pending, facts.failed, facts.building"


def look(wanted: Search, query: str, space_id: int, type_: str | None) -> Statement:
    """What there is to search, and the nearest memories: a row each, with their `distance` and those facts. Meant to be
    prepared, and so without filters: with one, only the facts are looked at.

    query: a vector as text. type_: what the model's index has its vectors as; None: there is none. Where no memory is
    found it is one row of facts, with null for a memory. `space`: the model in use now; no memory is found if that is
    not `space_id`.

    Of k rows wanted out of n in the scope, of N in all, the index looks at about k·N/n, and comparing all at n: the
    index wins from n = √(kN) on if each row costs the same. A row of the index costs more, so up to √(4kN) the scope
    `is_small`, and compared whole.
    """
    counts = [
        # As parameters: a plan for every value cannot go by the index of all that is not ready, in whatever scope.
        f"(SELECT count(*) FROM memory_memory m WHERE m.scope = %(scope)s AND m.embedding_status = %({status})s"
        f" AND {_live(wanted)}) AS {status}"
        for status in (EmbeddingStatus.PENDING.value, EmbeddingStatus.FAILED.value)
    ]
    ready = f"m.scope = %(scope)s AND m.embedding_status = %(ready)s AND {_live(wanted)}"
    # What is ready has its vector in the model in use: the revisions need no comparing.
    compared = """
            (SELECT v.memory_id, v.embedding <=> %(query)s::vector AS distance
            FROM fitting JOIN memory_vector v ON v.memory_id = fitting.id AND v.space_id = facts.space
            WHERE facts.is_small AND facts.space = %(space)s::int AND %(plain)s::boolean
            ORDER BY distance
            LIMIT %(top_k)s::int)"""
    text = f"""
        WITH space AS (
            SELECT s.id, COALESCE(i.indisvalid, false) AS is_indexed, GREATEST(c.reltuples, 0) AS rows
            FROM memory_space s
            LEFT JOIN pg_class c ON c.oid = to_regclass('memory_vector_hnsw_' || s.id)
            LEFT JOIN pg_index i ON i.indexrelid = c.oid
            WHERE s.state = 'active'
        ), most AS (
            SELECT GREATEST(
                {EXACT_ROWS}, ceil(sqrt(4 * %(top_k)s::float8 * COALESCE((SELECT rows FROM space), 0)))
            )::int AS rows
        ), fitting AS MATERIALIZED (
            SELECT m.id FROM memory_memory m WHERE {ready}
        ), facts AS MATERIALIZED (
            SELECT space.id AS space, space.is_indexed, {", ".join(counts)},
                (SELECT provider || '/' || model FROM memory_space WHERE state = 'building') AS building,
                NOT EXISTS (
                    SELECT FROM memory_memory m WHERE {ready} OFFSET (SELECT rows FROM most)
                ) AS is_small
            FROM most LEFT JOIN space ON true
        )
        SELECT {_COLUMNS}, near.distance, {_FACTS}
        FROM facts
        LEFT JOIN LATERAL ({compared}{_indexed(wanted, space_id, type_)}) near ON true
        LEFT JOIN memory_memory m ON m.id = near.memory_id
    """
    return text, {
        "scope": wanted.scope, "top_k": wanted.top_k, "query": None if wanted.is_filtered else query,
        "space": space_id, "plain": not wanted.is_filtered, **{status: status for status in EmbeddingStatus.values},
    }  # fmt: skip


def _indexed(wanted: Search, space_id: int, type_: str | None) -> str:
    """The part of `look` that goes by the index, where the scope is large.

    What fits is asked of each row that the index gives, by a subquery that stays one: with a join, a plan for scopes in
    general would rather sort all of the scope.
    """
    if type_ is None:
        return ""
    distance = f"v.embedding::{type_} <=> %(query)s::vector::{type_}"
    return f"""
            UNION ALL
            (SELECT v.memory_id, {distance}
            FROM memory_vector v
            WHERE NOT facts.is_small AND facts.is_indexed AND facts.space = %(space)s::int AND %(plain)s::boolean
                AND v.space_id = {space_id:d} AND (
                    SELECT m.scope = %(scope)s AND m.revision = v.revision AND {_live(wanted)}
                    FROM memory_memory m WHERE m.id = v.memory_id
                )
            ORDER BY {distance}
            LIMIT %(top_k)s::int)"""


def not_ready(wanted: Search) -> Statement:
    """How many memories of the scope are pending and failed, and how many have no vector of what they say now in the
    model in use. Reads all of the scope."""
    text = f"""
        SELECT count(*) FILTER (WHERE m.embedding_status = 'pending'),
            count(*) FILTER (WHERE m.embedding_status = 'failed'),
            count(*) FILTER (WHERE NOT EXISTS (
                SELECT FROM memory_vector v JOIN memory_space s ON s.id = v.space_id AND s.state = 'active'
                WHERE v.memory_id = m.id AND v.revision = m.revision
            ))
        FROM memory_memory m
        WHERE m.scope = %(scope)s AND {_live(wanted)}
    """
    return text, {"scope": wanted.scope}


def nearest(wanted: Search, query: str, space_id: int, type_: str | None) -> Statement:
    """The memories whose vectors are nearest, with their `distance`.

    query: a vector as text. type_: what the model's index has its vectors as, to have them found by the index, in
    almost the right order; None: by comparing all that fit.
    """
    condition, params = _condition(wanted)
    # Not cast as the index has it, the expression cannot be looked up there.
    distance = f"v.embedding{f'::{type_}' if type_ else ''} <=> %(query)s::{type_ or 'vector'}"
    text = f"""
        SELECT {_COLUMNS}, {distance} AS distance
        FROM memory_vector v JOIN memory_memory m ON m.id = v.memory_id AND m.revision = v.revision
        WHERE v.space_id = {space_id:d} AND {condition}
        ORDER BY distance
        LIMIT %(top_k)s
    """
    return text, {**params, "query": query}


def by_words(wanted: Search, *, every: bool) -> Statement:
    """The memories that hold every word of the query, or any of them, with their `rank`. Served by memory_by_word."""
    condition, params = _condition(wanted)
    query = f"websearch_to_tsquery('{TEXT_CONFIG}', %(words)s)"
    if not every:
        # With words that must not be there (`!`), any text without them would do.
        query = (
            f"CASE WHEN {query}::text LIKE '%%!%%' THEN {query} ELSE replace({query}::text, ' & ', ' | ')::tsquery END"
        )
    text = f"""
        SELECT {_COLUMNS}, ts_rank_cd(m.lexemes, found.query, 1) AS rank
        FROM (
            SELECT m.id, q.query FROM (SELECT {query} AS query) q JOIN memory_memory m ON m.lexemes @@ q.query
            WHERE {condition}
            ORDER BY m.updated_at DESC
            LIMIT {RANKED_ROWS}
        ) found JOIN memory_memory m ON m.id = found.id
        ORDER BY rank DESC, m.updated_at DESC, m.id DESC
        LIMIT %(top_k)s
    """
    return text, {**params, "words": wanted.query}


def by_trigrams(wanted: Search) -> Statement | None:
    """The memories with words like some of the query's, with their `rank`, 0..1. Served by memory_by_trigram.

    None for a query that quotes or excludes, for it means what it says, and for one without a word.
    """
    words = [word for word in re.findall(r"\w+", wanted.query) if len(word) >= MIN_TRIGRAM_CHARS][:TRIGRAM_WORDS]
    if not words or re.search(r'"|(^|\s)-', wanted.query):
        return None
    condition, params = _condition(wanted)
    text = f"""
        SELECT {_COLUMNS}, (SELECT max(word_similarity(word, m.words)) FROM unnest(%(words)s::text[]) word) AS rank
        FROM memory_memory m
        WHERE m.words %%> ANY (%(words)s::text[]) AND {condition}
        ORDER BY rank DESC, m.updated_at DESC, m.id DESC
        LIMIT %(top_k)s
    """
    return text, {**params, "words": words}


def _condition(wanted: Search) -> Statement:
    """What a memory `m` must be like."""
    params: dict[str, Any] = {"scope": wanted.scope, "top_k": wanted.top_k}
    found = ["m.scope = %(scope)s", _live(wanted)]
    if wanted.tags:
        found.append("m.tags @> %(tags)s::text[]")
        params["tags"] = list(wanted.tags)
    if wanted.since is not None:
        found.append("m.updated_at >= %(since)s")
        params["since"] = wanted.since
    if wanted.until is not None:
        found.append("m.updated_at < %(until)s")
        params["until"] = wanted.until
    if wanted.value is not None:
        found.append("m.value @> %(value)s::jsonb")
        params["value"] = dumps(wanted.value)
    return " AND ".join(found), params


def _live(wanted: Search) -> str:
    return "true" if wanted.include_expired else "(m.expires_at IS NULL OR m.expires_at > now())"
