"""Schedules, and a tick as beat rings it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from jobs.models import Job, JobType
from schedules.models import Run, Schedule
from tests.apiclient import Api

Make = Callable[..., Schedule]


@pytest.fixture
def make_schedule(api: Api, make_type: Callable[..., JobType]) -> Make:
    """A schedule posted the real way: each minute, a report, by default."""

    def make(**fields: Any) -> Schedule:
        make_type()
        cadence = {} if fields.keys() & {"cron", "interval_sec"} else {"interval_sec": 60}
        answer = api.post("/v1/schedules", {"type": "report.generate", "input": {}, **cadence, **fields})
        assert answer.status == 201, answer.text
        return Schedule.objects.get(pk=answer.json["schedule"]["id"])

    return make


def let_pass(seconds: float, schedule: Schedule | None = None) -> None:
    """As if so much time had gone by: every moment of the schedules and their runs lies so much further back."""
    columns = ("next_run_at", "due_at", "last_due_at", "waiting_due_at", "ends_at", "failures_since", "last_run_at")
    schedules = Schedule.objects.all() if schedule is None else Schedule.objects.filter(pk=schedule.pk)
    schedules.update(**{column: F(column) - timedelta(seconds=seconds) for column in columns})
    # The oldest first: at no time do two have the same due time.
    for run in Run.objects.filter(schedule__in=schedules).order_by("due_at"):
        moved = {column: getattr(run, column) - timedelta(seconds=seconds) for column in ("due_at", "at")}
        Run.objects.filter(pk=run.pk).update(**moved)


def end(job: Job, status: str = "succeeded") -> None:
    """As if a worker had run it."""
    Job.objects.filter(pk=job.pk).update(status=status, published_at=None, finished_at=job.created_at)


def jobs_of(schedule: Schedule) -> list[Job]:
    """The jobs that its due times and people have made, the oldest first."""
    ids = schedule.runs.exclude(job_id=None).order_by("id").values_list("job_id", flat=True)
    found = Job.objects.in_bulk(list(ids))
    return [found[pk] for pk in ids if pk is not None]


def results_of(schedule: Schedule) -> list[str]:
    """What its due times came to, the oldest first."""
    return list(schedule.runs.order_by("due_at").values_list("result", flat=True))
