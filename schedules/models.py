"""Schedules and their runs: columns and constraints. `planning.py` changes them, `dispatch.py` makes their jobs."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from schedules.cadence import Cadence

MIN_INTERVAL_SEC, MAX_INTERVAL_SEC = 5, 86_400
MAX_JITTER_SEC = 3_600
MAX_CATCH_UP = 100
MAX_FAILURES = 100


class Missed(models.TextChoices):
    """What becomes of due times that nobody was there for: beat was down, or the schedule was paused."""

    RUN_ONCE = "run_once", "Run once for all of them"
    SKIP = "skip", "Skip them"
    CATCH_UP = "catch_up", "Run for each, up to a number"


class Overlap(models.TextChoices):
    """What a due time does while a job of the schedule has not ended."""

    ALLOW = "allow", "Makes its job all the same"
    SKIP = "skip", "Is skipped"
    QUEUE_ONE = "queue_one", "Waits; one at most"
    CANCEL_RUNNING = "cancel_running", "Cancels it"


class Stopped(models.TextChoices):
    """Why a schedule switched itself off."""

    ENDED = "ended", "Its end has come"
    MAX_RUNS = "max_runs", "It has run as often as it may"
    FAILURES = "failures", "Too many of its jobs failed in a row"


class Trigger(models.TextChoices):
    """What made a run."""

    DUE = "due", "Its time"
    MANUAL = "manual", "Somebody"


class Result(models.TextChoices):
    """What a run came to."""

    MADE = "made", "Made a job"
    WAITING = "waiting", "Waits for the job before"
    """Makes its job when that has ended."""
    OVERLAPPED = "overlapped", "Skipped: the job before had not ended"
    MISSED = "missed", "Skipped: too late"
    FAILED = "failed", "No job could be made"
    """Tried again each minute, until it makes one or a newer due time takes its place."""


class Schedule(models.Model):
    """What job to make, and when. The contract's fields come first, in its order."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, null=True, blank=True)  # noqa: DJ001 - the contract distinguishes null
    enabled = models.BooleanField(default=True, db_default=True)
    type = models.CharField(max_length=80)
    queue = models.CharField(max_length=80, default="default")
    input = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    priority = models.PositiveSmallIntegerField(default=5)
    timeout_sec = models.PositiveSmallIntegerField()
    max_attempts = models.PositiveSmallIntegerField()
    tags = ArrayField(models.TextField(), default=list, blank=True)
    interval_sec = models.PositiveIntegerField(null=True, blank=True)
    cron = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001 - the same
    next_run_at = models.DateTimeField(help_text="When the tick is to take it: its due time, and jitter")
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_job_id = models.UUIDField(null=True, blank=True)
    last_error = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    due_at = models.DateTimeField(help_text="The due time that next_run_at is for")
    last_due_at = models.DateTimeField(
        null=True, blank=True, help_text="The newest due time that made its job; none up to it ever makes another"
    )
    waiting_due_at = models.DateTimeField(null=True, blank=True, help_text="A due time that waits for the job before")
    callback_url = models.TextField(null=True, blank=True)  # noqa: DJ001 - as a job's
    flow = models.JSONField(default=dict, blank=True, help_text="concurrency_key, expires_in_sec, unique of its jobs")
    time_zone = models.CharField(
        max_length=64, default="", db_default="", blank=True, help_text="IANA name; empty: SCHEDULER_CRON_TZ"
    )
    ends_at = models.DateTimeField(null=True, blank=True, help_text="No due time after it")
    jitter_sec = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Each run is up to so many seconds late, at random"
    )
    missed = models.CharField(max_length=8, choices=Missed, default=Missed.RUN_ONCE, db_default=Missed.RUN_ONCE)
    catch_up_max = models.PositiveSmallIntegerField(default=10, db_default=10, help_text="The newest so many")
    overlap = models.CharField(max_length=14, choices=Overlap, default=Overlap.ALLOW, db_default=Overlap.ALLOW)
    pause_after_failures = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Stops when so many of its jobs have failed in a row"
    )
    max_runs = models.PositiveIntegerField(null=True, blank=True, help_text="Stops when it has made so many jobs")
    runs_made = models.PositiveIntegerField(default=0, db_default=0, help_text="Jobs that its due times have made")
    stopped = models.CharField(
        max_length=8, choices=Stopped, default="", db_default="", blank=True, help_text="Why it switched itself off"
    )
    failures_since = models.DateTimeField(
        db_default=Now(), help_text="Failures before it do not count: when it was last switched on"
    )
    created_by = models.CharField(max_length=160, default="", db_default="", blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(interval_sec__isnull=True, cron__isnull=False)
                | Q(interval_sec__isnull=False, cron__isnull=True),
                name="schedule_has_an_interval_or_a_cron_expression",
            ),
            models.CheckConstraint(
                condition=Q(interval_sec__isnull=True) | Q(interval_sec__range=(MIN_INTERVAL_SEC, MAX_INTERVAL_SEC)),
                name="schedule_interval_is_5_to_86400_sec",
            ),
            models.CheckConstraint(condition=Q(priority__range=(0, 10)), name="schedule_priority_is_0_to_10"),
            models.CheckConstraint(condition=Q(timeout_sec__range=(1, 3600)), name="schedule_timeout_is_1_to_3600_sec"),
            models.CheckConstraint(condition=Q(max_attempts__range=(1, 10)), name="schedule_attempts_are_1_to_10"),
            models.CheckConstraint(
                condition=Q(jitter_sec__lte=MAX_JITTER_SEC), name="schedule_jitter_is_at_most_3600_sec"
            ),
            models.CheckConstraint(condition=Q(missed__in=Missed.values), name="schedule_missed_is_known"),
            models.CheckConstraint(condition=Q(overlap__in=Overlap.values), name="schedule_overlap_is_known"),
            models.CheckConstraint(
                condition=Q(catch_up_max__range=(1, MAX_CATCH_UP)), name="schedule_catches_up_1_to_100"
            ),
            models.CheckConstraint(
                condition=Q(pause_after_failures__isnull=True) | Q(pause_after_failures__range=(1, MAX_FAILURES)),
                name="schedule_pauses_after_1_to_100_failures",
            ),
            models.CheckConstraint(condition=~Q(max_runs=0), name="schedule_runs_at_least_once"),
            models.CheckConstraint(
                condition=Q(stopped="") | Q(stopped__in=Stopped.values, enabled=False),
                name="schedule_is_off_when_it_has_stopped",
            ),
        ]
        indexes = [
            models.Index(fields=["next_run_at", "id"], condition=Q(enabled=True), name="schedule_due"),
            models.Index(fields=["id"], condition=Q(waiting_due_at__isnull=False), name="schedule_waiting"),
            models.Index(fields=["-created_at", "-id"], name="schedule_newest"),
            models.Index(fields=["queue", "-created_at", "-id"], name="schedule_by_queue"),
            models.Index(fields=["type", "-created_at", "-id"], name="schedule_by_type"),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.type} {self.id}"

    @property
    def cadence(self) -> Cadence:
        """When it is due."""
        return Cadence(self.interval_sec, self.cron, self.time_zone)


class Run(models.Model):
    """What one due time of a schedule, or somebody's wish, came to. Its job may be deleted: it is no foreign key."""

    id = models.BigAutoField(primary_key=True)
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="runs", db_index=False)
    due_at = models.DateTimeField()
    at = models.DateTimeField(db_default=Now(), help_text="When it came to this")
    trigger = models.CharField(max_length=6, choices=Trigger, default=Trigger.DUE)
    result = models.CharField(max_length=10, choices=Result)
    job_id = models.UUIDField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["schedule", "due_at"], name="run_is_once_for_each_due_time"),
            models.CheckConstraint(condition=Q(result__in=Result.values), name="run_result_is_known"),
            models.CheckConstraint(condition=Q(trigger__in=Trigger.values), name="run_trigger_is_known"),
            models.CheckConstraint(
                condition=Q(result=Result.MADE, job_id__isnull=False)
                | (~Q(result=Result.MADE) & Q(job_id__isnull=True)),
                name="run_has_a_job_iff_it_made_one",
            ),
            models.CheckConstraint(
                condition=Q(result=Result.FAILED, error__isnull=False)
                | (~Q(result=Result.FAILED) & Q(error__isnull=True)),
                name="run_has_an_error_iff_it_failed",
            ),
        ]
        indexes = [
            models.Index(fields=["schedule", "-id"], name="run_by_schedule"),
            models.Index(fields=["schedule", "-id"], condition=Q(job_id__isnull=False), name="run_with_job"),
            models.Index(fields=["at"], name="run_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.due_at:%Y-%m-%d %H:%M:%S} {self.result}"
