"""One run of retention, and the look at what a run would delete."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models.functions import Now

from jobs.retention import old_jobs, partitions, registry
from jobs.retention.models import ALL_TYPES, RetentionRun
from jobs.retention.old_jobs import Dropped, Moment
from jobs.retention.registry import Old
from jobs.signals import happened

logger = logging.getLogger("jobs.retention")

RUN_SEC = 40.0
"""How long a run of the heartbeat takes at most; the next one, a minute after its beginning, goes on."""
REST_SHARE = 1.0
"""After each transaction it rests for so many times as long as that took: others share the disk."""
REST_MOST_SEC = 1.0
TELL_SEC = 5.0
"""How often it notes how far it is."""
ASK_EVERY = timedelta(minutes=15)
"""How often a run of the heartbeat asks which partitions may go: each question may look at all jobs of a day."""
DROP_TRIES = 5
_LOCK = 0x7072756E65
"""Advisory lock of the run ("prune" in ASCII)."""

Tell = Callable[[Counter[str]], None]
_stopping = threading.Event()


def stop() -> None:
    """This process stops: a run that is under way ends after its transaction."""
    _stopping.set()


@dataclass(frozen=True)
class Report:
    """What a run deleted: rows by kind. more: it ran out of time."""

    removed: Counter[str]
    more: bool
    took_sec: float


def run(*, run_sec: float | None = None, tell: Tell | None = None, all_at_once: bool = True) -> Report | None:
    """Delete what is old, in short transactions, for at most `run_sec` seconds; None: until nothing is left.

    None when another run is at work. It may be killed at any moment: each transaction deletes a job with all that
    belongs to it, or nothing. tell: called with what has been deleted so far, every few seconds. all_at_once: ask which
    partitions of the log may go, too, however lately that was asked.
    """
    began = time.monotonic()
    with _alone() as is_mine:
        if not is_mine:
            return None
        pace = _Pace(None if run_sec is None else began + run_sec, tell)
        more = not pace.through(_steps(all_at_once=all_at_once))
        pace.close(more=more)
    took_sec = time.monotonic() - began
    if pace.removed:
        # Counts and keys grow old each minute: no news.
        logger.log(
            logging.INFO if pace.removed.keys() & {"jobs", "log_partitions"} else logging.DEBUG,
            "retention deleted %s in %.1f s%s",
            ", ".join(f"{count} {name}" for name, count in sorted(pace.removed.items())),
            took_sec, "; there is more" if more else "",
        )  # fmt: skip
    for name, count in pace.removed.items():
        happened.send(sender=None, name="retention.removed", labels={"kind": name}, count=count)
    return Report(pace.removed, more, took_sec)


@contextmanager
def _alone() -> Iterator[bool]:
    """One run at a time. The lock is the connection's: it ends with whoever is killed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        is_mine = bool(cursor.fetchone()[0])
    try:
        yield is_mine
    finally:
        if is_mine and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


class _Pace:
    """Takes steps until the time is over, with rests, and notes how far it is."""

    def __init__(self, until: float | None, tell: Tell | None) -> None:
        self.removed: Counter[str] = Counter()
        self._until, self._tell = until, tell
        self._told_at = time.monotonic()
        RetentionRun.objects.bulk_create([RetentionRun(started_at=Now(), seen_at=Now())], ignore_conflicts=True)
        RetentionRun.objects.update(started_at=Now(), ended_at=None, seen_at=Now(), removed={}, more=False)

    def through(self, steps: Iterable[Counter[str]]) -> bool:
        """Whether all steps were taken."""
        began = time.monotonic()
        for done in steps:
            self.removed.update({name: count for name, count in done.items() if count})
            now = time.monotonic()
            if self._until is not None and now >= self._until:
                return False
            if now - self._told_at >= TELL_SEC:
                self._note(seen_at=Now())
            if _stopping.wait(min(REST_MOST_SEC, (now - began) * REST_SHARE)):
                return False
            began = time.monotonic()
        return True

    def close(self, *, more: bool) -> None:
        """The run has ended."""
        self._note(seen_at=Now(), ended_at=Now(), more=more)

    def _note(self, **columns: Any) -> None:
        self._told_at = time.monotonic()
        RetentionRun.objects.update(removed=dict(self.removed), **columns)
        if self._tell is not None:
            self._tell(self.removed)


def _steps(*, all_at_once: bool) -> Iterator[Counter[str]]:
    """Partitions first: what goes with them need not be deleted row by row. Then what is quick, then jobs."""
    moment = Moment.take()
    if all_at_once or _is_time_to_ask(moment.now):
        yield from _drop_partitions(moment)
    for kind in registry.kinds():
        for count in kind.prune():
            yield Counter({kind.name: count})
    kept, days = registry.kept_jobs(), partitions.partitions()
    # In any order, so that no type waits for ever behind one that has too much for one run.
    for type_ in random.sample(types := old_jobs.types(), len(types)):
        yield from old_jobs.prune_type(type_, moment, days, kept)


def _drop_partitions(moment: Moment) -> Iterator[Counter[str]]:
    """Those that may go. What is still busy after some tries, the next run asks of again."""
    waiting = old_jobs.aged_partitions(moment)
    for _ in range(DROP_TRIES):
        busy = []
        for partition in waiting:
            outcome = old_jobs.drop(partition, moment)
            yield Counter(log_partitions=int(outcome is Dropped.DONE))
            if outcome is Dropped.BUSY:
                busy.append(partition)
        waiting = busy
        if not waiting:
            RetentionRun.objects.update(log_asked_at=moment.now)
            return


def _is_time_to_ask(now: datetime) -> bool:
    asked_at = RetentionRun.objects.values_list("log_asked_at", flat=True).first()
    return asked_at is None or asked_at <= now - ASK_EVERY or asked_at > now


@dataclass(frozen=True)
class Finding:
    """What would go of one kind: of jobs, of one type."""

    kind: str
    type: str | None
    policy: str
    old: Old


def preview() -> list[Finding]:
    """What a run would delete now, by kind and policy. Reads only. Some of the jobs may still be needed by others."""
    moment = Moment.take()
    gone, days = old_jobs.old_partitions(moment), partitions.partitions()
    old = Old(len(gone), gone[0].lower if gone else None, sum(partition.size_bytes for partition in gone))
    log = Finding("log_partitions", None, _log_policy(moment), old)
    kinds = [Finding(kind.name, None, kind.policy, kind.old()) for kind in registry.kinds()]
    jobs = [
        Finding("jobs", type_, _job_policy(moment, type_), old_jobs.old_jobs(type_, moment, days))
        for type_ in old_jobs.types()
    ]
    return [log, *kinds, *jobs]


def _log_policy(moment: Moment) -> str:
    days = moment.policies.of(ALL_TYPES).log_days
    return f"{days} days (RETENTION_LOG_DAYS)" if days else "as long as the jobs (RETENTION_LOG_DAYS)"


def _job_policy(moment: Moment, type_: str) -> str:
    policy = moment.policies.of(type_)
    parts = [f"{policy.job_days} days" if policy.job_days else "for ever"]
    if policy.failed_days != policy.job_days:
        parts.append(f"failed {policy.failed_days} days" if policy.failed_days else "failed for ever")
    if policy.job_count:
        parts.append(f"the newest {policy.job_count}")
    return ", ".join(parts)
