"""Making, changing, pausing and deleting schedules. Each change is in the audit log."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from access import audit
from access.principals import Principal
from jobs import submission
from jobs.bodies import faulty
from jobs.models import JobType
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from schedules import queries
from schedules.cadence import Cadence
from schedules.decisions import jitter
from schedules.models import Schedule
from schedules.requests import NewSchedule, ScheduleChange

PREVIEWED = 50
FARTHEST_START = timedelta(days=10 * 365)
_MICROSECOND = timedelta(microseconds=1)


def create(new: NewSchedule, flow: Mapping[str, Any], *, principal: Principal, by: str) -> Schedule:
    """Add a schedule. flow: as parse_new gave it.

    Raises VALIDATION_ERROR (type unknown or disabled, never due), FORBIDDEN (queue, or a type that reaches them all).
    """
    job_type = _enabled_type(new.type)
    principal.require_queue(new.queue)
    submission.require_reach(job_type, principal)
    columns = {
        "timeout_sec": job_type.default_timeout_sec, "max_attempts": job_type.default_max_attempts,
        **new.columns(), "flow": _without_null(flow), "created_by": by,
    }  # fmt: skip
    schedule = Schedule(id=uuid.uuid4(), **columns)
    _check_policy(schedule)
    now = queries.postgres_now()
    _begin(schedule, _first_due(schedule, new, now), now)
    if new.run_now:
        _begin(schedule, now, now)
    with transaction.atomic():
        schedule.save(force_insert=True)
        schedule.refresh_from_db()
        _audit("schedule.created", schedule, by, _told(columns))
    return schedule


def update(
    schedule_id: str, change: ScheduleChange, flow: Mapping[str, Any], *, principal: Principal, by: str
) -> Schedule:
    """Change a schedule (contract 9, PATCH). What is already as asked is not written and not audited.

    Raises NOT_FOUND, VALIDATION_ERROR, FORBIDDEN (queue), CONFLICT (switching on what has ended).
    """
    with transaction.atomic():
        schedule = queries.visible_schedule(schedule_id, principal=principal, lock=True)
        columns = change.columns()
        if flow:
            columns["flow"] = _without_null({**schedule.flow, **flow})
        if "type" in columns:
            _enabled_type(columns["type"])
        if columns.keys() & {"type", "input"}:
            for job_type in JobType.objects.filter(name=columns.get("type", schedule.type)):
                submission.require_reach(job_type, principal)
        if "queue" in columns:
            principal.require_queue(columns["queue"])
        before = {column: getattr(schedule, column) for column in columns}
        changed = {column: value for column, value in columns.items() if value != before[column]}
        for column, value in columns.items():
            setattr(schedule, column, value)
        _check_policy(schedule)
        now = queries.postgres_now()
        moved = _moved_to(schedule, change, before, now)
        if moved is not None:
            _begin(schedule, moved, now)
        if changed.get("enabled"):
            _switch_on(schedule, now)
        if changed or moved is not None:
            schedule.updated_at = now
            schedule.save(update_fields=[*changed, "updated_at", *_SCHEDULED, *_STATE])
            told = {column: [before[column], value] for column, value in changed.items()}
            _audit("schedule.updated", schedule, by, _told(told) | ({"next_run_at": moved} if moved else {}))
    return schedule


_SCHEDULED = ("next_run_at", "due_at")
_STATE = ("stopped", "failures_since")


def pause(schedule_id: str, *, principal: Principal, by: str) -> Schedule:
    """It makes no jobs until it is resumed; those that it made go on. Raises NOT_FOUND."""
    return update(schedule_id, ScheduleChange(enabled=False), {}, principal=principal, by=by)


def resume(schedule_id: str, *, principal: Principal, by: str) -> Schedule:
    """It makes jobs again; due times of the pause are missed ones. Raises NOT_FOUND, CONFLICT where it has ended."""
    return update(schedule_id, ScheduleChange(enabled=True), {}, principal=principal, by=by)


def delete(schedule_id: str, *, principal: Principal, by: str) -> uuid.UUID:
    """Delete a schedule and its runs. Its jobs stay. Raises NOT_FOUND."""
    with transaction.atomic():
        schedule = queries.visible_schedule(schedule_id, principal=principal, lock=True)
        deleted: uuid.UUID = schedule.pk
        schedule.delete()
        schedule.pk = deleted
        _audit("schedule.deleted", schedule, by, {"name": schedule.name, "type": schedule.type})
    return deleted


def preview(new: ScheduleChange) -> tuple[Cadence, list[datetime]]:
    """The next PREVIEWED due times that a schedule with these fields would have; fewer where it ends before."""
    schedule = Schedule(**new.columns())
    now = queries.postgres_now()
    schedule.due_at = _first_due(schedule, new, now)
    return schedule.cadence, due_times(schedule)


def due_times(schedule: Schedule) -> list[datetime]:
    """Its next PREVIEWED due times; fewer where it ends before."""
    found = [schedule.due_at, *schedule.cadence.following(schedule.due_at, PREVIEWED - 1)]
    return [moment for moment in found if schedule.ends_at is None or moment <= schedule.ends_at]


def _enabled_type(name: str) -> JobType:
    job_type = JobType.objects.filter(name=name).first()
    if job_type is None or not job_type.enabled:
        state = "does not exist" if job_type is None else "is disabled"
        raise faulty("type", f"job type {name!r} {state}; GET /v1/job-types lists the enabled ones")
    return job_type


def _check_policy(schedule: Schedule) -> None:
    if schedule.interval_sec is not None and schedule.jitter_sec >= schedule.interval_sec:
        raise faulty("policy.jitter_sec", f"must be less than interval_sec, which is {schedule.interval_sec}")


def _first_due(schedule: Schedule, change: ScheduleChange, now: datetime) -> datetime:
    """By start_in_sec or starts_at, or from now. Raises VALIDATION_ERROR for one in the past or after its end."""
    if change.starts_at is not None:
        if change.starts_at <= now:
            raise faulty("starts_at", f"is past: it is {now:%Y-%m-%dT%H:%M:%SZ}; leave it out to start now")
        if change.starts_at > now + FARTHEST_START:
            raise faulty("starts_at", f"is more than {FARTHEST_START.days // 365} years away")
        # A cron time at this very moment counts.
        start, path = change.starts_at - _MICROSECOND, "starts_at"
    else:
        start, path = now + timedelta(seconds=change.start_in_sec), "cron"
    if schedule.cron is None:
        due_at: datetime | None = change.starts_at or start
    else:
        due_at = schedule.cadence.after(start)
    if due_at is None:
        raise faulty(path, "it never comes after that")
    if schedule.ends_at is not None and due_at > schedule.ends_at:
        raise faulty("policy.ends_at", f"the first due time would be {due_at:%Y-%m-%dT%H:%M:%SZ}, which is later")
    return due_at


def _moved_to(schedule: Schedule, change: ScheduleChange, before: Mapping[str, Any], now: datetime) -> datetime | None:
    """The next due time that a change asks for; None: it stays."""
    given = change.model_fields_set
    if "run_now" in given and change.run_now:
        return now
    if "start_in_sec" in given or change.starts_at is not None:
        return _first_due(schedule, change, now)
    if "cron" in given or (schedule.cron is not None and "time_zone" in before):
        return _first_due(schedule, change, now)
    if "interval_sec" in given and before["interval_sec"] is None:
        return now
    return None


def _begin(schedule: Schedule, due_at: datetime, now: datetime) -> None:
    if schedule.last_due_at is not None and due_at == now:
        # Set back, the clock may say what it said at an earlier run.
        due_at = max(due_at, schedule.last_due_at + _MICROSECOND)
    schedule.due_at = due_at
    schedule.next_run_at = due_at + jitter(schedule.jitter_sec) if due_at > now else now


def _switch_on(schedule: Schedule, now: datetime) -> None:
    if schedule.ends_at is not None and schedule.ends_at < now:
        raise Problem(errors.CONFLICT, "The schedule has ended: give it a later policy.ends_at, or null, too.")
    if schedule.max_runs is not None and schedule.runs_made >= schedule.max_runs:
        raise Problem(
            errors.CONFLICT, f"The schedule has made its {schedule.max_runs} runs: raise policy.max_runs too."
        )
    schedule.stopped, schedule.failures_since = "", now


def _without_null(flow: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flow.items() if value is not None}


def _told(columns: Mapping[str, Any]) -> dict[str, Any]:
    """For the audit log, which holds no input: there may be anything in it."""
    hidden = ("input", "created_by")
    told = {column: value for column, value in columns.items() if column not in hidden}
    return told | ({"input": "changed"} if "input" in columns else {})


def _audit(action: str, schedule: Schedule, by: str, details: dict[str, Any]) -> None:
    audit.record(actor=by, action=action, object_type="schedule", object_id=str(schedule.pk), details=details)
