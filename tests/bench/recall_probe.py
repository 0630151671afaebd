"""The process that fills memory with vectors and searches it: prints one JSON object.

The vectors are made, as 100,000 texts would take an hour to embed: points of a space of 48 dimensions in clumps, turned
into 384 and brought to length 1, with some noise in all of them. Those of a text model lie like that, not evenly.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import django
import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector

from tests.bench.stats import percentile

if TYPE_CHECKING:
    from memory.models import Space
    from memory.requests import Search

DIMENSION, LATENT, CLUMPS = 384, 48, 500
TOP_K = 10
TAG = "tenth"
SHARES = ((0.5, 1), (0.05, 4), (0.005, 30), (0.0005, 300))
"""(share of all rows, how many scopes of it)."""
BUILD_MEMORY = "4GB"
"""The graph of a million vectors must fit, or the index is built on disk, which takes hours."""
QUERIES_AT_ONCE = 25
Vectors = NDArray[np.float32]


class Data:
    """The rows, in this process too: what is truly nearest is computed here."""

    def __init__(self, rows: int) -> None:
        luck = np.random.default_rng(7)
        centres = luck.normal(size=(CLUMPS, LATENT)).astype(np.float32)
        turn = luck.normal(size=(LATENT, DIMENSION)).astype(np.float32) / np.sqrt(LATENT)

        def made(count: int) -> Vectors:
            points = centres[luck.integers(0, CLUMPS, count)] + 0.7 * luck.normal(size=(count, LATENT)).astype(
                np.float32
            )
            vectors: Vectors = points @ turn + 0.1 * luck.normal(size=(count, DIMENSION)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            return vectors

        self.vectors = np.concatenate([made(min(50_000, rows - at)) for at in range(0, rows, 50_000)])
        self.queries = made(1_000)
        names, shares = [], []
        for share, count in SHARES:
            names += [f"scope.{share}.{number}" for number in range(count)]
            shares += [share] * count
        self.names = names
        self.scopes = luck.choice(len(names), size=rows, p=np.array(shares) / sum(shares))
        self.ids = [uuid.UUID(int=int(number) + 1) for number in luck.permutation(rows)]

    def is_tagged(self, row: int) -> bool:
        """Every tenth row has the tag."""
        return row % 10 == 0

    def nearest(self, queries: Sequence[int], scope: str, *, tagged: bool) -> Iterator[set[uuid.UUID]]:
        """The ids that are truly nearest to each of the queries."""
        rows = np.flatnonzero(self.scopes == self.names.index(scope))
        if tagged:
            rows = rows[rows % 10 == 0]
        there = self.vectors[rows]
        for at in range(0, len(queries), QUERIES_AT_ONCE):
            for likeness in self.queries[list(queries[at : at + QUERIES_AT_ONCE])] @ there.T:
                yield {self.ids[row] for row in rows[np.argpartition(-likeness, min(TOP_K, len(rows) - 1))[:TOP_K]]}


def main() -> None:
    """Arguments: how many rows, how many queries a case."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")
    django.setup()
    from django.db import connection

    from memory import spaces

    rows, queries = int(sys.argv[1]), int(sys.argv[2])
    data = Data(rows)
    space = spaces.live().active
    type(space).objects.filter(pk=space.pk).update(dimension=DIMENSION)
    space.refresh_from_db()
    began = time.perf_counter()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        _fill(database, data, space.pk)
        loaded_sec = time.perf_counter() - began
        with connection.cursor() as cursor:
            cursor.execute(f"SET maintenance_work_mem = '{BUILD_MEMORY}'")
        began = time.perf_counter()
        spaces.make_index(space)
        indexed_sec = time.perf_counter() - began
        database.execute("VACUUM ANALYZE memory_memory, memory_vector")
        row = database.execute("SELECT pg_relation_size(%s)", [space.index_name]).fetchone()
        cases = [_case(data, space, queries, share, tagged=False) for share, _ in SHARES]
        cases.append(_case(data, space, queries, SHARES[0][0], tagged=True))
    print(
        json.dumps(
            {
                "rows": rows, "scopes": len(data.names), "dimension": DIMENSION, "loaded_sec": round(loaded_sec),
                "indexed_sec": round(indexed_sec), "index_mib": round((row[0] if row else 0) / 2**20), "cases": cases,
            }
        )
    )  # fmt: skip


def _fill(database: psycopg.Connection[Any], data: Data, space_id: int) -> None:
    register_vector(database)
    with database.cursor() as cursor:
        columns = "id, scope, key, value, tags, words, embedding_status, embedded_at"
        with cursor.copy(f"COPY memory_memory ({columns}) FROM STDIN") as copy:
            for row, id_ in enumerate(data.ids):
                words = f"note {row} of the bench"
                tags = f"{{{TAG}}}" if data.is_tagged(row) else "{}"
                value = json.dumps({"text": words})
                scope = data.names[data.scopes[row]]
                copy.write_row((id_, scope, f"note.{row}", value, tags, words, "ready", "2026-01-01"))
        with cursor.copy(
            "COPY memory_vector (memory_id, space_id, revision, embedding) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(["uuid", "int2", "int8", "vector"])
            for id_, vector in zip(data.ids, data.vectors, strict=True):
                copy.write_row((id_, space_id, 1, vector))
    database.execute("VACUUM ANALYZE memory_memory, memory_vector")


def _case(data: Data, space: Space, queries: int, share: float, *, tagged: bool) -> dict[str, Any]:
    """Searches in scopes of one size, ours and bare in turn."""
    from memory.requests import Search

    scopes = [name for name in data.names if name.startswith(f"scope.{share}.")]
    truth: dict[int, set[uuid.UUID]] = {}
    for number, scope in enumerate(scopes[:queries]):
        asked = range(number, queries, len(scopes))
        truth |= zip(asked, data.nearest(asked, scope, tagged=tagged), strict=True)
    # Never prepared: planned for its scope each time, it is faster than any plan for all scopes.
    options = "-c hnsw.ef_search=200 -c hnsw.iterative_scan=relaxed_order -c enable_seqscan=off"
    with psycopg.connect(
        os.environ["DATABASE_URL"], autocommit=True, options=options, prepare_threshold=None
    ) as database:
        ours_ms, bare_ms, hits, bare_hits, total = [], [], 0, 0, 0
        for number in range(-10, queries):
            query, scope = data.queries[number], scopes[number % len(scopes)]
            wanted = Search(scope=scope, query="-", top_k=TOP_K, tags=[TAG] if tagged else [])
            # By turns first: whoever is first brings the pages of this query into Postgres' memory.
            turns = {
                "ours": lambda: _ours(query, wanted, space),  # noqa: B023
                "bare": lambda: _bare(database, space.pk, query, scope, tagged),  # noqa: B023
            }
            done = {name: _timed(turns[name]) for name in sorted(turns, reverse=number % 2 == 0)}
            (ours, our_ms), (bare, its_ms) = done["ours"], done["bare"]
            if number < 0:
                continue
            true = truth[number]
            hits, bare_hits, total = hits + len(true & ours), bare_hits + len(true & bare), total + len(true)
            ours_ms.append(our_ms)
            bare_ms.append(its_ms)
    rows = round(float(np.mean([(data.scopes == data.names.index(name)).sum() for name in scopes[:20]])))
    what = f"scope of {rows:,} rows" + (", with a tag that a tenth of them has" if tagged else "")
    return {
        "what": what, "rows": rows, "tagged": tagged,
        "recall": round(hits / total, 5), "bare_recall": round(bare_hits / total, 5),
        "ours_ms": _spread(ours_ms), "bare_ms": _spread(bare_ms),
        "speed": round(percentile(bare_ms, 50) / percentile(ours_ms, 50), 3),
    }  # fmt: skip


def _ours(query: Vectors, wanted: Search, space: Space) -> set[uuid.UUID]:
    from memory import search

    found = search.nearest(query.tolist(), wanted, space)
    assert found is not None
    return {match.memory.pk for match in found.matches}


def _bare(database: psycopg.Connection[Any], space_id: int, query: Vectors, scope: str, tagged: bool) -> set[uuid.UUID]:
    """What somebody would write who has the tables: by the index, whatever the scope."""
    distance = f"v.embedding::vector({DIMENSION}) <=> %(query)s::vector({DIMENSION})"
    found = database.execute(
        f"SELECT m.id, m.scope, m.key, m.value, m.tags, m.created_at, m.updated_at, m.expires_at, {distance}"
        " FROM memory_vector v JOIN memory_memory m ON m.id = v.memory_id"
        f" WHERE v.space_id = {space_id} AND m.scope = %(scope)s"
        f" {'AND m.tags @> %(tags)s' if tagged else ''} ORDER BY {distance} LIMIT {TOP_K}",
        {"query": f"[{','.join(f'{it:.8g}' for it in query.tolist())}]", "scope": scope, "tags": [TAG]},
    )
    return {row[0] for row in found.fetchall()}


def _timed(search: Callable[[], set[uuid.UUID]]) -> tuple[set[uuid.UUID], float]:
    began = time.perf_counter()
    found = search()
    return found, (time.perf_counter() - began) * 1000


def _spread(ms: list[float]) -> dict[str, float]:
    return {"p50": round(percentile(ms, 50), 3), "p99": round(percentile(ms, 99), 3)}


if __name__ == "__main__":
    main()
