"""Named reads: memories that have not expired, pages of them, scopes in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from jobs.queries import Position, parse_id
from memory import sql
from memory.models import EmbeddingStatus, Memory
from rauskuclaw import errors
from rauskuclaw.errors import Problem

NO_SUCH_MEMORY = "No such memory: check the id; it may have expired."


def live(memories: QuerySet[Memory] | None = None) -> QuerySet[Memory]:
    """Those that have not expired, by Postgres' clock."""
    found = Memory.objects.all() if memories is None else memories
    return found.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=Now()))


def live_memory(memory_id: str) -> Memory:
    """The memory, by the id of a URL. Raises NOT_FOUND, also when it has expired."""
    found = parse_id(memory_id)
    memory = None if found is None else live(shown()).filter(pk=found).first()
    if memory is None:
        raise Problem(errors.NOT_FOUND, NO_SUCH_MEMORY)
    return memory


def shown() -> QuerySet[Memory]:
    """Without the columns that nobody is shown."""
    return Memory.objects.defer("words", "lexemes")


@dataclass(frozen=True)
class MemoryFilter:
    """What a list of memories is narrowed to. None: not narrowed."""

    scope: str | None = None
    key: str | None = None
    tag: str | None = None
    include_expired: bool = False


@dataclass(frozen=True)
class MemoryPage:
    """Memories, last updated first, and where the next page begins; None after the last one."""

    memories: Sequence[Memory]
    next: Position | None


def memory_page(wanted: MemoryFilter, *, limit: int, after: Position | None = None) -> MemoryPage:
    """One page. Served by memory_newest or memory_newest_of_scope. `after.created_at` is an `updated_at` here."""
    found = shown() if wanted.include_expired else live(shown())
    if wanted.scope is not None:
        found = found.filter(scope=wanted.scope)
    if wanted.key is not None:
        found = found.filter(key=wanted.key)
    if wanted.tag is not None:
        found = found.filter(tags__contains=[wanted.tag])
    if after is not None:
        # The first condition is what the index can start from.
        found = found.filter(updated_at__lte=after.created_at)
        found = found.filter(Q(updated_at__lt=after.created_at) | Q(id__lt=after.id))
    rows = list(found.order_by("-updated_at", "-id")[: limit + 1])
    last = rows[limit - 1] if len(rows) > limit else None
    return MemoryPage(rows[:limit], None if last is None else Position(last.updated_at, last.id))


@dataclass(frozen=True)
class ScopeFacts:
    """A scope in numbers."""

    scope: str
    total_count: int
    ready_count: int
    pending_count: int
    failed_count: int
    latest_updated_at: datetime | None


def scopes(*, text: str = "", include_expired: bool = False, limit: int = 200) -> list[ScopeFacts]:
    """The scopes whose name holds `text`, last updated first. Counts every memory of them, in an index."""
    found = sql.rows("scopes", {"text": text, "include_expired": include_expired, "limit": limit})
    return [ScopeFacts(**row) for row in found]


def not_ready() -> dict[str, int]:
    """How many memories are pending and failed, of all scopes. Served by memory_not_ready."""
    found = Memory.objects.exclude(embedding_status=EmbeddingStatus.READY).order_by().values_list("embedding_status")
    counted = dict(found.annotate(count=Count("pk")))
    return {status: counted.get(status, 0) for status in (EmbeddingStatus.PENDING.value, EmbeddingStatus.FAILED.value)}
