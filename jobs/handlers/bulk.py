"""`jobs.bulk`: cancels or retries the jobs that a filter finds. `jobs/bulk.py` makes its jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

from django.db import connection
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from access.principals import Principal
from jobs import lifecycle, queries
from jobs.handlers.base import Handler, Interrupted, JobContext
from jobs.lifecycle import RULES
from jobs.models import Job, JobLog, Status
from jobs.queries import JobFilter, Position
from rauskuclaw.errors import Problem

BATCH = 100
"""Jobs between two notes of how far it is."""
NOTE = "Worked through a batch"
NAMED_FAULTS = 20
COUNTED_JOBS = 100_000
"""Where counting what is to do stops."""
MAX_ACTOR_CHARS = 160

Action = Literal["cancel", "retry"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Moment = Annotated[datetime, AfterValidator(lambda it: it if it.tzinfo else it.replace(tzinfo=UTC))]

STATUSES: dict[Action, tuple[Status, ...]] = {
    "cancel": (Status.QUEUED, Status.RUNNING),
    "retry": (Status.FAILED,),
}
"""What an action is for where its filter names no status."""
EVENTS: dict[Action, str] = {"cancel": "cancel", "retry": "reopen"}


class BulkFilter(BaseModel):
    """Which jobs: the filters of the list."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["queued", "running", "failed", "cancelled"] | None = None
    type: Text | None = None
    queue: Text | None = None
    tag: Text | None = None
    q: Text | None = Field(None, description="Searches type, tags and input for this text.")
    error_code: Text | None = None
    since: Moment | None = Field(None, description="Created at or after.")
    until: Moment | None = Field(None, description="Created before.")

    @model_validator(mode="after")
    def _narrows(self) -> BulkFilter:
        if not self.model_dump(exclude_none=True):
            raise ValueError('needs at least one field; {"status": "queued"} is every queued job')
        return self


class BulkInput(BaseModel):
    """What to do with which jobs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"action": "retry", "filter": {"error_code": "UPSTREAM_ERROR"}}]},
    )

    action: Action = Field(description="What is done to each of the jobs.")
    filter: BulkFilter = Field(description="Which jobs: at least one of its fields.")
    queues: list[str] | None = Field(None, description="Only jobs on these queues; null: on any.")

    @field_validator("filter")
    @classmethod
    def _fits_the_action(cls, value: BulkFilter, info: ValidationInfo) -> BulkFilter:
        if "action" in info.data and (fault := status_fault(info.data["action"], value)):
            raise ValueError(fault)
        return value


def status_fault(action: Action, wanted: BulkFilter) -> str | None:
    """What is wrong with the status that a filter names, if anything: an action needs jobs it can be done to."""
    allowed = RULES[EVENTS[action]].sources
    if wanted.status is None or wanted.status in allowed:
        return None
    return f"only {' or '.join(sorted(allowed))} jobs can be the object of {action}"


class Fault(BaseModel):
    """A job that could not be cancelled or retried, and why."""

    job_id: str
    message: str


class BulkOutput(BaseModel):
    """What became of the jobs. After a kill, up to a batch of `done` may be missing: those done and not yet noted."""

    action: Action
    done: int
    skipped: int = Field(description="Jobs that had moved on by themselves when their turn came.")
    failed: int = Field(description="Jobs that could not be retried; `faults` names the first of them.")
    faults: list[Fault] = []


@dataclass
class _Tally:
    done: int = 0
    skipped: int = 0
    failed: int = 0
    faults: list[Fault] = field(default_factory=list)


class JobsBulk(Handler[BulkInput, BulkOutput]):
    """Cancels or retries every job that its filter finds and that is older than its own.

    What is done no longer fits the filter, and what was made or failed later never does. So a second attempt goes on
    where the first was killed, and nothing is done twice.
    """

    id = "builtin:jobs.bulk"
    Input = BulkInput
    Output = BulkOutput
    reaches_all_queues = True

    def run(self, ctx: JobContext[BulkInput]) -> BulkOutput:
        """Pass over the jobs until a pass finds nothing more to do: some have to wait for others' turn."""
        try:
            return _Run(ctx).run()
        except Interrupted:
            # It may have struck in the middle of a statement.
            connection.close()
            raise


class _Run:
    def __init__(self, ctx: JobContext[BulkInput]) -> None:
        self.ctx, self.action, self.own = ctx, ctx.input.action, Job.objects.get(pk=ctx.job_id)
        queues = ctx.input.queues
        self.principal = Principal(
            name=self.own.created_by, role="admin", queue_allowlist=None if queues is None else tuple(queues)
        )
        self.by = f"bulk job {self.own.id} of {self.own.created_by}"[:MAX_ACTOR_CHARS]
        self.tally = _noted(self.own)

    def run(self) -> BulkOutput:
        found = self.ctx.input.filter
        statuses = STATUSES[self.action] if found.status is None else (Status(found.status),)
        filters = [self._filter(status) for status in statuses]
        to_do = sum(self._count(wanted) for wanted in filters) + self.tally.done
        tally, done_before = self.tally, -1
        while tally.done > done_before:
            done_before, tally.failed, tally.faults = tally.done, 0, []
            for wanted in filters:
                for batch in self._batches(wanted):
                    for job in batch:
                        self._act_on(job)
                    self._note(to_do)
        return BulkOutput(
            action=self.action, done=tally.done, skipped=tally.skipped, failed=tally.failed, faults=tally.faults
        )

    def _filter(self, status: Status) -> JobFilter:
        wanted = self.ctx.input.filter
        return JobFilter(
            status=status, type=wanted.type, queue=wanted.queue, tag=wanted.tag, text=wanted.q,
            error_code=wanted.error_code, since=wanted.since, until=wanted.until,
            # What is retried and fails again is not retried again.
            ended_by=self.own.created_at if self.action == "retry" else None,
        )  # fmt: skip

    def _count(self, wanted: JobFilter) -> int:
        return queries.count_jobs(wanted, principal=self.principal, after=Position.of(self.own), most=COUNTED_JOBS)

    def _batches(self, wanted: JobFilter) -> Iterator[list[Job]]:
        """The jobs that are older than this one, newest first."""
        place: Position | None = Position.of(self.own)
        while place is not None:
            page = queries.job_page(
                wanted, principal=self.principal, limit=BATCH, after=place, only=("id", "status", "created_at")
            )
            if page.jobs:
                yield list(page.jobs)
            place = page.next

    def _act_on(self, job: Job) -> None:
        try:
            if self.action == "cancel":
                lifecycle.cancel(job.id, by=self.by)
            else:
                lifecycle.reopen(job.id, by=self.by)
        except Problem as problem:
            if Job.objects.filter(pk=job.pk, status=job.status).exists():
                self.tally.failed += 1
                if len(self.tally.faults) < NAMED_FAULTS:
                    self.tally.faults.append(Fault(job_id=str(job.id), message=problem.message))
            else:
                self.tally.skipped += 1
        else:
            self.tally.done += 1

    def _note(self, to_do: int) -> None:
        tally = self.tally
        self.ctx.log(NOTE, done=tally.done, skipped=tally.skipped, failed=tally.failed, series=self.own.series)
        told = f"{tally.done} done, {tally.skipped} skipped, {tally.failed} failed"
        self.ctx.progress((tally.done + tally.skipped + tally.failed) / max(1, to_do), told)


def _noted(own: Job) -> _Tally:
    """What earlier attempts of the same series have counted."""
    notes = JobLog.objects.filter(job=own, message=NOTE, meta__series=own.series).order_by("-id")
    meta = notes.values_list("meta", flat=True).first()
    return _Tally(done=meta["done"], skipped=meta["skipped"]) if meta else _Tally()
