"""Job types: the built-in ones, and creating and changing them. Each change is in the audit log."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial
from typing import Annotated, Any, Literal

from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from access import audit
from jobs import bodies, dispatch, queries
from jobs.bodies import Limit, Whole
from jobs.handlers import registry
from jobs.models import Job, JobType, OnLimit, Status
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import JOB_TYPE

Handler = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]

SEED = (
    # name, enabled, handler, timeout in seconds, attempts (contract 6.1)
    ("report.generate", True, "builtin:report.generate", 120, 1),
    ("deploy.run", True, "builtin:deploy.run", 300, 1),
    ("data.fetch", True, "builtin:data.fetch", 60, 1),
    ("data.file_read", True, "builtin:data.file_read", 30, 1),
    ("data.write_file", True, "builtin:data.write_file", 45, 1),
    ("tools.file_search", True, "builtin:tools.file_search", 45, 1),
    ("tools.find_in_files", True, "builtin:tools.find_in_files", 60, 1),
    ("workflow.run", True, "builtin:workflow.run", 60, 1),
    ("code.component.generate", True, "builtin:code.component.generate", 120, 1),
    ("design.frontpage.layout", True, "builtin:design.frontpage.layout", 120, 1),
    ("tool.exec", False, "builtin:tool.exec", 120, 1),
    ("tools.web_search", False, "builtin:tools.web_search", 60, 1),
    ("system.memory.embed.sync", True, "builtin:memory.embed.sync", 60, 3),
    ("codex.chat.generate", False, "builtin:provider.codex.oss.chat", 180, 1),
    ("ai.chat.generate", False, "builtin:provider.openai.chat", 180, 1),
    # Ours.
    ("anthropic.chat.generate", False, "builtin:provider.anthropic.chat", 180, 1),
    ("ollama.chat.generate", False, "builtin:provider.ollama.chat", 180, 1),
    ("system.jobs.bulk", True, "builtin:jobs.bulk", 3600, 5),
    ("system.memory.upkeep", True, "builtin:memory.upkeep", 3600, 3),
    ("mcp.call", False, "builtin:mcp.call", 120, 1),
    ("system.mcp.refresh", True, "builtin:mcp.refresh", 120, 1),
)


_POINTER = re.compile(r"(/([^~/]|~[01])*)+")


def _truthy(value: object) -> bool:
    """JavaScript's truthiness of a JSON value, which the contract (2.7) goes by."""
    return value not in (None, 0, "")


class RetrySettings(BaseModel):
    """The waits between attempts: base × factor^(n-1) seconds, at most max, of which a share `jitter` is random."""

    model_config = ConfigDict(strict=True, extra="forbid")

    base_sec: Seconds = 2.0
    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    max_sec: Seconds = 300.0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2


class RateLimit(BaseModel):
    """At most `limit` attempts begin in any `period_sec` seconds, of the type or of each of its concurrency keys."""

    model_config = ConfigDict(strict=True, extra="forbid")

    limit: Limit
    period_sec: Annotated[Whole, Field(ge=1, le=86_400)] = 60
    per_key: bool = False


class Limits(BaseModel):
    """How many jobs of a type may run, and begin, at once. None: no limit, no key from the input."""

    model_config = ConfigDict(strict=True, extra="forbid")

    max_running: Limit | None = None
    max_running_per_key: Limit | None = None
    key_pointer: Annotated[str, StringConstraints(max_length=200)] | None = None
    on_limit: Literal["wait", "cancel_running", "drop_new"] = "wait"
    rate: RateLimit | None = None

    @field_validator("key_pointer")
    @classmethod
    def _pointer(cls, value: str | None) -> str | None:
        if value and not _POINTER.fullmatch(value):
            raise ValueError("must be a JSON pointer (RFC 6901) into the input, e.g. /repository")
        return value

    def columns(self) -> dict[str, Any]:
        """The limits that were given, as columns of JobType."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if "key_pointer" in given:
            given["key_pointer"] = given["key_pointer"] or ""
        if "rate" in given:
            rate: RateLimit | None = given.pop("rate")
            given["rate_limit"] = rate.limit if rate else None
            given |= {"rate_period_sec": rate.period_sec, "rate_per_key": rate.per_key} if rate else {}
        return given


LIMIT_COLUMNS = frozenset(
    {
        "paused", "max_running", "max_running_per_key", "key_pointer", "on_limit",
        "rate_limit", "rate_period_sec", "rate_per_key",
    }
)  # fmt: skip
"""What decides when jobs of a type run: a change of these acts on what is published."""


class JobTypeChange(BaseModel):
    """What of a job type can be changed. Unknown fields are ignored; an explicit null is refused."""

    model_config = ConfigDict(strict=True, extra="ignore")

    enabled: bool = True
    handler: Handler = ""
    default_timeout_sec: Annotated[Whole, Field(ge=1, le=3600)] = 120
    default_max_attempts: Annotated[Whole, Field(ge=1, le=10)] = 1
    retry: RetrySettings = RetrySettings()
    paused: bool = False
    limits: Limits = Limits()

    @field_validator("enabled", mode="before")
    @classmethod
    def _enabled(cls, value: object) -> object:
        return value if value is None else _truthy(value)

    def columns(self) -> dict[str, Any]:
        """The fields that were given, as columns of JobType."""
        given = self.model_dump(exclude_unset=True)
        policy = given.pop("retry", {})
        limits = self.limits.columns() if given.pop("limits", None) is not None else {}
        return given | {f"retry_{name}": value for name, value in policy.items()} | limits


class NewJobType(JobTypeChange):
    """A job type to create. null for a number means its default."""

    name: str
    handler: Handler

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not JOB_TYPE.fullmatch(value):
            raise ValueError("must be 3 to 80 of a-z 0-9 . _ -")
        return value


def parse_new(body: object) -> NewJobType:
    """The body of POST /v1/job-types. Raises VALIDATION_ERROR."""
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if value is not None}
    return bodies.parse(NewJobType, body)


def parse_change(body: object) -> JobTypeChange:
    """The body of PATCH /v1/job-types/{name}. Raises VALIDATION_ERROR, also when it holds nothing to change."""
    change = bodies.parse(JobTypeChange, body)
    if not change.columns():
        known = ", ".join(JobTypeChange.model_fields)
        raise Problem(errors.VALIDATION_ERROR, f"Nothing to change: send at least one of {known}.")
    return change


def seed() -> int:
    """Insert the built-in types that are missing; existing rows stay as they are. Returns how many were missing."""
    known = set(JobType.objects.values_list("name", flat=True))
    missing = [
        JobType(name=name, enabled=enabled, handler=handler, default_timeout_sec=timeout, default_max_attempts=attempts)
        for name, enabled, handler, timeout, attempts in SEED
        if name not in known
    ]
    JobType.objects.bulk_create(missing, ignore_conflicts=True)
    return len(missing)


def with_input_field(field: str, names: Collection[str]) -> frozenset[str]:
    """Those of the types whose handler's input has the field. One statement, none for no types."""
    found = JobType.objects.filter(name__in=names).values_list("name", "handler") if names else ()
    handlers = {name: registry.get(handler_id) for name, handler_id in found}
    return frozenset(name for name, it in handlers.items() if it is not None and field in it.Input.model_fields)


def create(new: NewJobType, *, by: str) -> JobType:
    """Add a job type. Raises CONFLICT when the name exists, VALIDATION_ERROR for limits that contradict each other."""
    _check_limits(JobType(**new.columns()))
    try:
        with transaction.atomic():
            job_type = JobType.objects.create(**new.columns())
            _audit("job_type.created", job_type, by, new.columns())
    except IntegrityError:
        raise Problem(errors.CONFLICT, f"The job type {new.name!r} exists: PATCH /v1/job-types/{new.name}.") from None
    return job_type


def update(name: str, change: JobTypeChange, *, by: str) -> JobType:
    """Change a job type. What is already as asked is not written and not audited.

    A pause or a limit acts at once: what is handed to the workers and not begun is taken back. Raises NOT_FOUND,
    VALIDATION_ERROR for limits that contradict each other.
    """
    with transaction.atomic():
        job_type = queries.job_type(name, lock=True)
        before = {column: getattr(job_type, column) for column in change.columns()}
        changed = {column: value for column, value in change.columns().items() if value != before[column]}
        if changed:
            for column, value in changed.items():
                setattr(job_type, column, value)
            _check_limits(job_type)
            job_type.updated_at = timezone.now()
            job_type.save(update_fields=[*changed, "updated_at"])
            if "handler" in changed:
                _move_jobs(job_type)
            _audit("job_type.updated", job_type, by, {column: [before[column], new] for column, new in changed.items()})
        if LIMIT_COLUMNS & changed.keys():
            transaction.on_commit(partial(dispatch.renew_windows_of, name))
    return job_type


def _check_limits(job_type: JobType) -> None:
    if job_type.on_limit != OnLimit.WAIT and job_type.max_running_per_key is None:
        message = f"{job_type.on_limit} needs limits.max_running_per_key: it says what is done at that limit"
        raise bodies.faulty("limits.on_limit", message)


def _move_jobs(job_type: JobType) -> None:
    """Its queued jobs go where its handler runs now; the reconciler publishes them there."""
    pool = registry.pool_of(job_type.handler)
    queued = Job.objects.filter(type=job_type.name, status=Status.QUEUED)
    queued.exclude(pool=pool).update(pool=pool, published_at=None)


def _audit(action: str, job_type: JobType, by: str, details: dict[str, Any]) -> None:
    audit.record(actor=by, action=action, object_type="job_type", object_id=job_type.name, details=details)
