"""What becomes of one claimed schedule: which due time runs, by its policies, and when it is due next.

Nothing here reads or changes anything: `dispatch.py` does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self
from uuid import UUID

from jobs import flow
from jobs.models import Job, Status
from jobs.requests import NewJob
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms
from schedules.cadence import Cadence, ZoneUnknown
from schedules.cron import CronInvalid
from schedules.models import Missed, Overlap, Result, Stopped

RETRY = timedelta(seconds=60)
"""After this a schedule at fault is tried again (contract 9)."""
ON_TIME = timedelta(seconds=60)
"""A due time that is later than this has been missed."""


class NewestJob(NamedTuple):
    """One of the newest jobs of a schedule. at: when it was made."""

    id: UUID
    status: Status
    at: datetime


@dataclass(frozen=True)
class Due:
    """A claimed schedule: the columns that a tick needs. now: Postgres' clock."""

    id: UUID
    name: str | None
    type: str
    queue: str
    input: Any
    priority: int
    timeout_sec: int
    max_attempts: int
    tags: list[str]
    callback_url: str | None
    flow: dict[str, Any]
    interval_sec: int | None
    cron: str | None
    time_zone: str
    due_at: datetime
    last_due_at: datetime | None
    waiting_due_at: datetime | None
    ends_at: datetime | None
    jitter_sec: int
    missed: str
    catch_up_max: int
    overlap: str
    pause_after_failures: int | None
    failures_since: datetime
    max_runs: int | None
    runs_made: int
    next_run_at: datetime
    now: datetime
    waited: bool = False
    """Whether it was claimed for the due time that waits, and not for the next one."""

    @classmethod
    def of(cls, row: dict[str, Any], *, waited: bool = False) -> Self:
        """From a row of claim_due.sql or claim_waiting.sql."""
        for column in ("input", "flow"):
            if row[column] is not None:
                row[column] = json.loads(row[column])
        return cls(**row, waited=waited)

    @property
    def cadence(self) -> Cadence:
        """When it is due."""
        return Cadence(self.interval_sec, self.cron, self.time_zone)

    @property
    def looks_back(self) -> bool:
        """Whether its earlier jobs matter."""
        return not self.waited and (self.overlap != Overlap.ALLOW or self.pause_after_failures is not None)

    def new_job(self) -> NewJob:
        """The job that a due time makes."""
        return NewJob(
            type=self.type, queue=self.queue, input=self.input, priority=self.priority, timeout_sec=self.timeout_sec,
            max_attempts=self.max_attempts, callback_url=self.callback_url, tags=tuple(self.tags),
            flow=flow.parse(self.flow, []),
        )  # fmt: skip


@dataclass
class Decision:
    """What becomes of a schedule. result None: no due time was dealt with. What makes its job fills in `job`."""

    schedule: Due
    next_due_at: datetime
    next_run_at: datetime
    due_at: datetime | None = None
    result: Result | None = None
    stopped: Stopped | None = None
    waiting_due_at: datetime | None = None
    cancels: Sequence[UUID] = ()
    job: Job | None = None
    error: dict[str, Any] | None = None
    counts_as_run: bool = True
    """Whether last_run_at is to be moved (contract 9: also where the job could not be made)."""


def decide(schedule: Due, newest: Sequence[NewestJob]) -> Decision:
    """newest: its newest jobs, the last one first; needed where `looks_back`."""
    if schedule.waited:
        return Decision(
            schedule, schedule.due_at, schedule.next_run_at, due_at=schedule.waiting_due_at, result=Result.MADE
        )
    if (stopped := _stops(schedule, newest)) is not None:
        return _unmoved(schedule, stopped=stopped)
    try:
        decision = _by_missed(schedule)
    except (CronInvalid, ZoneUnknown) as error:
        return fault(schedule, errors.SCHEDULE_CRON_INVALID, str(error))
    if decision.result is Result.MADE:
        _by_overlap(decision, [job.id for job in newest if job.status in Status.open()])
    if decision.stopped is None:
        promised = schedule.runs_made + (decision.result in {Result.MADE, Result.WAITING})
        promised += schedule.waiting_due_at is not None
        if schedule.max_runs is not None and promised >= schedule.max_runs:
            decision.stopped = Stopped.MAX_RUNS
    return decision


def fault(schedule: Due, code: errors.Code, message: str) -> Decision:
    """No job: the due time is tried again in a minute."""
    error = {"code": code.name, "message": message, "at": iso_ms(schedule.now)}
    due_at = schedule.waiting_due_at if schedule.waited and schedule.waiting_due_at else schedule.due_at
    return Decision(
        schedule, due_at, schedule.now + RETRY, due_at=due_at, result=Result.FAILED, error=error,
        waiting_due_at=None if schedule.waited else schedule.waiting_due_at,
        counts_as_run=code is not errors.SCHEDULE_CRON_INVALID,
    )  # fmt: skip


def _unmoved(schedule: Due, stopped: Stopped) -> Decision:
    return Decision(
        schedule, schedule.due_at, schedule.next_run_at, stopped=stopped, waiting_due_at=schedule.waiting_due_at
    )


def _stops(schedule: Due, newest: Sequence[NewestJob]) -> Stopped | None:
    if schedule.ends_at is not None and schedule.due_at > schedule.ends_at:
        return Stopped.ENDED
    if schedule.max_runs is not None and schedule.runs_made >= schedule.max_runs:
        return Stopped.MAX_RUNS
    if (most := schedule.pause_after_failures) is not None:
        # Cancelled ones say nothing of whether the work can be done.
        ended = [job for job in newest if job.at > schedule.failures_since and job.status in _TELLING][:most]
        if len(ended) == most and all(job.status == Status.FAILED for job in ended):
            return Stopped.FAILURES
    return None


_TELLING = frozenset({Status.SUCCEEDED, Status.FAILED})


def _by_missed(schedule: Due) -> Decision:
    """Which of the due times up to now runs, and what is due next. Raises CronInvalid, ZoneUnknown."""
    cadence, now = schedule.cadence, schedule.now
    runs_at = schedule.due_at
    if schedule.missed == Missed.CATCH_UP:
        runs_at, *rest = cadence.latest(schedule.due_at, _until(schedule), schedule.catch_up_max)
        following: datetime | None = rest[0] if rest else cadence.after(runs_at)
    elif schedule.missed == Missed.SKIP:
        runs_at = cadence.latest(schedule.due_at, _until(schedule), 1)[0]
        following = cadence.after(runs_at)
    else:
        # From the claim time, so that missed times come to one run (contract 9). With jitter an interval would drift
        # by half of it each time.
        following = cadence.after(schedule.due_at) if schedule.jitter_sec and schedule.interval_sec else None
        if following is None or following <= now:
            following = cadence.after(now)
    result = Result.MADE
    if schedule.last_due_at is not None and runs_at <= schedule.last_due_at:
        # It has its job: the clock was set back, or the schedule was changed and came to the same time again.
        return _moved(schedule, cadence.after(max(now, schedule.last_due_at)), due_at=None, result=None)
    if schedule.missed == Missed.SKIP and now - runs_at > ON_TIME + timedelta(seconds=schedule.jitter_sec):
        result = Result.MISSED
    return _moved(schedule, following, due_at=runs_at, result=result)


def _until(schedule: Due) -> datetime:
    """Up to when due times count."""
    return schedule.now if schedule.ends_at is None else min(schedule.now, schedule.ends_at)


def _moved(schedule: Due, following: datetime | None, *, due_at: datetime | None, result: Result | None) -> Decision:
    if following is None or (schedule.ends_at is not None and following > schedule.ends_at):
        ended = _unmoved(schedule, Stopped.ENDED)
        ended.due_at, ended.result = due_at, result
        return ended
    run_at = following + jitter(schedule.jitter_sec) if following > schedule.now else following
    return Decision(schedule, following, run_at, due_at, result, waiting_due_at=schedule.waiting_due_at)


def jitter(most_sec: int) -> timedelta:
    """Up to so many seconds."""
    return timedelta(seconds=random.uniform(0, most_sec))  # noqa: S311 - spreads load, hides nothing


def _by_overlap(decision: Decision, open_jobs: Sequence[UUID]) -> None:
    schedule = decision.schedule
    if schedule.overlap == Overlap.CANCEL_RUNNING:
        decision.cancels = open_jobs
    elif schedule.waiting_due_at is not None or (schedule.overlap == Overlap.SKIP and open_jobs):
        decision.result = Result.OVERLAPPED
    elif schedule.overlap == Overlap.QUEUE_ONE and open_jobs:
        decision.result, decision.waiting_due_at = Result.WAITING, decision.due_at
