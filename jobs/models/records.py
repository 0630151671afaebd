"""What is kept of a job besides itself: its log, its attempts, who asked for it, whom it told."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.models.job import Job
from jobs.models.states import Outcome

COUNTED_LINES = (
    "Job cancelled", "Job expired", "Child failed", "Dependency blocked job", "Callback delivered", "Callback failed",
    "Callback blocked (not allowlisted)", "Callback skipped (callbacks.enabled=false)",
    "Callback skipped (signing enabled but secret missing)",
)  # fmt: skip
"""Lines that metrics count because no other row keeps when it happened. All of them rare: not a line of each job."""


class JobLog(models.Model):
    """One log line. Ids grow in commit order within a job, because each writer holds the job's row lock (live.py).

    The table is partitioned by the day its job was made (docs/adr/0019-log-partitions.md): whoever looks for the lines
    of a job says both, `JobLog.of(job)`. Its primary key is (job, id, job_created_at). No foreign key holds the lines:
    deleting a job would look for them in every partition; `jobs/retention/` removes both.
    """

    class Level(models.TextChoices):
        DEBUG = "debug"
        INFO = "info"
        WARN = "warn"
        ERROR = "error"

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="logs", db_index=False, db_constraint=False)
    job_created_at = models.DateTimeField(help_text="The job's created_at: the partition")
    ts = models.DateTimeField(db_default=Now())
    level = models.CharField(max_length=5, choices=Level, default=Level.INFO)
    message = models.TextField()
    meta = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["ts"], condition=Q(message__in=COUNTED_LINES), name="joblog_counted"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(level__in=["debug", "info", "warn", "error"]), name="joblog_level_is_known"
            )
        ]

    def __str__(self) -> str:
        return f"{self.level} {self.message}"

    @classmethod
    def of(cls, job: Job) -> models.QuerySet[JobLog]:
        """The lines of one job, from the one partition that holds them."""
        return cls.objects.filter(job=job, job_created_at=job.created_at)


class Attempt(models.Model):
    """One try at a job. `number` is its fencing number, unique for ever; `ordinal` counts within its series."""

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempt_rows", db_index=False)
    number = models.PositiveIntegerField()
    series = models.PositiveSmallIntegerField()
    ordinal = models.PositiveSmallIntegerField()
    worker = models.CharField(max_length=120)
    node = models.UUIDField(null=True, blank=True)
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.RUNNING)
    error = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    rate_key = models.CharField(  # noqa: DJ001 - null keeps it out of the index
        max_length=300, null=True, blank=True, help_text="Whose rate limit it counts against"
    )
    waited_ms = models.PositiveBigIntegerField(help_text="From due to claimed")
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    ran_ms = models.PositiveBigIntegerField(null=True, blank=True)
    retried = models.BooleanField(
        default=False, db_default=False, help_text="Whether it failed and the job was queued again"
    )

    class Meta:
        ordering = ["job", "number"]
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="attempt_is_claimed_once"),
            models.CheckConstraint(
                condition=Q(outcome=Outcome.RUNNING, ended_at__isnull=True)
                | (~Q(outcome=Outcome.RUNNING) & Q(ended_at__isnull=False, ran_ms__isnull=False)),
                name="attempt_has_ended_iff_it_has_an_outcome",
            ),
        ]
        indexes = [
            models.Index(
                fields=["rate_key", "started_at"], condition=Q(rate_key__isnull=False), name="attempt_by_rate_key"
            ),
            # What began or ended in a span of time (metrics). A B-tree would make each end of an attempt write all of
            # the table's indexes (docs/adr/0015-counters.md).
            BrinIndex(
                fields=["started_at", "ended_at"], pages_per_range=16, autosummarize=True, name="attempt_by_time"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_id}#{self.number}"


class IdempotencyKey(models.Model):
    """An Idempotency-Key, the fingerprint of the request it was used for, and the job that request made."""

    digest = models.CharField(
        primary_key=True, max_length=64, help_text="SHA-256 of the key, which may be of any length"
    )
    fingerprint = models.CharField(max_length=64)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.digest[:12]} → {self.job_id}"


class CallbackDelivery(models.Model):
    """Outbox row: one callback to deliver for one end of a job (`series` tells ends apart); or, of no job, what else
    people are told (`callbacks.enqueue`)."""

    class State(models.TextChoices):
        PENDING = "pending", "Pending"
        DELIVERED = "delivered", "Delivered"
        SKIPPED = "skipped", "Skipped by policy"
        DEAD = "dead", "Dead: gave up"

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="callbacks", null=True, blank=True)
    series = models.PositiveSmallIntegerField()
    url = models.TextField()
    payload = models.JSONField(encoder=DjangoJSONEncoder)
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    tries = models.PositiveIntegerField(default=0, db_default=0)
    next_try_at = models.DateTimeField(
        db_default=Now(), help_text="Also the claim: a deliverer pushes it into the future"
    )
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.TextField(default="", db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True, blank=True)
    trace = models.CharField(max_length=55, null=True, blank=True, help_text="The job's")  # noqa: DJ001 - as there

    class Meta:
        verbose_name_plural = "callback deliveries"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["job", "series"], name="job_calls_back_once_for_each_end"),
            models.CheckConstraint(
                condition=Q(state="delivered", delivered_at__isnull=False)
                | (~Q(state="delivered") & Q(delivered_at__isnull=True)),
                name="callback_is_delivered_iff_delivered_at",
            ),
        ]
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(state="pending"), name="callback_due"),
            models.Index(fields=["id"], condition=Q(state="dead"), name="callback_dead"),
            models.Index(fields=["created_at"], condition=~Q(state="pending"), name="callback_settled"),
        ]

    def __str__(self) -> str:
        return f"callback {self.id} of {self.job_id or 'no job'}"
