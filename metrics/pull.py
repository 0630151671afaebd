"""`GET /v1/runtime/metrics` (contract section 10): counters, statuses, and the alerts worked out on asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Count as Counted
from django.db.models import F, Q
from django.db.models.functions import Extract, Now
from django.utils import timezone

from jobs.models import Job, Status
from metrics import counting
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.config import load

MIN_WINDOW_SEC, MAX_WINDOW_SEC = 60, 604_800
Alert = dict[str, Any]


def metrics(window_sec: int, queues: Sequence[str] | None) -> dict[str, Any]:
    """The answer's two parts, computed over `queues`; None: over all."""
    sums = counting.sums(window_sec, queues)
    # What nobody records is no counter, and all the same an alert.
    ended = sums if load().metrics_enabled else counting.sums(window_sec, queues, always=True)
    return {
        "metrics": {
            "enabled": load().metrics_enabled,
            "generated_at": iso_ms(timezone.now()),
            "window_sec": window_sec,
            "counters": {name: sums[name] for name in counting.CONTRACT if name in sums},
            "job_status": job_status(queues),
        },
        "alerts": alerts(window_sec, queues, ended),
    }


def job_status(queues: Sequence[str] | None) -> dict[str, int]:
    """How many jobs there are, by status."""
    found = dict(_jobs(queues).order_by().values_list("status").annotate(Counted("id")))
    return {status.value: found.get(status.value, 0) for status in Status}


def alerts(window_sec: int, queues: Sequence[str] | None, sums: Mapping[str, int]) -> list[Alert]:
    """Those that hold now. sums: of the window, whether or not metrics are switched on."""
    found = (queue_stalled(queues), high_failure_rate(window_sec, sums))
    return [alert for alert in found if alert is not None]


def queue_stalled(queues: Sequence[str] | None) -> Alert | None:
    """The oldest queued job has been due too long. Retries and debounced jobs that are not due, and parents that wait
    for their children, are not stalled."""
    threshold_sec = load().alert_queue_stalled_sec
    due = _jobs(queues).filter(status=Status.QUEUED, available_at__lte=Now()).exclude(Q(waiting_on__gt=0, phase__gt=0))
    oldest = due.annotate(age=Extract(Now() - F("available_at"), "epoch")).order_by("created_at", "id").first()
    if oldest is None or (age_sec := int(oldest.age)) < threshold_sec:
        return None
    return {
        "code": "QUEUE_STALLED",
        "severity": "warn",
        "message": f"The oldest queued job has waited {age_sec} s: are there workers on its queue, is it paused?",
        "details": {"job_id": str(oldest.id), "oldest_age_sec": age_sec, "threshold_sec": threshold_sec},
    }


def high_failure_rate(window_sec: int, sums: Mapping[str, int]) -> Alert | None:
    """Too large a share of the jobs that ended in the window has failed."""
    config = load()
    succeeded = sums.get("job.succeeded", 0)
    failed = sums.get("job.failed_terminal", 0) + sums.get("job.blocked", 0)
    completed = succeeded + failed
    if completed < config.alert_failure_rate_min_completed or failed * 100 < completed * config.alert_failure_rate_pct:
        return None
    rate_pct = round(failed * 100 / completed, 2)
    return {
        "code": "HIGH_FAILURE_RATE",
        "severity": "warn",
        "message": f"{failed} of the {completed} jobs that ended in the last {window_sec} s have failed.",
        "details": {
            "window_sec": window_sec,
            "completed": completed,
            "failed": failed,
            "succeeded": succeeded,
            "failure_rate_pct": rate_pct,
            "threshold_pct": config.alert_failure_rate_pct,
        },
    }


def _jobs(queues: Sequence[str] | None) -> Any:
    return Job.objects.all() if queues is None else Job.objects.filter(queue__in=list(queues))
