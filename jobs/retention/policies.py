"""How long jobs and their logs are kept: by type, else by the policy of all types, else by the settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from django.db import transaction
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field

from access import audit
from jobs import bodies
from jobs.bodies import Whole
from jobs.retention.models import ALL_TYPES, MAX_COUNT, MAX_DAYS, RetentionPolicy
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import JOB_TYPE

FIELDS = ("job_days", "failed_days", "job_count", "log_days")
NEVER = datetime(1, 1, 1, tzinfo=UTC)
"""Before everything."""

Days = Annotated[Whole, Field(ge=0, le=MAX_DAYS)]


@dataclass(frozen=True)
class Policy:
    """What holds for one type. Days count from a job's end. 0: for ever; the log: as long as the job; a count: any."""

    job_days: int
    failed_days: int
    job_count: int
    log_days: int


@dataclass(frozen=True)
class Cutoffs:
    """A policy at a moment: what ended before these may go. NEVER: nothing."""

    ended_before: datetime
    failed_before: datetime
    log_ended_before: datetime
    log_failed_before: datetime

    @classmethod
    def of(cls, policy: Policy, now: datetime) -> Cutoffs:
        """The log of a job that may go may go."""
        ended, failed, log = (
            now - timedelta(days=days) if days else NEVER
            for days in (policy.job_days, policy.failed_days, policy.log_days)
        )
        return cls(ended, failed, max(ended, log), max(failed, log))


class PolicyChange(BaseModel):
    """What can be said of a policy. None: nothing, so that the next one holds."""

    model_config = ConfigDict(strict=True, extra="forbid")

    job_days: Days | None = None
    failed_days: Days | None = None
    job_count: Annotated[Whole, Field(ge=0, le=MAX_COUNT)] | None = None
    log_days: Days | None = None


def parse_change(body: object) -> PolicyChange:
    """A request's body. Raises VALIDATION_ERROR, also when it holds nothing to change."""
    change = bodies.parse(PolicyChange, body)
    if not change.model_fields_set:
        raise Problem(errors.VALIDATION_ERROR, f"Nothing to change: send at least one of {', '.join(FIELDS)}.")
    return change


class Policies:
    """All policies, as they are now."""

    def __init__(self) -> None:
        self._rows = {row.type: row for row in RetentionPolicy.objects.all()}

    @property
    def types(self) -> list[str]:
        """The types with a policy of their own, by name."""
        return sorted(self._rows.keys() - {ALL_TYPES})

    def said(self, type_: str) -> dict[str, int | None]:
        """What the row of a type says itself."""
        return {name: getattr(self._rows.get(type_), name, None) for name in FIELDS}

    def of(self, type_: str) -> Policy:
        """What holds for a type."""
        config = load()
        held: dict[str, int | None] = {
            "job_days": config.retention_job_days, "failed_days": None,
            "job_count": config.retention_job_count, "log_days": config.retention_log_days,
        }  # fmt: skip
        for row in (ALL_TYPES, type_):
            said = {name: value for name, value in self.said(row).items() if value is not None}
            if "job_days" in said and "failed_days" not in said:
                # Who says how long jobs are kept says so of failed ones, too.
                held["failed_days"] = None
            held |= said
        if held["failed_days"] is None:
            held["failed_days"] = held["job_days"]
        return Policy(**{name: value or 0 for name, value in held.items()})


def change(type_: str, wanted: PolicyChange, *, by: str) -> Policy:
    """Change a policy, in the audit log too. What is as asked already is not recorded. Raises NOT_FOUND."""
    check(type_)
    with transaction.atomic():
        RetentionPolicy.objects.bulk_create([RetentionPolicy(type=type_)], ignore_conflicts=True)
        row = RetentionPolicy.objects.select_for_update().get(pk=type_)
        before = {column: getattr(row, column) for column in wanted.model_fields_set}
        changed = {column: new for column in before if (new := getattr(wanted, column)) != before[column]}
        if changed:
            for column, new in changed.items():
                setattr(row, column, new)
            row.updated_at = timezone.now()
            row.save(update_fields=[*changed, "updated_at"])
            _audit("updated", type_, by, {column: [before[column], new] for column, new in changed.items()})
    return Policies().of(type_)


def forget(type_: str, *, by: str) -> None:
    """Delete a policy: the next one holds. Raises NOT_FOUND where there is none."""
    check(type_)
    with transaction.atomic():
        row = RetentionPolicy.objects.select_for_update().filter(pk=type_).first()
        if row is None:
            raise Problem(errors.NOT_FOUND, f"{type_!r} has no policy of its own")
        said = {name: value for name in FIELDS if (value := getattr(row, name)) is not None}
        row.delete()
        _audit("deleted", type_, by, said)


def check(type_: str) -> None:
    """Raise NOT_FOUND for what cannot be a type, nor all of them."""
    if type_ != ALL_TYPES and not JOB_TYPE.fullmatch(type_):
        raise Problem(errors.NOT_FOUND, f"{type_!r} cannot be a job type: 3 to 80 of a-z 0-9 . _ -")


def _audit(verb: str, type_: str, by: str, details: dict[str, Any]) -> None:
    audit.record(actor=by, action=f"retention.{verb}", object_type="retention", object_id=type_, details=details)
