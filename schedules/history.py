"""What of schedules grows old: their runs. And which jobs they still need."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet, Value
from django.db.models.functions import Now

from jobs.retention import registry
from rauskuclaw.config import load
from schedules.models import Result, Run
from schedules.sql import rows


def old_runs() -> QuerySet[Any]:
    """The runs of more than SCHEDULER_HISTORY_DAYS ago. Served by run_by_age."""
    age = Value(timedelta(days=load().scheduler_history_days))
    # One that still waits for the job before is no history yet.
    return Run.objects.filter(at__lt=Now() - age).exclude(result=Result.WAITING).order_by("at")


def needed_jobs() -> set[uuid.UUID]:
    """The last job of each schedule, and of one that stops after so many failures, the jobs that it counts."""
    return {row["job_id"] for row in rows("needed_jobs", {})}


def register() -> None:
    """Once, when the apps are ready."""
    registry.register(
        registry.Rows(
            "schedule_runs", old_runs, "at", "SCHEDULER_HISTORY_DAYS", days=lambda: load().scheduler_history_days
        )
    )
    registry.keep_jobs(needed_jobs)
