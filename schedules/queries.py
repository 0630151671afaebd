"""Named reads: who may see which schedule, pages of them, their runs with what became of the jobs."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import Count, Q, QuerySet

from access.principals import Principal
from jobs.models import Job
from jobs.queries import Position, parse_id
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from schedules.models import Run, Schedule


def postgres_now() -> datetime:
    """The clock that decides what is due."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
    return now


def visible_schedule(schedule_id: str, *, principal: Principal, lock: bool = False) -> Schedule:
    """The schedule, by the id of a URL; lock: its row, until the transaction ends.

    Raises NOT_FOUND also where it is on a queue that `principal` may not see.
    """
    found = parse_id(schedule_id)
    schedules = Schedule.objects.select_for_update(no_key=True) if lock else Schedule.objects.all()
    schedule = None if found is None else _visible(schedules, principal).filter(pk=found).first()
    if schedule is None:
        raise Problem(
            errors.NOT_FOUND, "No such schedule: check the id, and that the key may see the schedule's queue."
        )
    return schedule


@dataclass(frozen=True)
class ScheduleFilter:
    """What a list of schedules is narrowed to. None: not narrowed."""

    enabled: bool | None = None
    type: str | None = None
    queue: str | None = None


@dataclass(frozen=True)
class SchedulePage:
    """Schedules, newest first, and where the next page begins; None after the last one."""

    schedules: Sequence[Schedule]
    next: Position | None


def schedule_page(
    wanted: ScheduleFilter, *, principal: Principal, limit: int, after: Position | None = None
) -> SchedulePage:
    """One page. Served by schedule_newest, schedule_by_queue or schedule_by_type. Raises FORBIDDEN for a named queue
    that is not one of the principal's."""
    if wanted.queue is not None:
        principal.require_queue(wanted.queue)
    exact = {"enabled": wanted.enabled, "type": wanted.type, "queue": wanted.queue}
    found = _visible(Schedule.objects.all(), principal).filter(
        **{column: value for column, value in exact.items() if value is not None}
    )
    if after is not None:
        # The first condition is what the index can start from.
        found = found.filter(created_at__lte=after.created_at)
        found = found.filter(Q(created_at__lt=after.created_at) | Q(id__lt=after.id))
    rows = list(found.order_by("-created_at", "-id")[: limit + 1])
    last = rows[limit - 1] if len(rows) > limit else None
    return SchedulePage(rows[:limit], None if last is None else Position(last.created_at, last.id))


@dataclass(frozen=True)
class RunOfJob:
    """A run, and the job it made; None where it made none, or the job is deleted."""

    run: Run
    job: Job | None


def runs_of(schedule: Schedule, *, limit: int, before: int | None = None) -> tuple[list[RunOfJob], int | None]:
    """The newest runs, and the `before` of the next page; None after the last one. Served by run_by_schedule."""
    found = Run.objects.filter(schedule=schedule).order_by("-id")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found[: limit + 1])
    ids = {run.job_id for run in rows[:limit] if run.job_id is not None}
    jobs: dict[uuid.UUID, Job] = Job.objects.only("id", "status", "queue").in_bulk(ids)
    shown = [RunOfJob(run, jobs.get(run.job_id) if run.job_id else None) for run in rows[:limit]]
    return shown, rows[limit - 1].pk if len(rows) > limit else None


@dataclass(frozen=True)
class Overview:
    """All schedules in numbers."""

    enabled: int
    disabled: int
    faulty: int
    """Of the enabled ones, those that make no jobs at the moment."""
    lag_sec: float
    """How long the one that has been due the longest has been."""


def overview() -> Overview:
    """Counts all of them: for people, and not each second."""
    enabled = Q(enabled=True)
    on, off, faulty = Schedule.objects.aggregate(
        on=Count("pk", filter=enabled),
        off=Count("pk", filter=~enabled),
        faulty=Count("pk", filter=enabled & Q(last_error__isnull=False)),
    ).values()
    return Overview(on, off, faulty, round(lag_sec(), 1))


def lag_sec() -> float:
    """How long the enabled schedule that has been due the longest has been; 0 where none is. Served by schedule_due."""
    due = Schedule.objects.filter(enabled=True).order_by("next_run_at", "id").values_list("next_run_at", flat=True)
    first = due.first()
    return 0.0 if first is None else max(0.0, (postgres_now() - first).total_seconds())


def _visible(schedules: QuerySet[Schedule], principal: Principal) -> QuerySet[Schedule]:
    if principal.queue_allowlist is None:
        return schedules
    return schedules.filter(queue__in=principal.queue_allowlist)
