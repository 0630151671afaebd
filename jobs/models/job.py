"""Jobs, and how they hang together."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now

from jobs.models.states import TERMINAL, OnFailure, Status
from rauskuclaw.wire import POOLS

SUSPENDED = Q(status=Status.QUEUED, waiting_on__gt=0, phase__gt=0)
"""Jobs that wait for their children; see `Job.is_suspended`."""


class Job(models.Model):
    """One piece of work. The first 15 fields are the v1 contract's, in its order; the others never leave the server."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    type = models.CharField(max_length=80)
    queue = models.CharField(max_length=80, default="default")
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    priority = models.PositiveSmallIntegerField(default=5)
    timeout_sec = models.PositiveSmallIntegerField()
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Attempts claimed in this series")
    max_attempts = models.PositiveSmallIntegerField()
    callback_url = models.TextField(null=True, blank=True)  # noqa: DJ001 - the contract distinguishes null
    tags = ArrayField(models.TextField(), default=list, blank=True)
    input = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    result = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    error = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    fence = models.PositiveIntegerField(
        default=0,
        db_default=0,
        help_text="Fencing number: attempts ever claimed. Only its holder may finish the attempt",
    )
    series = models.PositiveSmallIntegerField(
        default=1, db_default=1, help_text="1, and one more for each operator's retry"
    )
    worker_losses = models.PositiveSmallIntegerField(default=0, db_default=0)
    available_at = models.DateTimeField(db_default=Now(), help_text="Not to be dispatched before; a retry's due time")
    published_at = models.DateTimeField(
        null=True, blank=True, help_text="When put into its queue's window; null: not in it"
    )
    turn_at = models.DateTimeField(
        db_default=Now(), help_text="Order within a queue: when it was made, less a span for each step of priority"
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Fails if it has not begun by then")
    concurrency_key = models.CharField(
        max_length=200, default="", db_default="", blank=True, help_text="Whose turn and whose limits it takes"
    )
    unique_key = models.CharField(max_length=200, default="", db_default="", blank=True, help_text="Debounced by this")
    waiting_on = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,
        help_text="Dependencies not yet succeeded, and a person's approval; 1 while it waits for its children",
    )
    has_dependants = models.BooleanField(default=False, db_default=False)
    locked_by = models.CharField(
        max_length=120, default="", db_default="", blank=True, help_text="The worker that runs it"
    )
    node = models.UUIDField(null=True, blank=True, help_text="The worker process that runs it")
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    progress = models.JSONField(
        null=True, blank=True, help_text='{"fraction": 0..1, "message": str} of the running attempt'
    )
    created_by = models.CharField(max_length=160, default="", db_default="", blank=True)
    phase = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often it has made children in this series"
    )
    group = models.ForeignKey(
        "JobGroup", on_delete=models.CASCADE, null=True, blank=True, related_name="children", db_index=False
    )
    """With whom it was made by its parent; null for a job that no job made."""
    child_name = models.CharField(
        max_length=200, default="", db_default="", blank=True, help_text="What its parent calls it"
    )
    pool = models.CharField(
        max_length=7, default="process", db_default="process", help_text="What its handler runs in: process or io"
    )

    short = models.BooleanField(
        default=False, db_default=False, help_text="Whether its handler returns at once: several share a message"
    )

    result_size_bytes = models.PositiveIntegerField(
        null=True, blank=True, help_text="Of a result that is kept apart, in LargeResult; `result` is null then"
    )

    trace = models.CharField(  # noqa: DJ001 - null takes no room, and traces are off as a rule
        max_length=55, null=True, blank=True, help_text="W3C traceparent of whoever made it; null: not traced"
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="job_status_is_known"),
            models.CheckConstraint(condition=Q(pool__in=POOLS), name="job_pool_is_known"),
            models.CheckConstraint(condition=Q(priority__range=(0, 10)), name="job_priority_is_0_to_10"),
            models.CheckConstraint(condition=Q(timeout_sec__range=(1, 3600)), name="job_timeout_is_1_to_3600_sec"),
            models.CheckConstraint(condition=Q(max_attempts__range=(1, 10)), name="job_max_attempts_are_1_to_10"),
            models.CheckConstraint(
                condition=Q(attempts__lte=models.F("max_attempts")), name="job_is_attempted_at_most_max_attempts_times"
            ),
            models.CheckConstraint(
                condition=Q(status__in=sorted(TERMINAL), finished_at__isnull=False)
                | Q(status__in=[Status.QUEUED, Status.RUNNING], finished_at__isnull=True),
                name="job_is_terminal_iff_finished_at",
            ),
            models.CheckConstraint(
                condition=Q(status=Status.RUNNING, lease_expires_at__isnull=False, started_at__isnull=False)
                | (~Q(status=Status.RUNNING) & Q(lease_expires_at__isnull=True, node__isnull=True)),
                name="job_is_running_iff_it_has_a_lease",
            ),
            models.CheckConstraint(
                condition=Q(published_at__isnull=True) | Q(status=Status.QUEUED),
                name="job_is_published_only_while_queued",
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.RUNNING) | Q(waiting_on=0), name="job_runs_only_without_open_dependencies"
            ),
        ]
        indexes = [
            # What may be published next: a queue and pool at a time, in it each type and key, in it by turn.
            models.Index(
                fields=["queue", "pool", "type", "concurrency_key", "turn_at", "id"],
                condition=Q(status=Status.QUEUED, published_at__isnull=True, waiting_on=0), name="job_to_publish",
            ),
            models.Index(
                fields=["type", "concurrency_key", "created_at"],
                condition=Q(status__in=[Status.QUEUED, Status.RUNNING]) & ~Q(concurrency_key=""),
                name="job_open_by_key",
            ),
            models.Index(
                fields=["type", "unique_key", "created_at"], condition=~Q(unique_key=""), name="job_by_unique_key",
            ),
            models.Index(
                fields=["expires_at"], condition=Q(status=Status.QUEUED, expires_at__isnull=False), name="job_expiring",
            ),
            models.Index(
                fields=["queue", "pool", "published_at"], condition=Q(status=Status.QUEUED, published_at__isnull=False),
                name="job_in_window",
            ),
            models.Index(fields=["lease_expires_at"], condition=Q(status=Status.RUNNING), name="job_leased"),
            models.Index(fields=["-created_at", "-id"], name="job_newest"),
            models.Index(fields=["status", "-created_at", "-id"], name="job_by_status"),
            models.Index(fields=["queue", "-created_at", "-id"], name="job_by_queue"),
            models.Index(fields=["type", "-created_at", "-id"], name="job_by_type"),
            GinIndex(fields=["tags"], name="job_by_tag"),
            models.Index(
                KeyTextTransform("code", "error"), F("created_at").desc(), F("id").desc(),
                condition=Q(error__isnull=False), name="job_by_error_code",
            ),
            models.Index(fields=["group", "status"], condition=Q(group__isnull=False), name="job_by_group"),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.type} {self.id}"

    @property
    def is_suspended(self) -> bool:
        """Whether it waits for its children. Its dependencies had all succeeded before it first ran."""
        return self.status == Status.QUEUED and self.waiting_on > 0 and self.phase > 0


class LargeResult(models.Model):
    """A result of more than RESULT_INLINE_MAX_BYTES: read where it is asked for, and in no list or stream."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, related_name="large_result")
    content = models.TextField(help_text="JSON")

    def __str__(self) -> str:
        return f"result of {self.job_id}"


class JobGroup(models.Model):
    """The children that a job made at once, and waits for (docs/adr/0013-job-groups.md)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    parent = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="groups", db_index=False)
    series = models.PositiveSmallIntegerField(help_text="The parent's when it made them")
    phase = models.PositiveSmallIntegerField(help_text="The parent's since then: 1 for its first children")
    depth = models.PositiveSmallIntegerField(help_text="Of the children: 1 for those of a job that no job made")
    on_failure = models.CharField(max_length=7, choices=OnFailure, default=OnFailure.FAIL)
    state = models.JSONField(null=True, blank=True, help_text="What the parent's handler is given back")
    size = models.PositiveSmallIntegerField(help_text="How many children")
    created_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(
        null=True, blank=True, help_text="Since then nobody waits for them, and none is to be cancelled with its parent"
    )

    class Meta:
        ordering = ["parent", "series", "phase"]
        constraints = [
            models.UniqueConstraint(fields=["parent", "series", "phase"], name="group_is_one_phase_of_its_parent"),
            models.CheckConstraint(condition=Q(on_failure__in=OnFailure.values), name="group_on_failure_is_known"),
            models.CheckConstraint(condition=Q(size__range=(1, 1000)), name="group_has_1_to_1000_children"),
            models.CheckConstraint(condition=Q(depth__range=(1, 10)), name="group_is_at_most_10_deep"),
        ]
        indexes = [models.Index(fields=["created_at"], condition=Q(closed_at__isnull=True), name="group_open")]

    def __str__(self) -> str:
        return f"children {self.phase} of {self.parent_id}"


class JobDependency(models.Model):
    """`job` waits until `depends_on` has succeeded."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="dependencies")
    depends_on = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="dependants")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "depends_on"], name="dependency_is_stated_once"),
            models.CheckConstraint(condition=~Q(job=models.F("depends_on")), name="job_does_not_depend_on_itself"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} after {self.depends_on_id}"
