"""The log's partitions: one for each day that jobs were made on (docs/adr/0019-log-partitions.md).

A line is in the partition of the day its job was made, so a job's lines lie together, and a day's go by one DROP.
A line whose day has no partition goes to the default one: no job fails for want of a partition.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

logger = logging.getLogger("jobs.retention")

AHEAD_DAYS = 10
"""How many days' partitions there are before their time: beat may be away for as long, and nothing changes."""
LOCK_TIMEOUT_MS = 200
"""How long a change of the partitions may wait for a lock. Everything that wants the table waits behind it."""
_LOCK = 0x6C6F6773
"""Advisory lock of whoever changes partitions ("logs" in ASCII)."""
_RANGE = re.compile(r"FOR VALUES FROM \((?:'([^']+)'|MINVALUE)\) TO \('([^']+)'\)")
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Partition:
    """The lines of the jobs made from `lower` on (None: whenever before) and before `upper`."""

    name: str
    lower: datetime | None
    upper: datetime
    size_bytes: int

    def holds(self, moment: datetime) -> bool:
        """Whether the lines of a job made then are in it."""
        return moment < self.upper and (self.lower is None or moment >= self.lower)


def partitions() -> list[Partition]:
    """All of them, the oldest first, without the default one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), pg_total_relation_size(c.oid) FROM pg_inherits AS i"
            " JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'jobs_joblog'::regclass"
        )
        rows = cursor.fetchall()
    found = [
        Partition(name, _moment(bounds[1]) if bounds[1] else None, _moment(bounds[2]), size)
        for name, bound, size in rows
        if (bounds := _RANGE.fullmatch(bound))
    ]
    return sorted(found, key=lambda it: it.upper)


def make_ahead(days: int = AHEAD_DAYS) -> int:
    """Make the partitions of today and the next `days` that do not exist. Returns how many were made.

    Twice at once is harmless. A day whose first lines lie in the default partition already stays there, until its jobs
    go: moving them would lock out whoever writes them. What is locked for long by others is left to the next call.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT date_trunc('day', now(), 'UTC')")
        today: datetime = cursor.fetchone()[0].astimezone(UTC)
    there = partitions()
    missing = [
        day
        for day in (today + DAY * number for number in range(days + 1))
        if not any(partition.holds(day) for partition in there)
    ]
    return sum(_make(day) for day in missing)


def _make(day: datetime) -> bool:
    name = f"jobs_joblog_{day:%Y%m%d}"
    try:
        with changing() as is_mine, connection.cursor() as cursor:
            if not is_mine or _exists(cursor, name):
                return False
            # Attached and not created in place: that would lock the log against everybody.
            cursor.execute(f"CREATE TABLE {name} (LIKE jobs_joblog INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
            cursor.execute(
                f"ALTER TABLE jobs_joblog ATTACH PARTITION {name}"
                f" FOR VALUES FROM ('{day.isoformat()}') TO ('{(day + DAY).isoformat()}')"
            )
    except IntegrityError:
        logger.info("the log of %s is in the default partition, and stays there", f"{day:%Y-%m-%d}")
        return False
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        logger.info("no partition for the log of %s yet: the table is busy", f"{day:%Y-%m-%d}")
        return False
    return True


def _exists(cursor: Any, name: str) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
    return bool(cursor.fetchone()[0])


@contextmanager
def changing() -> Iterator[bool]:
    """A transaction that may change partitions and waits for no lock longer than LOCK_TIMEOUT_MS.

    False: another one does so at the moment.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
            is_mine = bool(cursor.fetchone()[0])
            cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        yield is_mine


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
