"""Counting what happened, from the rows that tell of it anyway: jobs pay nothing for it (docs/adr/0015-counters.md).

A heartbeat task counts whole minutes once they lie GRACE_SEC back, for good. What is younger is counted from the rows
whenever somebody asks. The few things that no row tells of are counted where they happen (`record`).
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import DateTimeField
from django.db.models.functions import Now, Trunc

from metrics.models import Progress
from metrics.sql import rows
from rauskuclaw.config import load

logger = logging.getLogger("metrics.counting")

GRACE_SEC = 60.0
"""A minute is counted so long after its end. What a transaction commits later than that is missed."""
MOST_AT_ONCE = timedelta(minutes=15)
"""Of time that one run counts; beat's next run goes on."""
BEGIN_BACK = timedelta(hours=1)
"""So far back counting begins where there are jobs already: whoever asks first looks at all of their rows."""
BOUNDS_SEC = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the histograms' buckets; the last bucket has none. A new bound starts the totals' counts anew."""
DATABASE_MIB = "database.mib"
"""The level of the database's size."""
BOUNDS_MS = [round(bound * 1000) for bound in BOUNDS_SEC]
CONTRACT = (
    "job.created", "job.idempotency_hit", "job.cancelled", "job.claimed", "job.succeeded", "job.retried",
    "job.failed_terminal", "callback.delivered", "callback.failed", "callback.blocked_allowlist",
    "callback.skipped_disabled", "callback.skipped_signing_secret_missing", "schedule.dispatched_jobs",
    "schedule.tick_failed", "agent_tools.registry_list", "agent_tools.job_created",
)  # fmt: skip
"""The counters of the contract's section 10. There are others, for alerts and Prometheus."""


def count_up() -> int:
    """Count the minutes that are over. Returns how many. Any number may run at once: one counts, the others pass."""
    _begin()
    with transaction.atomic():
        held = Progress.objects.select_for_update(skip_locked=True).annotate(now=Now()).first()
        if held is None:
            return 0
        now: datetime = held.now
        if not load().metrics_enabled:
            # What happens while nothing is recorded stays uncounted when it is again.
            Progress.objects.update(counted_to=_minute(now))
            return 0
        since = max(held.counted_to, _minute(now - retention()))
        until = min(_minute(now - timedelta(seconds=GRACE_SEC)), since + MOST_AT_ONCE)
        if until <= since:
            return 0
        rows("count_to", {"since": since, "until": until, "bounds_ms": BOUNDS_MS})
        rows("database_size", {"minute": until - timedelta(minutes=1), "name": DATABASE_MIB})
    return int((until - since) / timedelta(minutes=1))


def record(name: str, count: int = 1, labels: Mapping[str, str] | None = None) -> None:
    """Count something that no row tells of. Never fails: what it counts is worth more than the number."""
    if not load().metrics_enabled:
        return
    try:
        with transaction.atomic():
            rows("record", {"name": name, "labels": json.dumps(dict(labels or {})), "count": count})
    except DatabaseError:
        logger.warning("%s was not counted", name, exc_info=True)


def on_happened(*, name: str, labels: Mapping[str, str], count: int, **_: Any) -> None:
    """Receives `jobs.signals.happened`."""
    record(name, count, labels)


def sums(window_sec: int, queues: Sequence[str] | None = None, *, always: bool = False) -> dict[str, int]:
    """How often each thing happened in the last `window_sec` seconds, by name; only names that have happened.

    What was counted begins at a whole minute; up to a minute it is exact. queues: only counters that have one of these
    as label. always: even while metrics are switched off, from the rows alone.
    """
    found = Counter[str]()
    for (name, _), value in sums_by_queue(window_sec, queues, always=always).items():
        found[name] += value
    return dict(found)


def sums_by_queue(
    window_sec: int, queues: Sequence[str] | None = None, *, always: bool = False
) -> dict[tuple[str, str | None], int]:
    """As `sums`, by name and queue; None for counters that do not know theirs."""
    _begin()
    recorded = load().metrics_enabled
    params = {
        "window_sec": window_sec,
        "queues": None if queues is None else list(queues),
        "counted": recorded or not always,
        "uncounted": recorded or always,
        "bounds_ms": BOUNDS_MS,
    }
    return {(row["name"], row["queue"]): row["value"] for row in rows("counters", params)}


def totals() -> list[tuple[str, dict[str, Any], int]]:
    """Name, labels and value of every counter since counting began; histograms by `bucket`, their sums in `…_ms`."""
    _begin()
    found = rows("totals", {"uncounted": load().metrics_enabled, "bounds_ms": BOUNDS_MS})
    return [(row["name"], json.loads(row["labels"]), row["value"]) for row in found]


def retention() -> timedelta:
    """How long counts by the minute are kept."""
    return timedelta(days=load().metrics_retention_days)


def _begin() -> None:
    """At the first use of all, counting begins."""
    if not Progress.objects.exists():
        begins = Trunc(Now() - BEGIN_BACK, "minute", output_field=DateTimeField())
        Progress.objects.bulk_create([Progress(counted_to=begins)], ignore_conflicts=True)


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
