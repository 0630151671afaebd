"""The shapes of requests and answers, for the OpenAPI document. What is sent comes from `representation.py`."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from jobs import flow
from jobs.api.serializers import Unique
from jobs.bodies import MAX_LIMIT
from schedules import requests
from schedules.models import (
    MAX_CATCH_UP,
    MAX_FAILURES,
    MAX_INTERVAL_SEC,
    MAX_JITTER_SEC,
    MIN_INTERVAL_SEC,
    Missed,
    Overlap,
    Result,
    Stopped,
    Trigger,
)


class ScheduleError(serializers.Serializer[Any]):
    """Why it makes no job at the moment."""

    code = serializers.CharField(help_text="Stable; listed in docs/errors.md.")
    message = serializers.CharField()
    at = serializers.DateTimeField()


class Schedule(serializers.Serializer[Any]):
    """A schedule: exactly these keys, in this order. One of `interval_sec` and `cron` is null."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True)
    enabled = serializers.BooleanField()
    type = serializers.CharField()
    queue = serializers.CharField()
    input = serializers.JSONField(allow_null=True)
    priority = serializers.IntegerField(min_value=0, max_value=10)
    timeout_sec = serializers.IntegerField(min_value=1, max_value=3600)
    max_attempts = serializers.IntegerField(min_value=1, max_value=10)
    tags = serializers.ListField(child=serializers.CharField())
    interval_sec = serializers.IntegerField(allow_null=True)
    cron = serializers.CharField(allow_null=True)
    next_run_at = serializers.DateTimeField()
    last_run_at = serializers.DateTimeField(allow_null=True)
    last_job_id = serializers.UUIDField(allow_null=True)
    last_error = ScheduleError(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class PolicyChange(serializers.Serializer[Any]):
    """When it runs and when not; of a change, the fields that are sent."""

    time_zone = serializers.CharField(
        max_length=64, required=False, allow_null=True, help_text="IANA name. Default: SCHEDULER_CRON_TZ."
    )
    ends_at = serializers.DateTimeField(required=False, allow_null=True, help_text="No due time after it.")
    jitter_sec = serializers.IntegerField(
        min_value=0, max_value=MAX_JITTER_SEC, default=0, help_text="Each run is up to so many seconds late, at random."
    )
    missed = serializers.ChoiceField(
        choices=Missed.choices,
        default=Missed.RUN_ONCE,
        help_text="What becomes of due times that passed while nothing ran or the schedule was paused.",
    )
    catch_up_max = serializers.IntegerField(
        min_value=1, max_value=MAX_CATCH_UP, default=10, help_text="With catch_up: the newest so many."
    )
    overlap = serializers.ChoiceField(
        choices=Overlap.choices, default=Overlap.ALLOW, help_text="What a due time does while an earlier job is open."
    )
    pause_after_failures = serializers.IntegerField(
        min_value=1, max_value=MAX_FAILURES, required=False, allow_null=True, help_text="Failed jobs in a row."
    )
    max_runs = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, required=False, allow_null=True)


class Policy(serializers.Serializer[Any]):
    """When it runs and when not, and how it stands."""

    time_zone = serializers.CharField()
    ends_at = serializers.DateTimeField(allow_null=True)
    jitter_sec = serializers.IntegerField()
    missed = serializers.ChoiceField(choices=Missed.choices)
    catch_up_max = serializers.IntegerField()
    overlap = serializers.ChoiceField(choices=Overlap.choices)
    pause_after_failures = serializers.IntegerField(allow_null=True)
    max_runs = serializers.IntegerField(allow_null=True)
    runs_made = serializers.IntegerField(help_text="Jobs that its due times have made.")
    stopped = serializers.ChoiceField(
        choices=Stopped.choices, allow_null=True, help_text="Why it switched itself off; null: it did not."
    )
    due_at = serializers.DateTimeField(help_text="The due time that next_run_at is for.")
    waiting_due_at = serializers.DateTimeField(
        allow_null=True, help_text="With queue_one: the due time that waits for the job before."
    )
    created_by = serializers.CharField()


class Flow(serializers.Serializer[Any]):
    """What its jobs are made with, as for POST /v1/jobs."""

    callback_url = serializers.CharField(allow_null=True)
    concurrency_key = serializers.CharField(allow_null=True)
    expires_in_sec = serializers.IntegerField(allow_null=True)
    unique = Unique(allow_null=True)


class Cadence(serializers.Serializer[Any]):
    """When a schedule is due: by exactly one of the first two."""

    interval_sec = serializers.IntegerField(min_value=MIN_INTERVAL_SEC, max_value=MAX_INTERVAL_SEC, required=False)
    cron = serializers.CharField(required=False, help_text="5 fields, or 6 with the second first; or @daily and so on.")
    start_in_sec = serializers.IntegerField(min_value=0, max_value=requests.MAX_START_SEC, default=0)
    starts_at = serializers.DateTimeField(required=False, help_text="Instead of start_in_sec: a moment to come.")
    policy = PolicyChange(required=False)


class ScheduleChange(Cadence):
    """What of a schedule can be changed; at least one field."""

    name = serializers.CharField(max_length=120, required=False, allow_null=True)
    enabled = serializers.BooleanField(default=True)
    type = serializers.CharField(required=False, help_text="Name of an enabled job type.")
    queue = serializers.CharField(default="default", help_text="1 to 80 of a-z 0-9 . _ : -")
    input = serializers.JSONField(required=False, allow_null=True, help_text="Checked when a job is made of it.")
    priority = serializers.IntegerField(min_value=0, max_value=10, default=5)
    timeout_sec = serializers.IntegerField(
        min_value=1, max_value=3600, required=False, help_text="Default: the type's default_timeout_sec, now."
    )
    max_attempts = serializers.IntegerField(
        min_value=1, max_value=10, required=False, help_text="Default: the type's default_max_attempts, now."
    )
    tags = serializers.ListField(child=serializers.CharField(), default=list, help_text="The first 20 are kept.")
    callback_url = serializers.CharField(required=False, allow_null=True)
    concurrency_key = serializers.CharField(required=False, allow_null=True, max_length=flow.MAX_KEY_CHARS)
    expires_in_sec = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=flow.MAX_EXPIRES_IN_SEC
    )
    unique = Unique(required=False, allow_null=True)
    run_now = serializers.BooleanField(default=False, help_text="Makes it due now, if it is enabled.")


class NewSchedule(ScheduleChange):
    """A schedule to create, by `interval_sec` or `cron`."""

    type = serializers.CharField(help_text="Name of an enabled job type.")


class DueTime(serializers.Serializer[Any]):
    """One time at which the schedule would be due."""

    due_at = serializers.DateTimeField()
    local = serializers.CharField(help_text="What the clocks of the zone show then, with their offset from UTC.")
    zone_change_sec = serializers.IntegerField(
        allow_null=True, help_text="By how much they were put forward (or back: less than 0) since the time before."
    )


class Run(serializers.Serializer[Any]):
    """What one due time came to."""

    id = serializers.IntegerField()
    due_at = serializers.DateTimeField()
    at = serializers.DateTimeField(help_text="When it came to this.")
    trigger = serializers.ChoiceField(choices=Trigger.choices)
    result = serializers.ChoiceField(choices=Result.choices)
    job_id = serializers.UUIDField(allow_null=True)
    job_status = serializers.CharField(
        allow_null=True, help_text="The job's status now; null where there is none, or no more."
    )
    error = ScheduleError(allow_null=True)
