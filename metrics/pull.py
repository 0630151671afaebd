"""`GET /v1/runtime/metrics` (contract section 10): counters, statuses, and the alerts worked out on asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone

from metrics import counting
from metrics.alerts import checks
from metrics.alerts.rules import rule
from metrics.statuses import job_status
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.config import load

MIN_WINDOW_SEC, MAX_WINDOW_SEC = 60, 604_800
Alert = dict[str, Any]


def metrics(window_sec: int, queues: Sequence[str] | None) -> dict[str, Any]:
    """The answer's two parts, computed over `queues`; None: over all."""
    sums = counting.sums(window_sec, queues)
    # What nobody records is no counter, and all the same an alert.
    ended = sums if load().metrics_enabled else counting.sums(window_sec, queues, always=True)
    statuses = job_status(queues)
    return {
        "metrics": {
            "enabled": load().metrics_enabled,
            "generated_at": iso_ms(timezone.now()),
            "window_sec": window_sec,
            "counters": {name: sums[name] for name in counting.CONTRACT if name in sums},
            "job_status": statuses.counts,
            # No key of the contract's: there only where it says something.
            **({"job_status_estimated": statuses.estimated} if statuses.estimated else {}),
        },
        "alerts": alerts(window_sec, queues, ended),
    }


def alerts(window_sec: int, queues: Sequence[str] | None, sums: Mapping[str, int]) -> list[Alert]:
    """Those of the contract's that hold now, by the rules' thresholds. sums: of the window."""
    stalled, failing = rule("QUEUE_STALLED"), rule("HIGH_FAILURE_RATE")
    found = {
        stalled.code: checks.queue_stalled(stalled.threshold, queues) if stalled.enabled else None,
        failing.code: checks.high_failure_rate(failing, window_sec, sums) if failing.enabled else None,
    }
    return [
        {"code": code, "severity": "warn", "message": finding.message, "details": finding.details}
        for code, finding in found.items()
        if finding is not None
    ]
