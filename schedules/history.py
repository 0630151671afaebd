"""Forgetting old runs."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Value
from django.db.models.functions import Now

from rauskuclaw.config import load
from schedules.models import Result, Run

BATCH = 5_000


def prune() -> int:
    """Delete the runs of more than SCHEDULER_HISTORY_DAYS ago, a batch a statement. How many. Served by run_by_age."""
    age = Value(timedelta(days=load().scheduler_history_days))
    # One that still waits for the job before is no history yet.
    old = Run.objects.filter(at__lt=Now() - age).exclude(result=Result.WAITING).order_by("at")
    count = 0
    while ids := list(old.values_list("pk", flat=True)[:BATCH]):
        count += Run.objects.filter(pk__in=ids).delete()[0]
    return count
