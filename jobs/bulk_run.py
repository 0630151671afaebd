"""What a bulk job does: pass over the jobs that its filter finds, cancelling or retrying each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db import connection

from access.principals import Principal
from jobs import lifecycle, queries
from jobs.handlers.base import Interrupted, JobContext
from jobs.handlers.bulk import Action, BulkInput, BulkOutput, Fault
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

UNNAMED: dict[Action, tuple[Status, ...]] = {"cancel": (Status.QUEUED, Status.RUNNING), "retry": (Status.FAILED,)}
"""What an action is for where its filter names no status."""


@dataclass
class _Tally:
    done: int = 0
    skipped: int = 0
    failed: int = 0
    faults: list[Fault] = field(default_factory=list)


class BulkRun:
    """One attempt of a bulk job."""

    def __init__(self, ctx: JobContext[BulkInput]) -> None:
        self.ctx, self.action, self.own = ctx, ctx.input.action, Job.objects.get(pk=ctx.job_id)
        queues = ctx.input.queues
        self.principal = Principal(
            name=self.own.created_by, role="admin", queue_allowlist=None if queues is None else tuple(queues)
        )
        self.by = f"bulk job {self.own.id} of {self.own.created_by}"[:MAX_ACTOR_CHARS]
        self.tally = _noted(self.own)

    def run(self) -> BulkOutput:
        """Pass over the jobs until a pass finds nothing more to do: some have to wait for others' turn."""
        try:
            return self._run()
        except Interrupted:
            # It may have struck in the middle of a statement.
            connection.close()
            raise

    def _run(self) -> BulkOutput:
        found = self.ctx.input.filter
        statuses = UNNAMED[self.action] if found.status is None else (Status(found.status),)
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
    notes = JobLog.of(own).filter(message=NOTE, meta__series=own.series).order_by("-id")
    meta = notes.values_list("meta", flat=True).first()
    return _Tally(done=meta["done"], skipped=meta["skipped"]) if meta else _Tally()
