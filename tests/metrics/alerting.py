"""What tests of alerts share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models import F

from jobs.models import Job
from metrics.alerts import evaluate
from metrics.models import Alert, AlertRule
from tests.metrics.test_runtime import make_node

Make = Callable[..., Any]


def open_alerts() -> list[tuple[str, str]]:
    """Code and scope of those that hold after an evaluation."""
    assert evaluate.evaluate()
    return list(Alert.objects.filter(resolved_at=None).order_by("code").values_list("code", "scope"))


def set_rule(code: str, **columns: Any) -> None:
    AlertRule.objects.update_or_create(code=code, defaults=columns)


def shift(job: Job, seconds: float) -> None:
    ago = timedelta(seconds=seconds)
    Job.objects.filter(pk=job.pk).update(created_at=F("created_at") - ago, available_at=F("available_at") - ago)


def stalled(make_job: Make) -> Job:
    make_node()
    job: Job = make_job()
    shift(job, 1000)
    return job
