"""What retention keeps itself: policies, what it has deleted, and how far it came. Imports no other model."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

ALL_TYPES = "*"
MAX_DAYS = 36_500
MAX_COUNT = 100_000_000


class RetentionPolicy(models.Model):
    """How long jobs of a type are kept. Null: as the row of all types says, and there, as the settings say."""

    type = models.CharField(
        primary_key=True, max_length=80, help_text="A job type; *: all that have no policy of their own"
    )
    job_days = models.PositiveIntegerField(null=True, blank=True, help_text="After their end; 0: for ever")
    failed_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="The same for jobs that failed; empty: as the others"
    )
    job_count = models.PositiveIntegerField(
        null=True, blank=True, help_text="The newest so many are kept, older ones go sooner; 0: no limit"
    )
    log_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="Their log, after their end, while the jobs are there; 0: as long as the jobs"
    )
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "retention policies"
        ordering = ["type"]
        constraints = [
            models.CheckConstraint(
                condition=(Q(job_days__isnull=True) | Q(job_days__lte=MAX_DAYS))
                & (Q(failed_days__isnull=True) | Q(failed_days__lte=MAX_DAYS))
                & (Q(log_days__isnull=True) | Q(log_days__lte=MAX_DAYS))
                & (Q(job_count__isnull=True) | Q(job_count__lte=MAX_COUNT)),
                name="policy_is_in_bounds",
            )
        ]

    def __str__(self) -> str:
        return "all types" if self.type == ALL_TYPES else self.type


class PrunedJobs(models.Model):
    """How many jobs retention has deleted, so that the count of all jobs there ever were does not fall."""

    queue = models.CharField(max_length=80)
    status = models.CharField(max_length=10, help_text="A terminal one")
    count = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["queue", "status"], name="pruned_is_one_row_a_status")]

    def __str__(self) -> str:
        return f"{self.queue} {self.status}: {self.count}"


class RetentionRun(models.Model):
    """The one row that says how far the last run of retention came."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Null: it is under way, or was killed")
    seen_at = models.DateTimeField(help_text="When it last said so")
    removed = models.JSONField(default=dict, help_text="Rows, by kind")
    more = models.BooleanField(default=False, help_text="Whether it ran out of time")
    log_asked_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was last asked which partitions of the log may go"
    )

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="retention_run_is_one_row")]

    def __str__(self) -> str:
        return f"retention at {self.started_at}"
