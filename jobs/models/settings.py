"""What operators say of queues and job types."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.models.states import OnLimit


class Queue(models.Model):
    """What an operator has said of a queue. A queue needs no row to be used."""

    name = models.CharField(primary_key=True, max_length=80)
    paused = models.BooleanField(default=False, db_default=False, help_text="Its jobs wait; those that run go on")
    max_running = models.PositiveIntegerField(
        null=True, blank=True, help_text="Jobs of the queue that may run at once; empty: as many as there are processes"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=~Q(max_running=0), name="queue_limit_is_at_least_1")]

    def __str__(self) -> str:
        return self.name


class JobType(models.Model):
    """A kind of job: which handler runs it, its defaults, its retry policy and its limits."""

    name = models.CharField(primary_key=True, max_length=80)
    enabled = models.BooleanField(default=True, db_default=True)
    handler = models.CharField(max_length=200, help_text="Id of an installed handler, e.g. builtin:report.generate")
    default_timeout_sec = models.PositiveSmallIntegerField(default=120, db_default=120)
    default_max_attempts = models.PositiveSmallIntegerField(default=1, db_default=1)
    retry_base_sec = models.FloatField(default=2.0, db_default=2.0, help_text="Wait before the second attempt")
    retry_factor = models.FloatField(default=2.0, db_default=2.0, help_text="Each further wait is so many times longer")
    retry_max_sec = models.FloatField(default=300.0, db_default=300.0, help_text="Longest wait between attempts")
    retry_jitter = models.FloatField(
        default=0.2,
        db_default=0.2,
        help_text="Share of the wait that is random, 0..1, so that retries do not march in step",
    )
    paused = models.BooleanField(default=False, db_default=False, help_text="Its jobs wait; those that run go on")
    max_running = models.PositiveIntegerField(
        null=True, blank=True, help_text="Jobs of the type that may run at once, on all queues; empty: no limit"
    )
    max_running_per_key = models.PositiveIntegerField(
        null=True, blank=True, help_text="Jobs of the type with one concurrency key that may run at once"
    )
    key_pointer = models.CharField(
        max_length=200,
        default="",
        db_default="",
        blank=True,
        help_text="JSON pointer (RFC 6901) into the input whose value is the concurrency key, e.g. /repository",
    )
    on_limit = models.CharField(
        max_length=14,
        choices=OnLimit,
        default=OnLimit.WAIT,
        db_default=OnLimit.WAIT,
        help_text="What a new job does when its concurrency key is at its limit",
    )
    rate_limit = models.PositiveIntegerField(null=True, blank=True, help_text="Attempts that may begin a period")
    rate_period_sec = models.PositiveIntegerField(default=60, db_default=60)
    rate_per_key = models.BooleanField(
        default=False, db_default=False, help_text="Whether the rate limit is each concurrency key's own"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(default_timeout_sec__range=(1, 3600)), name="jobtype_timeout_is_1_to_3600_sec"
            ),
            models.CheckConstraint(
                condition=~Q(max_running=0) & ~Q(max_running_per_key=0) & ~Q(rate_limit=0),
                name="jobtype_limits_are_at_least_1",
            ),
            models.CheckConstraint(
                condition=Q(rate_period_sec__range=(1, 86400)), name="jobtype_rate_period_is_1_to_86400_sec"
            ),
            models.CheckConstraint(
                condition=Q(on_limit="wait") | Q(max_running_per_key__isnull=False),
                name="jobtype_has_a_limit_if_it_acts_on_it",
            ),
            models.CheckConstraint(
                condition=Q(default_max_attempts__range=(1, 10)), name="jobtype_attempts_are_1_to_10"
            ),
            models.CheckConstraint(
                condition=Q(retry_base_sec__range=(0, 86400), retry_max_sec__range=(0, 86400))
                & Q(retry_factor__range=(1, 100), retry_jitter__range=(0, 1)),
                name="jobtype_retry_policy_is_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return self.name
