"""Jobs and what belongs to them: columns and constraints. What changes a status is `jobs/lifecycle.py`, alone."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now

from jobs.approvals import models as _approvals  # noqa: F401 - Django finds them through this module
from jobs.retention import models as _retention  # noqa: F401 - likewise
from rauskuclaw.wire import POOLS


class Status(models.TextChoices):
    """Where a job is in its life. The last three are terminal: nothing but an operator's retry leaves them."""

    QUEUED = "queued", "Queued"
    """Waits: for its turn, a dependency or `available_at`. The dispatcher and a worker's claim move it on."""
    RUNNING = "running", "Running"
    """A worker holds its lease. The worker moves it on, or the reconciler when the lease expires."""
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self in TERMINAL

    @classmethod
    def open(cls) -> list[Status]:
        """Those that are not terminal."""
        return [cls.QUEUED, cls.RUNNING]


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})


class Outcome(models.TextChoices):
    """How one attempt ended."""

    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    TIMED_OUT = "timed_out", "Timed out"
    CANCELLED = "cancelled", "Cancelled"
    LOST = "lost", "Worker lost"
    SUSPENDED = "suspended", "Waits for children"
    """It made children; another attempt goes on when they have ended. Takes none of `max_attempts`."""


class OnLimit(models.TextChoices):
    """What a new job does when as many jobs of its type and concurrency key exist as may run at once."""

    WAIT = "wait", "Wait for its turn"
    CANCEL_RUNNING = "cancel_running", "Cancel the oldest of them"
    DROP_NEW = "drop_new", "Is cancelled itself"


class OnFailure(models.TextChoices):
    """What a job does when one of the children it waits for fails for good or is cancelled."""

    FAIL = "fail", "Fails, and its other children are cancelled"
    COLLECT = "collect", "Goes on when all have ended"


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


BEAT_NODE = uuid.UUID(int=0)
"""The node row that stands for beat and the system worker."""


class Node(models.Model):
    """A live process of the stack that says so every few seconds: a job worker, the system worker or beat."""

    class Kind(models.TextChoices):
        WORKER = "worker", "Job worker"
        BEAT = "beat", "Beat and system worker"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    kind = models.CharField(max_length=6, choices=Kind)
    name = models.CharField(max_length=120)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    pid_created_at = models.FloatField(help_text="The process's start (epoch s): tells a reused pid apart")
    pool = models.CharField(
        max_length=7, default="process", db_default="process", help_text="A worker's: process or io"
    )
    queues = ArrayField(models.CharField(max_length=80), default=list)
    concurrency = models.PositiveIntegerField(default=0)
    version = models.CharField(max_length=40)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["kind", "name"]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
