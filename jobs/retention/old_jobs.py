"""Old jobs, with all that belongs to them, and the log's old partitions."""

from __future__ import annotations

import enum
import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from jobs.models import COUNTED_LINES
from jobs.retention import partitions, registry
from jobs.retention.models import ALL_TYPES
from jobs.retention.partitions import Partition
from jobs.retention.policies import NEVER, Cutoffs, Policies
from jobs.retention.registry import COUNTED_MOST, Old
from jobs.sql import rows

LOOKED_AT = 500
"""Jobs that one transaction looks at, and deletes at most."""
FIRST = uuid.UUID(int=0)


@dataclass(frozen=True)
class Moment:
    """What a run goes by from its beginning to its end. now: Postgres' clock."""

    now: datetime
    floor: datetime
    policies: Policies

    @classmethod
    def take(cls) -> Moment:
        """Now."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT now()")
            now: datetime = cursor.fetchone()[0]
        return cls(now, registry.floor(now), Policies())

    def cutoffs(self, type_: str) -> Cutoffs:
        """What of a type may go."""
        return Cutoffs.of(self.policies.of(type_), self.now)


def types() -> list[str]:
    """The types that there are jobs of."""
    return [row["type"] for row in rows("retention_types", {})]


# The log


def old_partitions(moment: Moment) -> list[Partition]:
    """The partitions that no job needs."""
    return [partition for partition in aged_partitions(moment) if not _is_kept(partition, moment)]


def aged_partitions(moment: Moment) -> list[Partition]:
    """Those whose last job may have ended before a policy's cutoff."""
    newest = max(
        max(cutoffs.log_ended_before, cutoffs.log_failed_before)
        for type_ in (ALL_TYPES, *moment.policies.types)
        for cutoffs in (moment.cutoffs(type_),)
    )
    return [it for it in partitions.partitions() if it.upper <= min(newest, moment.floor)]


def _is_kept(partition: Partition, moment: Moment) -> bool:
    said = [
        {
            "type": None if type_ == ALL_TYPES else type_,
            "ended_before": cutoffs.log_ended_before.isoformat(),
            "failed_before": cutoffs.log_failed_before.isoformat(),
        }
        for type_ in (ALL_TYPES, *moment.policies.types)
        for cutoffs in (moment.cutoffs(type_),)
    ]
    params = {"lower": partition.lower or NEVER, "upper": partition.upper, "policies": json.dumps(said)}
    return bool(rows("retention_day_is_kept", params)[0]["is_kept"])


class Dropped(enum.Enum):
    """What came of a partition that was to be dropped."""

    DONE = enum.auto()
    KEPT = enum.auto()
    BUSY = enum.auto()
    """To be tried again: others were at it."""


def drop(partition: Partition, moment: Moment) -> Dropped:
    """Drop a partition, unless one of its jobs is kept; or somebody reopens a job, or the log is locked: BUSY.

    The question may look at all jobs of the day, and nobody waits for it: no job of that day can be made any more, and
    the answer counts only if none was reopened meanwhile. The drop itself locks the log, and gives way to others.
    """
    before = _reopenings()
    if before is None:
        return Dropped.BUSY
    if _is_kept(partition, moment):
        return Dropped.KEPT
    try:
        with partitions.changing() as is_mine, connection.cursor() as cursor:
            if not is_mine or _reopenings() != before:
                return Dropped.BUSY
            cursor.execute("LOCK TABLE jobs_joblog IN ACCESS EXCLUSIVE MODE")
            # A callback of long ago may have been sent again just now, and metrics have yet to count it.
            cursor.execute(
                f"SELECT EXISTS (SELECT FROM {partition.name} WHERE ts >= %s AND message = ANY (%s))",  # noqa: S608
                [moment.floor, list(COUNTED_LINES)],
            )
            if cursor.fetchone()[0]:
                return Dropped.KEPT
            cursor.execute(f"DROP TABLE {partition.name}")
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return Dropped.BUSY
        raise
    return Dropped.DONE


def _reopenings() -> int | None:
    """How many jobs were ever reopened; None while somebody is at it. In a transaction, nobody is until its end."""
    with transaction.atomic():
        if not rows("log_is_dropped", {})[0]["is_mine"]:
            return None
        return rows("reopenings", {})[0]["number"] or 0


# Jobs


def prune_type(type_: str, moment: Moment, days: Sequence[Partition], kept: set[uuid.UUID]) -> Iterator[Counter[str]]:
    """Delete the jobs of a type that its policy lets go and nobody needs; what each transaction deleted, by kind.

    days: the log's partitions.
    """
    params = _params(type_, moment, days)
    while params["created_before"] > NEVER:
        with transaction.atomic():
            seen = rows("retention_take", params | {"limit": LOOKED_AT})[0]
            ids = [job_id for job_id in seen["ids"] if job_id not in kept]
            held = rows("retention_held", {"ids": ids, "floor": moment.floor}) if ids else []
            doomed = sorted(set(ids) - {row["id"] for row in held})
            done = rows("retention_delete", {"ids": doomed})[0] if doomed else {}
        yield Counter(done)
        if seen["looked_at"] < LOOKED_AT:
            return
        params |= {"after_created_at": seen["created_at"], "after_id": seen["id"]}


def old_jobs(type_: str, moment: Moment, days: Sequence[Partition]) -> Old:
    """The jobs of a type that its policy lets go; some of them may still be needed. days: as `prune_type` has them."""
    params = _params(type_, moment, days)
    if params["created_before"] <= NEVER:
        return Old()
    found = rows("retention_expired_count", params | {"limit": COUNTED_MOST})[0]
    size = sum(registry.row_bytes(table) for table in ("jobs_job", "jobs_attempt"))
    return Old(found["count"], found["oldest"], found["count"] * size)


def _params(type_: str, moment: Moment, days: Sequence[Partition]) -> dict[str, Any]:
    policy, cutoffs = moment.policies.of(type_), moment.cutoffs(type_)
    newest = rows("retention_newest", {"type": type_, "count": policy.job_count}) if policy.job_count else []
    count_created_at, count_id = (newest[0]["created_at"], newest[0]["id"]) if newest else (NEVER, FIRST)
    by_days = max(cutoffs.ended_before, cutoffs.failed_before)
    by_count = count_created_at + timedelta(microseconds=1) if newest else NEVER
    return {
        "type": type_, "floor": moment.floor, "ended_before": cutoffs.ended_before,
        "failed_before": cutoffs.failed_before, "count_created_at": count_created_at, "count_id": count_id,
        "created_before": max(by_days, by_count),
        # A day's lines go with its partition; what lies in the default one, or in none, goes with the job.
        "lowers": [it.lower or NEVER for it in days], "uppers": [it.upper for it in days],
        "after_created_at": NEVER, "after_id": FIRST,
    }  # fmt: skip
