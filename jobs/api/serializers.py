"""The shapes of requests and answers, for the OpenAPI document. What is sent comes from `jobs/representation.py`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field, inline_serializer
from rest_framework import serializers

from jobs import flow
from jobs.bodies import MAX_LIMIT
from jobs.models import CallbackDelivery, JobLog, OnLimit, Outcome, Status

TIMESTAMP = "UTC, 3 fractional digits and Z."


def answer(name: str, **fields: serializers.Field[Any, Any, Any, Any]) -> serializers.Serializer[Any]:
    """The success envelope: `ok` and the route's own keys."""
    return inline_serializer(name, {"ok": serializers.BooleanField(default=True), **fields})


def page(name: str, of: str, **fields: serializers.Field[Any, Any, Any, Any]) -> serializers.Serializer[Any]:
    """A page of a list: the envelope, the route's own keys, and what every page says of itself. of: of what."""
    return answer(
        name,
        **fields,
        count=serializers.IntegerField(help_text=f"{of} on this page."),
        next_cursor=serializers.CharField(allow_null=True, help_text="null after the last page."),
    )


class ErrorDetail(serializers.Serializer[Any]):
    """What went wrong: a stable code, a message that says what to do, and details where there are any."""

    code = serializers.CharField(help_text="Stable; listed in docs/errors.md.")
    message = serializers.CharField()
    details = serializers.JSONField(required=False)


class ErrorAnswer(serializers.Serializer[Any]):
    """The error envelope."""

    ok = serializers.BooleanField(default=False)
    error = ErrorDetail()


class JobError(serializers.Serializer[Any]):
    """How the last attempt failed."""

    message = serializers.CharField()
    code = serializers.CharField(allow_null=True)
    details = serializers.JSONField(allow_null=True)
    at = serializers.DateTimeField()


class Job(serializers.Serializer[Any]):
    """A job: exactly these 15 keys, in this order."""

    id = serializers.UUIDField()
    type = serializers.CharField()
    queue = serializers.CharField()
    status = serializers.ChoiceField(choices=Status.choices)
    priority = serializers.IntegerField(min_value=0, max_value=10, help_text="Higher first.")
    timeout_sec = serializers.IntegerField(min_value=1, max_value=3600)
    attempts = serializers.IntegerField(help_text="Attempts begun in this series.")
    max_attempts = serializers.IntegerField(min_value=1, max_value=10)
    callback_url = serializers.CharField(allow_null=True)
    tags = serializers.ListField(child=serializers.CharField())
    input = serializers.JSONField(allow_null=True)
    result = serializers.JSONField(allow_null=True)
    error = JobError(allow_null=True)
    created_at = serializers.DateTimeField(help_text=TIMESTAMP)
    updated_at = serializers.DateTimeField(help_text=TIMESTAMP)


class Unique(serializers.Serializer[Any]):
    """Debouncing: of the jobs of one type and key made within a window, one runs."""

    key = serializers.CharField(max_length=200)
    window_sec = serializers.IntegerField(min_value=1, max_value=flow.MAX_WINDOW_SEC)
    policy = serializers.ChoiceField(
        choices=["keep", "replace"],
        default="keep",
        help_text="keep: the first, which later requests are answered with (`idempotent` true). replace: the last,"
        " `window_sec` after it was made; those before it that have not begun are cancelled.",
    )


class NewJob(serializers.Serializer[Any]):
    """A job to create. Unknown fields are ignored; null for a number means its default."""

    type = serializers.CharField(help_text="Name of an enabled job type.")
    queue = serializers.CharField(default="default", help_text="1 to 80 of a-z 0-9 . _ : -")
    input = serializers.JSONField(required=False, allow_null=True, help_text="Checked against the type's input_schema.")
    priority = serializers.IntegerField(min_value=0, max_value=10, default=5, allow_null=True)
    timeout_sec = serializers.IntegerField(
        min_value=1,
        max_value=3600,
        required=False,
        allow_null=True,
        help_text="Default: the type's default_timeout_sec.",
    )
    max_attempts = serializers.IntegerField(
        min_value=1,
        max_value=10,
        required=False,
        allow_null=True,
        help_text="Default: the type's default_max_attempts.",
    )
    callback_url = serializers.CharField(required=False, allow_null=True, help_text="Called when the job has ended.")
    tags = serializers.ListField(child=serializers.CharField(), default=list, help_text="The first 20 are kept.")
    concurrency_key = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=flow.MAX_KEY_CHARS,
        help_text="Whose turn and whose limits the job takes. Default: what the type's limits.key_pointer finds.",
    )
    expires_in_sec = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=flow.MAX_EXPIRES_IN_SEC,
        help_text="The job fails with JOB_EXPIRED when it has not begun by then.",
    )
    unique = Unique(required=False, allow_null=True)


class NewBatch(serializers.Serializer[Any]):
    """Jobs to create in one transaction."""

    jobs = serializers.ListField(child=NewJob(), min_length=1, max_length=1000)


class BatchItem(serializers.Serializer[Any]):
    """What became of one item: `job` when `ok`, otherwise `error`."""

    ok = serializers.BooleanField()
    job = Job(required=False)
    error = ErrorDetail(required=False)


class BulkFilter(serializers.Serializer[Any]):
    """The filters of the list; at least one."""

    status = serializers.ChoiceField(
        choices=["queued", "running", "failed", "cancelled"],
        required=False,
        help_text="Default: for cancel queued and running, for retry failed.",
    )
    type = serializers.CharField(max_length=200, required=False)
    queue = serializers.CharField(max_length=200, required=False)
    tag = serializers.CharField(max_length=200, required=False)
    q = serializers.CharField(max_length=200, required=False)
    error_code = serializers.CharField(max_length=200, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class Bulk(serializers.Serializer[Any]):
    """What to do with which jobs."""

    action = serializers.ChoiceField(choices=["cancel", "retry"])
    filter = BulkFilter()
    queue = serializers.CharField(
        required=False,
        help_text="Where the bulk job itself runs. Default: a queue of this key that has a worker and is not paused.",
    )


class FailureGroup(serializers.Serializer[Any]):
    """Failed jobs of one type and error code."""

    type = serializers.CharField()
    error_code = serializers.CharField(allow_null=True)
    count = serializers.IntegerField()
    last_failed_at = serializers.DateTimeField()


class DevJob(serializers.Serializer[Any]):
    """A job for trying things out; neither type nor input is checked."""

    type = serializers.CharField(default="test")
    queue = serializers.CharField(default="default")


class JobLinks(serializers.Serializer[Any]):
    """Where to go from a job."""

    logs = serializers.URLField()
    attempts = serializers.URLField()
    explain = serializers.URLField()
    callbacks = serializers.URLField()
    stream = serializers.URLField()
    tree = serializers.URLField()


class Progress(serializers.Serializer[Any]):
    """How far the running attempt says it is."""

    fraction = serializers.FloatField(min_value=0, max_value=1)
    message = serializers.CharField(allow_blank=True)


class JobFlow(serializers.Serializer[Any]):
    """What was said of the job's turn."""

    concurrency_key = serializers.CharField(allow_null=True)
    unique_key = serializers.CharField(allow_null=True)
    available_at = serializers.DateTimeField(help_text="It does not run before; of a retry, when it is due.")
    expires_at = serializers.DateTimeField(allow_null=True)
    in_window_since = serializers.DateTimeField(
        allow_null=True, help_text="When it was handed to the workers; null before that and once it runs."
    )


class LogLine(serializers.Serializer[Any]):
    """A line of a job's log."""

    id = serializers.IntegerField(help_text="Grows within a job; the event id of the live stream.")
    ts = serializers.DateTimeField(help_text=TIMESTAMP)
    level = serializers.ChoiceField(choices=JobLog.Level.choices)
    message = serializers.CharField()
    meta = serializers.JSONField(allow_null=True)


class Attempt(serializers.Serializer[Any]):
    """One try at a job."""

    number = serializers.IntegerField(help_text="Unique for the job for ever.")
    series = serializers.IntegerField(help_text="1, and one more for each retry by an operator.")
    ordinal = serializers.IntegerField(help_text="Counts within the series.")
    outcome = serializers.ChoiceField(choices=Outcome.choices)
    worker = serializers.CharField()
    error = JobError(allow_null=True)
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    waited_ms = serializers.IntegerField(help_text="From due to begun.")
    ran_ms = serializers.IntegerField(allow_null=True)


@extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/JobNode"}})
class _Children(serializers.ListField):
    """Nodes of their own."""


class JobNode(serializers.Serializer[Any]):
    """A job in a tree."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True, help_text="What its parent calls it.")
    type = serializers.CharField()
    queue = serializers.CharField()
    status = serializers.ChoiceField(choices=Status.choices)
    error_code = serializers.CharField(allow_null=True)
    series = serializers.IntegerField(allow_null=True, help_text="The parent's when it made this; null at the root.")
    phase = serializers.IntegerField(allow_null=True, help_text="1 for what a parent made first in its series.")
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    child_count = serializers.IntegerField(help_text="How many it made; more than are in `children` in a cut tree.")
    children = _Children()


class Reason(serializers.Serializer[Any]):
    """One fact that explains a job's state, and what to do about it."""

    code = serializers.CharField(help_text="Stable; listed in docs/errors.md.")
    message = serializers.CharField()
    remedy = serializers.CharField()
    details = serializers.JSONField(required=False)


class Delivery(serializers.Serializer[Any]):
    """One callback of one end of a job."""

    id = serializers.IntegerField()
    job_id = serializers.UUIDField()
    series = serializers.IntegerField(help_text="Which end of the job: see attempts.")
    url = serializers.CharField()
    state = serializers.ChoiceField(choices=CallbackDelivery.State.choices)
    tries = serializers.IntegerField()
    next_try_at = serializers.DateTimeField(allow_null=True)
    last_status = serializers.IntegerField(allow_null=True, help_text="HTTP status of the last answer.")
    last_error = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    delivered_at = serializers.DateTimeField(allow_null=True)


class RetrySettings(serializers.Serializer[Any]):
    """The waits between attempts: base × factor^(n-1), at most max, of which a share `jitter` is random."""

    base_sec = serializers.FloatField(min_value=0, max_value=86_400, default=2.0)
    factor = serializers.FloatField(min_value=1, max_value=100, default=2.0)
    max_sec = serializers.FloatField(min_value=0, max_value=86_400, default=300.0)
    jitter = serializers.FloatField(min_value=0, max_value=1, default=0.2)


class RateLimit(serializers.Serializer[Any]):
    """At most `limit` attempts begin in any `period_sec` seconds."""

    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT)
    period_sec = serializers.IntegerField(min_value=1, max_value=86_400, default=60)
    per_key = serializers.BooleanField(default=False, help_text="Whether each concurrency key has its own.")


class Limits(serializers.Serializer[Any]):
    """How many jobs of the type may run, and begin. null: no limit."""

    max_running = serializers.IntegerField(
        min_value=1, max_value=MAX_LIMIT, allow_null=True, default=None, help_text="At once, on all queues."
    )
    max_running_per_key = serializers.IntegerField(
        min_value=1, max_value=MAX_LIMIT, allow_null=True, default=None, help_text="At once, of one concurrency key."
    )
    key_pointer = serializers.CharField(
        max_length=200,
        allow_null=True,
        default=None,
        help_text="JSON pointer (RFC 6901) into the input whose value is the concurrency key, e.g. /repository",
    )
    on_limit = serializers.ChoiceField(
        choices=OnLimit.choices,
        default=OnLimit.WAIT,
        help_text="What a new job does when as many of its key exist as may run; other than wait needs"
        " max_running_per_key.",
    )
    rate = RateLimit(allow_null=True, default=None)


class JobTypeChange(serializers.Serializer[Any]):
    """What of a job type can be changed; at least one field. Of `retry` and `limits`, the fields that are sent."""

    enabled = serializers.BooleanField(default=True)
    handler = serializers.CharField(max_length=200, required=False)
    default_timeout_sec = serializers.IntegerField(min_value=1, max_value=3600, default=120)
    default_max_attempts = serializers.IntegerField(min_value=1, max_value=10, default=1)
    retry = RetrySettings(required=False)
    paused = serializers.BooleanField(default=False, help_text="Its jobs wait; those that run go on.")
    limits = Limits(required=False)


class NewJobType(JobTypeChange):
    """A job type to create."""

    name = serializers.CharField(help_text="3 to 80 of a-z 0-9 . _ -")
    handler = serializers.CharField(max_length=200, help_text="Id of a handler, e.g. builtin:report.generate")


class Needs(serializers.Serializer[Any]):
    """What a handler reaches beyond its own computation."""

    network = serializers.BooleanField()
    shell = serializers.BooleanField()
    files = serializers.BooleanField()


class JobType(serializers.Serializer[Any]):
    """A kind of job."""

    name = serializers.CharField()
    enabled = serializers.BooleanField()
    handler = serializers.CharField()
    default_timeout_sec = serializers.IntegerField()
    default_max_attempts = serializers.IntegerField()
    retry = RetrySettings()
    paused = serializers.BooleanField()
    limits = Limits()
    handler_installed = serializers.BooleanField(help_text="False: its jobs fail with HANDLER_UNKNOWN.")
    needs = Needs(allow_null=True)
    input_schema = serializers.JSONField(allow_null=True, help_text="JSON Schema; null while the handler is missing.")
    output_schema = serializers.JSONField(allow_null=True)


class QueueChange(serializers.Serializer[Any]):
    """What can be said of a queue; at least one field."""

    paused = serializers.BooleanField(default=False, help_text="Its jobs wait; those that run go on.")
    max_running = serializers.IntegerField(
        min_value=1, max_value=MAX_LIMIT, allow_null=True, default=None, help_text="Jobs at once; null: no limit."
    )


class Queue(serializers.Serializer[Any]):
    """A queue and how busy it is. Jobs that wait for dependencies are not counted."""

    name = serializers.CharField()
    paused = serializers.BooleanField()
    max_running = serializers.IntegerField(allow_null=True)
    waiting = serializers.IntegerField(help_text="Due jobs that are not handed to the workers yet.")
    due_later = serializers.IntegerField(help_text="Queued jobs that are not due yet: retries and debounced ones.")
    more_waiting = serializers.BooleanField(help_text="Whether counting these two stopped at 10,000.")
    oldest_waiting_sec = serializers.FloatField(allow_null=True, help_text="How long the oldest of them has been due.")
    in_window = serializers.IntegerField(help_text="Jobs handed to the workers that none has begun.")
    running = serializers.IntegerField()
    workers = serializers.IntegerField(help_text="Live workers of the queue.")
    slots = serializers.IntegerField(help_text="Jobs that these can run at once.")
