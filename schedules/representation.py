"""Schedules and runs as the API shows them: the one place that knows the shapes and key orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rauskuclaw.api.fields import iso_ms, iso_ms_or_none
from rauskuclaw.config import load
from schedules.cadence import zone_changes
from schedules.models import Schedule
from schedules.queries import RunOfJob

Json = Any
"""Whatever JSON can hold, as Python objects."""


def schedule_json(schedule: Schedule) -> dict[str, Json]:
    """The contract's schedule object (9): exactly these keys in this order."""
    return {
        "id": str(schedule.id),
        "name": schedule.name,
        "enabled": schedule.enabled,
        "type": schedule.type,
        "queue": schedule.queue,
        "input": schedule.input,
        "priority": schedule.priority,
        "timeout_sec": schedule.timeout_sec,
        "max_attempts": schedule.max_attempts,
        "tags": schedule.tags,
        "interval_sec": schedule.interval_sec,
        "cron": schedule.cron,
        "next_run_at": iso_ms(schedule.next_run_at),
        "last_run_at": iso_ms_or_none(schedule.last_run_at),
        "last_job_id": schedule.last_job_id and str(schedule.last_job_id),
        "last_error": schedule.last_error,
        "created_at": iso_ms(schedule.created_at),
        "updated_at": iso_ms(schedule.updated_at),
    }


def policy_json(schedule: Schedule) -> dict[str, Json]:
    """When it runs and when not, beyond the contract; the last five are its state."""
    return {
        "time_zone": schedule.time_zone or load().scheduler_cron_tz,
        "ends_at": iso_ms_or_none(schedule.ends_at),
        "jitter_sec": schedule.jitter_sec,
        "missed": schedule.missed,
        "catch_up_max": schedule.catch_up_max,
        "overlap": schedule.overlap,
        "pause_after_failures": schedule.pause_after_failures,
        "max_runs": schedule.max_runs,
        "runs_made": schedule.runs_made,
        "stopped": schedule.stopped or None,
        "due_at": iso_ms(schedule.due_at),
        "waiting_due_at": iso_ms_or_none(schedule.waiting_due_at),
        "created_by": schedule.created_by,
    }


def flow_json(schedule: Schedule) -> dict[str, Json]:
    """What its jobs are made with, beyond the contract."""
    return {
        "callback_url": schedule.callback_url,
        "concurrency_key": schedule.flow.get("concurrency_key"),
        "expires_in_sec": schedule.flow.get("expires_in_sec"),
        "unique": schedule.flow.get("unique"),
    }


def run_json(found: RunOfJob) -> dict[str, Json]:
    """One run. `job_status` is the job's now; null where there is none, or it is deleted."""
    run = found.run
    return {
        "id": run.pk,
        "due_at": iso_ms(run.due_at),
        "at": iso_ms(run.at),
        "trigger": run.trigger,
        "result": run.result,
        "job_id": run.job_id and str(run.job_id),
        "job_status": found.job and found.job.status,
        "error": run.error,
    }


def due_json(moments: Sequence[datetime], zone: ZoneInfo) -> list[dict[str, Json]]:
    """Due times, each with what the clocks of `zone` show then, and by how much they were changed since the last."""
    return [
        {
            "due_at": iso_ms(moment),
            "local": moment.astimezone(zone).isoformat(timespec="seconds"),
            "zone_change_sec": None if change is None else change.after_sec - change.before_sec,
        }
        for moment, change in zip(moments, zone_changes(list(moments), zone), strict=True)
    ]
