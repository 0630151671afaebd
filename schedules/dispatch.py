"""The tick: make the jobs of the schedules that are due. Run each second; any number may run at once.

One transaction claims a batch of schedules, makes their jobs, moves each to its next due time and notes the run. Row
locks, and in the end a unique (schedule, due time), see to it that no due time makes two jobs; Postgres' clock says
what is due. A schedule at fault is put off for a minute and holds up nobody.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError, OperationalError, transaction

from access import audit
from access.principals import Principal
from jobs import lifecycle, submission
from jobs.models import Job, JobType, Status
from jobs.requests import NewJob
from jobs.storable import dumps
from jobs.submission import Origin
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
from schedules import queries, sql
from schedules.decisions import Decision, Due, NewestJob, decide, fault
from schedules.models import Result, Run, Schedule, Stopped, Trigger

logger = logging.getLogger("schedules.dispatch")

MAX_TICK_SEC = 20.0
"""What a tick has not begun by then it leaves to the next one."""
LOG_MESSAGE = "Job scheduled"
"""The first line of its jobs' logs (contract 4.7)."""
LOOK_BACK = 10
"""Of the newest jobs of a schedule, so many are looked at for one that has not ended."""


@dataclass(frozen=True)
class Tick:
    """What one tick did. late_sec: how long the one that had been due the longest had been; 0 where none was."""

    schedules: int = 0
    jobs: int = 0
    late_sec: float = 0.0
    behind: int = 0
    """Schedules that are due again already, because they catch up."""

    def __add__(self, other: Tick) -> Tick:
        late_sec = max(self.late_sec, other.late_sec)
        return Tick(self.schedules + other.schedules, self.jobs + other.jobs, late_sec, other.behind)


def tick() -> Tick:
    """Batch by batch, until nothing is due."""
    done = Tick()
    if load().scheduler_enabled:
        limit, until = load().scheduler_batch_size, time.monotonic() + MAX_TICK_SEC
        for statement in ("claim_waiting", "claim_due"):
            batch = Tick(schedules=limit)
            while (batch.schedules == limit or batch.behind) and time.monotonic() < until:
                batch = _batch(statement, limit)
                done += batch
    return done


def run_now(schedule_id: str, *, principal: Principal, by: str) -> Job:
    """Make its job at once, whatever its next time and its policies; also of one that is switched off.

    Raises NOT_FOUND, VALIDATION_ERROR (type unavailable, input refused).
    """
    with transaction.atomic():
        schedule = queries.visible_schedule(schedule_id, principal=principal, lock=True)
        due = Due.of(sql.rows("facts_of", {"id": schedule.pk})[0])
        types = submission.types_of([due.type])
        new = submission.checked(due.new_job(), types, principal)
        decision = Decision(due, due.due_at, due.next_run_at, waiting_due_at=due.waiting_due_at)
        origin = _origin(decision, by)
        made = submission.make_all([new], types, created_by=by, principal=principal, origins=[origin])
        job = made[0].job
        Run.objects.create(
            schedule=schedule, due_at=due.now, trigger=Trigger.MANUAL, result=Result.MADE, job_id=job.id, at=due.now
        )
        Schedule.objects.filter(pk=schedule.pk).update(last_run_at=due.now, last_job_id=job.id, last_error=None)
        audit.record(
            actor=by, action="schedule.run", object_type="schedule", object_id=str(schedule.pk),
            details={"job_id": str(job.id)},
        )  # fmt: skip
    return job


@transaction.atomic
def _batch(statement: str, limit: int) -> Tick:
    waited = statement == "claim_waiting"
    rows = sql.rows(statement, {"limit": limit} | ({"look_back": LOOK_BACK} if waited else {}))
    if not rows:
        return Tick()
    schedules = [Due.of(row, waited=waited) for row in rows]
    newest = _newest_jobs(schedules)
    decisions = _with_jobs([_decided(schedule, newest.get(schedule.id, ())) for schedule in schedules])
    _settle(decisions)
    for decision in decisions:
        if decision.job is not None:
            _cancel(decision)
    for decision in decisions:
        if decision.stopped is Stopped.FAILURES:
            _record_pause(decision.schedule)
    late_sec = 0.0 if waited else max((it.now - it.next_run_at).total_seconds() for it in schedules)
    made = sum(decision.job is not None for decision in decisions)
    behind = sum(it.stopped is None and it.next_run_at <= it.schedule.now for it in decisions) if not waited else 0
    return Tick(len(schedules), made, late_sec, behind)


def _newest_jobs(schedules: Sequence[Due]) -> Mapping[UUID, list[NewestJob]]:
    wanted = [
        {"id": str(schedule.id), "most": LOOK_BACK + (schedule.pause_after_failures or 0)}
        for schedule in schedules
        if schedule.looks_back
    ]
    found = defaultdict[UUID, list[NewestJob]](list)
    for row in sql.rows("newest_jobs", {"wanted": dumps(wanted)}) if wanted else ():
        found[row["schedule_id"]].append(NewestJob(row["job_id"], Status(row["status"]), row["at"]))
    return found


def _decided(schedule: Due, newest: Sequence[NewestJob]) -> Decision:
    try:
        return decide(schedule, newest)
    except Exception as error:
        return _unforeseen(schedule, error)


def _unforeseen(schedule: Due, error: Exception) -> Decision:
    """Whatever is wrong with one schedule, or with the handler of its type, is no reason to fail the others."""
    logger.exception("schedule %s", schedule.id)
    return fault(schedule, errors.SCHEDULE_DISPATCH_ERROR, f"{type(error).__name__}: {error}"[:500])


def _with_jobs(decisions: list[Decision]) -> list[Decision]:
    """Make the jobs that are to be made. What cannot be is a fault of its schedule alone."""
    to_make = [n for n, decision in enumerate(decisions) if decision.result is Result.MADE]
    types = submission.types_of({decisions[n].schedule.type for n in to_make}) if to_make else {}
    ready: dict[int, NewJob] = {}
    for n in to_make:
        schedule = decisions[n].schedule
        job_type = types.get(schedule.type)
        try:
            ready[n] = submission.checked(schedule.new_job(), types, None)
        except Problem as problem:
            is_off = job_type is None or not job_type.enabled
            code = errors.SCHEDULE_TYPE_UNAVAILABLE if is_off else errors.SCHEDULE_DISPATCH_ERROR
            decisions[n] = fault(schedule, code, problem.message)
        except Exception as error:
            decisions[n] = _unforeseen(schedule, error)
    if ready:
        _make(ready, decisions, types)
    return decisions


def _make(ready: Mapping[int, NewJob], decisions: list[Decision], types: Mapping[str, JobType]) -> None:
    """All at once; if the database refuses one of them, each by itself."""
    origins = [_origin(decisions[n]) for n in ready]
    try:
        with transaction.atomic():
            made = submission.make_all(list(ready.values()), types, created_by="", origins=origins)
        for n, submitted in zip(ready, made, strict=True):
            decisions[n].job = submitted.job
    except OperationalError:
        raise
    except DatabaseError as error:
        if len(ready) > 1:
            for n, new in ready.items():
                _make({n: new}, decisions, types)
        else:
            for n in ready:
                message = str(error).partition("\n")[0]
                decisions[n] = fault(decisions[n].schedule, errors.SCHEDULE_DISPATCH_ERROR, message)


def _origin(decision: Decision, by: str = "") -> Origin:
    schedule = decision.schedule
    meta = {
        "schedule_id": str(schedule.id), "schedule_name": schedule.name,
        "schedule_next_run_at": iso_ms(decision.next_run_at), "type": schedule.type,
    }  # fmt: skip
    return Origin(by or f"schedule {schedule.id}", LOG_MESSAGE, meta)


def _settle(decisions: Sequence[Decision]) -> None:
    """Write what became of them."""
    moved = [
        {
            "id": str(decision.schedule.id),
            "next_run_at": _text(decision.next_run_at), "due_at": _text(decision.next_due_at),
            "stopped": decision.stopped or "", "waiting_due_at": _text(decision.waiting_due_at),
            "made": int(decision.job is not None), "last_due_at": _text(decision.due_at) if decision.job else None,
            "ran": decision.counts_as_run and decision.result in {Result.MADE, Result.FAILED},
            "last_job_id": decision.job and str(decision.job.id), "last_error": decision.error,
        }
        for decision in decisions
    ]  # fmt: skip
    runs = [
        {
            "ord": n, "schedule_id": str(decision.schedule.id),
            "due_at": _text(decision.due_at), "trigger": Trigger.DUE,
            "result": decision.result, "job_id": decision.job and str(decision.job.id), "error": decision.error,
        }
        for n, decision in enumerate(decisions)
        if decision.result is not None
    ]  # fmt: skip
    sql.rows("settle", {"schedules": dumps(moved), "runs": dumps(runs)})
    for decision in decisions:
        if decision.error is not None:
            logger.warning("schedule %s makes no job: %s", decision.schedule.id, decision.error["message"])


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _cancel(decision: Decision) -> None:
    """The jobs that the new one takes the place of."""
    for job_id in sorted(decision.cancels):
        with suppress(Problem):  # it has just ended
            lifecycle.cancel(job_id, by=f"schedule {decision.schedule.id}", reason=errors.REPLACED)


def _record_pause(schedule: Due) -> None:
    audit.record(
        actor=f"schedule {schedule.id}", action="schedule.stopped", object_type="schedule",
        object_id=str(schedule.id), details={"failures": schedule.pause_after_failures},
    )  # fmt: skip
