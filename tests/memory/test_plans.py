"""No statement of memory may read a table from end to end, nor cost more because its scope is large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from jobs.storable import dumps
from memory import embedding, queries, queueing, search, spaces, sql, statements, store, upkeep, working
from memory.models import Memory, Space
from memory.queries import MemoryFilter
from memory.requests import Search
from memory.store import Author
from tests.bench.plans import captured
from tests.memory.conftest import Remember

pytestmark = pytest.mark.django_db(transaction=True)

LARGE, MEMORIES, DIMENSION = "large", 17_000, 8
"""Three quarters of them are in the large scope: more than a plan may read."""
AUTHOR = Author("test")
Use = Callable[[], Any]


@pytest.fixture
def space(remember: Remember, configure: Callable[..., Any]) -> Space:
    """A large scope and some small ones, a vector each memory; all analysed. `remember` is for the job types."""
    space = spaces.live().active
    Space.objects.filter(pk=space.pk).update(dimension=DIMENSION)
    space.refresh_from_db()
    numbers = ", ".join(["random()"] * DIMENSION)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO memory_memory"
            " (id, scope, key, value, tags, words, embedding_status, embedded_at, updated_at, expires_at)"
            " SELECT gen_random_uuid(), CASE WHEN n %% 4 = 0 THEN 'small.' || n %% 400 ELSE %s END, 'note.' || n,"
            " jsonb_build_object('n', n), CASE WHEN n %% 1000 = 1 THEN ARRAY['note', 'rare'] ELSE ARRAY['note'] END,"
            " 'note ' || n || CASE WHEN n %% 1000 = 1 THEN ' carrot' ELSE '' END, 'ready', now(),"
            " now() - n * interval '1 second', CASE WHEN n %% 100 = 3 THEN now() + interval '1 day' END"
            " FROM generate_series(1, %s) n",
            [LARGE, MEMORIES],
        )
        cursor.execute(
            "INSERT INTO memory_vector (memory_id, space_id, revision, embedding)"
            f" SELECT id, %s, 1, ARRAY[{numbers}]::vector FROM memory_memory",
            [space.pk],
        )
        cursor.execute(
            "INSERT INTO memory_session (id, state, expires_at) SELECT 'session.' || n, '{}', now() + interval '1 day'"
            " FROM generate_series(1, %s) n",
            [MEMORIES],
        )
    spaces.make_index(space)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE memory_memory, memory_vector, memory_session")
    return space


def searches(space: Space) -> dict[str, Use]:
    """Every way to search; a hybrid search is one by meaning and one by words."""
    vector = [1.0] * DIMENSION

    def near(**fields: Any) -> Use:
        return lambda: search.nearest(vector, Search(**{"scope": LARGE, "query": "-", **fields}), space)

    def words(query: str, **fields: Any) -> Use:
        return lambda: search.by_words(Search(scope=LARGE, query=query, mode="text", **fields))

    return {
        "by meaning": near(),
        "by meaning, expired ones too": near(include_expired=True),
        "by meaning, in a small scope": near(scope="small.0"),
        "by meaning, in no scope": near(scope="nowhere"),
        "by meaning, a common tag": near(tags=["note"]),
        "by meaning, a rare tag": near(tags=["rare"]),
        "by meaning, a value": near(value={"n": 7}),
        "by meaning, lately": near(since=timezone.now()),
        "by words, a rare one": words("carrot"),
        "by words, a common one": words("note"),
        "by words, none": words("nowhere"),
        "by words, a tag": words("note", tags=["rare"]),
    }


def lists() -> dict[str, Use]:
    """Every list."""

    def page(**fields: Any) -> Use:
        return lambda: queries.memory_page(MemoryFilter(**fields), limit=100)

    def next_page() -> None:
        first = queries.memory_page(MemoryFilter(LARGE), limit=100)
        queries.memory_page(MemoryFilter(LARGE), limit=100, after=first.next)

    return {
        "all": page(),
        "a scope": page(scope=LARGE),
        "a scope, expired ones too": page(scope=LARGE, include_expired=True),
        "a scope, a common tag": page(scope=LARGE, tag="note"),
        "a scope, a rare tag": page(scope=LARGE, tag="rare"),
        "a scope and a key": page(scope=LARGE, key="note.1"),
        "the next page": next_page,
        "sessions": lambda: working.sessions(10),
    }


def upkeeps(space: Space) -> dict[str, Use]:
    """What jobs and the heartbeat do, with some memories that wait and some that have expired."""

    def some(**columns: Any) -> None:
        ids = Memory.objects.filter(scope=LARGE).order_by("-updated_at").values_list("pk", flat=True)[:200]
        Memory.objects.filter(pk__in=list(ids)).update(**columns)

    def write_and_forget() -> None:
        store.delete(str(store.write(scope=LARGE, key="one.more", value=1, author=AUTHOR).pk), by="test")

    def wake() -> None:
        some(embedding_status="pending", embed_after=None)
        sql.rows("wake", {"limit": spaces.STEP})

    def embed() -> None:
        taken = embedding.take()
        assert taken
        embedding.save(space, taken, np.ones((len(taken), DIMENSION), np.float32))
        sql.rows("settle", {"rows": dumps([it.as_json() for it in taken])})

    def retry() -> None:
        some(embedding_status="failed", embedding_error={}, embed_after=None)
        upkeep.reembed(failed_only=True)

    def again() -> None:
        some(embedding_status="ready", embedding_error=None, embed_after=timezone.now())
        embedding.take()

    def purge() -> None:
        some(expires_at=timezone.now())
        store.purge()

    return {
        "write and forget": write_and_forget,
        "wake what was written without vectors": wake,
        "embed": embed,
        "embed what failed": retry,
        "embed again": again,
        "is there anything to embed": queueing.embed_overdue,
        "is there anything to see to": upkeep.tend,
        "how many are not ready": queries.not_ready,
        "purge": purge,
        "forget vectors": lambda: spaces.forget_vectors(space, limit=500),
    }


def faults_of(uses: dict[str, Use]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for name, use in uses.items():
        with captured(as_if_large=True) as plans:
            use()
        assert plans, name
        found |= {(name, plan.statement): plan.faults() for plan in plans if plan.faults()}
    return found


def test_no_plan_scans_a_table_or_reads_all_of_a_large_scope(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "RANKED_ROWS", 1_000)

    assert faults_of(searches(space) | lists() | upkeeps(space)) == {}

    # Counting reads what it counts: in an index, and nothing of the table.
    ((_, faults),) = faults_of({"scopes": queries.scopes}).items()
    assert [fault.rpartition(" reads ")[0] for fault in faults] == ["Index Only Scan memory_by_state"]
