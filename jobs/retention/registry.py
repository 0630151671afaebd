"""Where the apps say what of theirs grows old, and which jobs they still need."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.db import connection
from django.db.models import Min, QuerySet

COUNTED_MOST = 1_000_000
"""Where counting what would go stops."""
BATCH = 5_000


@dataclass(frozen=True)
class Old:
    """What would go. count stops at COUNTED_MOST. size_bytes: about what it takes up, with its indexes."""

    count: int = 0
    oldest: datetime | None = None
    size_bytes: int = 0


class Kind(Protocol):
    """Rows that grow old."""

    @property
    def name(self) -> str:
        """As reports call them."""

    @property
    def policy(self) -> str:
        """How long they are kept, and what says so."""

    def old(self) -> Old:
        """What would go now."""

    def prune(self) -> Iterable[int]:
        """Delete it, a short transaction a step; how many rows each step was."""


@dataclass(frozen=True)
class Rows:
    """A kind that is a table of its own, with nothing that belongs to its rows.

    rows: those that are too old, ordered so that an index finds the oldest. moment: the column that says how old.
    days: None where something else than days decides, 0 for ever.
    """

    name: str
    rows: Callable[[], QuerySet[Any]]
    moment: str
    setting: str
    days: Callable[[], int] | None = None

    @property
    def policy(self) -> str:
        """In words."""
        if self.days is None:
            return self.setting
        return f"{self.days()} days ({self.setting})" if self.days() else f"for ever ({self.setting})"

    @property
    def _is_kept(self) -> bool:
        return self.days is not None and not self.days()

    def old(self) -> Old:
        """Counted, up to COUNTED_MOST."""
        if self._is_kept:
            return Old()
        found = self.rows()
        count = found[:COUNTED_MOST].count()
        oldest = found.order_by().aggregate(oldest=Min(self.moment))["oldest"] if count else None
        return Old(count, oldest, count * row_bytes(found.model._meta.db_table))

    def prune(self) -> Iterable[int]:
        """A statement a batch. Rows that another one deletes are passed by."""
        if self._is_kept:
            return
        found = self.rows()
        while ids := list(found.values_list("pk", flat=True)[:BATCH]):
            yield found.model._default_manager.filter(pk__in=ids).delete()[0]


def row_bytes(table: str) -> int:
    """About how many bytes a row of a table takes up, with its share of the indexes, by the planner's statistics."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(sum(pg_total_relation_size(c.oid)) / NULLIF(sum(GREATEST(c.reltuples, 0)), 0), 0)::bigint"
            " FROM pg_class AS c WHERE c.relkind = 'r' AND (c.oid = %s::regclass OR c.oid IN"
            " (SELECT inhrelid FROM pg_inherits WHERE inhparent = %s::regclass))",
            [table, table],
        )
        return int(cursor.fetchone()[0])


_kinds: dict[str, Kind] = {}
_keepers: list[Callable[[], set[uuid.UUID]]] = []
_floors: list[Callable[[], datetime | None]] = []


def register(kind: Kind) -> None:
    """Have a kind pruned. Once for each name."""
    _kinds[kind.name] = kind


def keep_jobs(keeper: Callable[[], set[uuid.UUID]]) -> None:
    """Have jobs kept however old they are. Asked once a run: a job must not come to be needed when it is old."""
    if keeper not in _keepers:
        _keepers.append(keeper)


def keep_since(floor: Callable[[], datetime | None]) -> None:
    """Have jobs kept that ended, and lines of the log that were written, at that moment or later. None: any may go."""
    if floor not in _floors:
        _floors.append(floor)


def kinds() -> list[Kind]:
    """All of them, by name."""
    return [_kinds[name] for name in sorted(_kinds)]


def kept_jobs() -> set[uuid.UUID]:
    """The jobs that somebody needs."""
    return set().union(*(keeper() for keeper in _keepers))


def floor(now: datetime) -> datetime:
    """From when on everything is kept."""
    return min([now, *(found for floor in _floors if (found := floor()) is not None)])
