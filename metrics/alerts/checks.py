"""What is wrong, found in the rows: a function a rule. None of them changes anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
from django.db.models import F
from django.db.models.functions import Extract, Now

from jobs import queues
from jobs.models import SUSPENDED, CallbackDelivery, Job, Status
from metrics import counting
from metrics.alerts.rules import Rule
from metrics.models import Level
from rauskuclaw.config import load
from schedules import queries as schedules


@dataclass(frozen=True)
class Finding:
    """Something is wrong. value: what was measured, in the unit of the threshold. scope: of what, if of several."""

    value: float
    message: str
    details: dict[str, Any]
    scope: str = ""


def queue_stalled(threshold_sec: float, among: Sequence[str] | None = None) -> Finding | None:
    """The oldest queued job has been due too long. Retries and debounced jobs that are not due, and parents that wait
    for their children, are not stalled. among: these queues; None: all."""
    jobs = Job.objects.all() if among is None else Job.objects.filter(queue__in=list(among))
    due = jobs.filter(status=Status.QUEUED, available_at__lte=Now()).exclude(SUSPENDED)
    oldest = due.annotate(age=Extract(Now() - F("available_at"), "epoch")).order_by("created_at", "id").first()
    if oldest is None or (age_sec := int(oldest.age)) < threshold_sec:
        return None
    message = f"A job on queue {oldest.queue} has waited {age_sec} s: are there workers, is the queue paused?"
    details = {"job_id": str(oldest.id), "oldest_age_sec": age_sec, "threshold_sec": _number(threshold_sec)}
    return Finding(age_sec, message, details)


def high_failure_rate(rule: Rule, window_sec: int, sums: Mapping[str, int]) -> Finding | None:
    """Too large a share of the jobs that ended in the window has failed. sums: the window's counters."""
    succeeded = sums.get("job.succeeded", 0)
    failed = sums.get("job.failed_terminal", 0) + sums.get("job.blocked", 0)
    completed = succeeded + failed
    if completed < (rule.min_count or 1) or failed * 100 < completed * rule.threshold:
        return None
    rate_pct = round(failed * 100 / completed, 2)
    details = {
        "window_sec": window_sec,
        "completed": completed,
        "failed": failed,
        "succeeded": succeeded,
        "failure_rate_pct": rate_pct,
        "threshold_pct": _number(rule.threshold),
    }
    message = f"{failed} of the {completed} jobs that ended in the last {window_sec} s have failed."
    return Finding(rate_pct, message, details)


def _queue_stalled(rule: Rule) -> list[Finding]:
    return _one(queue_stalled(rule.threshold))


def _high_failure_rate(rule: Rule) -> list[Finding]:
    window_sec = rule.window_sec or 0
    return _one(high_failure_rate(rule, window_sec, counting.sums(window_sec)))


def _no_worker(rule: Rule) -> list[Finding]:
    found = []
    for queue in queues.by_name().values():
        age_sec = int(_oldest_due_sec(queue.name) or 0) if not (queue.workers or queue.paused) else 0
        if age_sec >= rule.threshold:
            message = f"No live worker consumes queue {queue.name}, where a job has waited {age_sec} s."
            details = {"queue": queue.name, "oldest_age_sec": age_sec, "threshold_sec": _number(rule.threshold)}
            found.append(Finding(age_sec, message, details, scope=queue.name))
    return found


def _oldest_due_sec(queue: str) -> float | None:
    """How long the oldest due job of a queue, handed out or not, has waited."""
    due = Job.objects.filter(queue=queue, status=Status.QUEUED, waiting_on=0, available_at__lte=Now())
    ages = due.annotate(age=Extract(Now() - F("available_at"), "epoch")).order_by("created_at", "id")
    age: float | None = ages.values_list("age", flat=True).first()
    return age


def _workers_lost(rule: Rule) -> list[Finding]:
    lost = counting.sums(rule.window_sec or 0).get("attempt.lost", 0)
    if lost < rule.threshold:
        return []
    message = f"{lost} attempts lost their worker in the last {rule.window_sec} s: see the workers' logs."
    details = {"lost": lost, "window_sec": rule.window_sec, "threshold": _number(rule.threshold)}
    return [Finding(lost, message, details)]


def _schedule_lag(rule: Rule) -> list[Finding]:
    lag_sec = round(schedules.lag_sec(), 1) if load().scheduler_enabled else 0.0
    if lag_sec < rule.threshold:
        return []
    message = f"A schedule has been due for {lag_sec:g} s: does beat run, and a system worker?"
    return [Finding(lag_sec, message, {"lag_sec": lag_sec, "threshold_sec": _number(rule.threshold)})]


def _callback_backlog(rule: Rule) -> list[Finding]:
    pending = CallbackDelivery.objects.filter(state=CallbackDelivery.State.PENDING).count()
    if pending < rule.threshold:
        return []
    message = f"{pending} callbacks wait to be delivered: GET /v1/jobs/{{id}}/callbacks tells why one does."
    return [Finding(pending, message, {"pending": pending, "threshold": _number(rule.threshold)})]


def _disk_low(rule: Rule) -> list[Finding]:
    var_dir = load().var_dir
    usage = psutil.disk_usage(str(next(path for path in (var_dir, *var_dir.parents) if path.exists())))
    if usage.percent < rule.threshold:
        return []
    message = f"The disk of VAR_DIR is {usage.percent} % full."
    details = {"used_pct": usage.percent, "free_mib": usage.free >> 20, "threshold_pct": _number(rule.threshold)}
    return [Finding(usage.percent, message, details)]


def _database_growth(rule: Rule) -> list[Finding]:
    since = Now() - timedelta(seconds=rule.window_sec or 0)
    sizes = Level.objects.filter(name=counting.DATABASE_MIB, minute__gte=since).order_by("minute")
    measured = list(sizes.values_list("value", flat=True))
    grown = measured[-1] - measured[0] if measured else 0
    if not measured or grown < rule.threshold:
        return []
    message = f"The database has grown by {grown} MiB, to {measured[-1]} MiB, in the last {rule.window_sec} s."
    details = {"grown_mib": grown, "size_mib": measured[-1], "window_sec": rule.window_sec}
    return [Finding(grown, message, details | {"threshold_mib": _number(rule.threshold)})]


CHECKS: dict[str, Callable[[Rule], list[Finding]]] = {
    "QUEUE_STALLED": _queue_stalled,
    "HIGH_FAILURE_RATE": _high_failure_rate,
    "NO_WORKER": _no_worker,
    "WORKERS_LOST": _workers_lost,
    "SCHEDULE_LAG": _schedule_lag,
    "CALLBACK_BACKLOG": _callback_backlog,
    "DISK_LOW": _disk_low,
    "DATABASE_GROWTH": _database_growth,
}
"""By the rule's code: what is wrong now, at most one finding a scope."""


def _one(finding: Finding | None) -> list[Finding]:
    return [] if finding is None else [finding]


def _number(value: float) -> float:
    """A whole number without its `.0`."""
    return int(value) if float(value).is_integer() else value
