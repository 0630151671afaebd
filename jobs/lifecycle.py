"""The state machine: every write of a job's status, and nothing else. docs/architecture.md draws it.

Each transition is one conditional UPDATE that carries its log line, its attempt row and its callback's outbox row in
the same statement (jobs/sql/). What Postgres does not match does not happen: a stale attempt changes nothing.
"""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple, ParamSpec

from django.db import transaction

from access import audit
from jobs import dispatch, live
from jobs.approvals.models import Approval, ApprovalState
from jobs.models import Job, JobDependency, JobGroup, Status
from jobs.sql import jobs, rows, rows_together
from jobs.storable import dumps, error_json, log_line
from jobs.transitions import LAST, Claim, Claimable, Finish, Group, claim_params, end_params
from rauskuclaw import errors
from rauskuclaw.errors import Problem

P = ParamSpec("P")


class Rule(NamedTuple):
    """From which states an event may happen, and which states it may lead to."""

    sources: frozenset[Status]
    targets: frozenset[Status]


RULES: dict[str, Rule] = {
    # event:            allowed from                                       to
    "claim": Rule(frozenset({Status.QUEUED}), frozenset({Status.RUNNING})),
    "succeed": Rule(frozenset({Status.RUNNING}), frozenset({Status.SUCCEEDED})),
    "fail": Rule(frozenset({Status.RUNNING}), frozenset({Status.QUEUED, Status.FAILED})),
    "give_back": Rule(frozenset({Status.RUNNING}), frozenset({Status.QUEUED})),
    "lose": Rule(frozenset({Status.RUNNING}), frozenset({Status.QUEUED, Status.FAILED})),
    "suspend": Rule(frozenset({Status.RUNNING}), frozenset({Status.QUEUED})),
    "resume": Rule(frozenset({Status.QUEUED}), frozenset({Status.QUEUED, Status.FAILED})),
    "block": Rule(frozenset({Status.QUEUED}), frozenset({Status.FAILED})),
    "expire": Rule(frozenset({Status.QUEUED}), frozenset({Status.FAILED})),
    "cancel": Rule(frozenset({Status.QUEUED, Status.RUNNING}), frozenset({Status.CANCELLED})),
    "reopen": Rule(frozenset({Status.FAILED, Status.CANCELLED}), frozenset({Status.QUEUED})),
}

ORPHANS_AT_ONCE = 100
"""Jobs that one transaction cancels because their parent has ended."""
GROUPS_AT_ONCE = 100
"""Steps that one end of a job takes for its group and those above and below; the reconciler takes the others."""

Line = tuple[str, str, Any]
"""(level, message, meta)."""


def claim(wanted: Claimable) -> Claim | None:
    """queued → running. None when another worker was first, or the job was cancelled or has moved on."""
    return next(iter(claim_all([wanted])), None)


def claim_all(wanted: Sequence[Claimable]) -> list[Claim]:
    """`claim` those of one message; the ones to be had, in order."""
    return _claimed(wanted, rows("claim", claim_params(wanted)))


def _claimed(wanted: Sequence[Claimable], found: list[dict[str, Any]]) -> list[Claim]:
    if not found:
        return []
    claims = {row["id"]: Claim.of(row) for row in found}
    transaction.on_commit(partial(live.announce, list(claims)))
    return [claims[it.id] for it in wanted if it.id in claims]


def give_back(attempts: Sequence[tuple[uuid.UUID, int]], *, reason: str) -> int:
    """running → queued, for attempts (job, fence) that were claimed and never began: they do not count.

    Returns how many there were; one that is somebody else's by now, or has ended, is not.
    """
    if not attempts:
        return 0
    ids, fences = [job_id for job_id, _ in attempts], [fence for _, fence in attempts]
    found = rows("give_back", {"ids": ids, "fences": fences, "reason": reason})
    if found:
        transaction.on_commit(partial(live.announce, [row["id"] for row in found]))
        for queue, pool in {(row["queue"], row["pool"]) for row in found}:
            dispatch.after_commit(partial(dispatch.fill, queue, pool))
    return len(found)


def end(how: Finish) -> bool:
    """End a running attempt. False for a stale one."""
    if not end_together([how]):
        return True
    with transaction.atomic():
        ended = rows("end_attempts", end_params([how], alone=False))
        if ended and ended[0]["status"] != Status.QUEUED:
            _settle_dependants(how.job_id, Status(ended[0]["status"]))
    _after_end(ended)
    return bool(ended)


def end_together(ends: Sequence[Finish]) -> list[Finish]:
    """End those of these attempts whose job nobody depends on, in one commit; nearly all are such.

    Returns the others: stale ones, and those that are `end`'s.
    """
    return _left(ends, rows("end_attempts", end_params(ends, alone=True)))


def _left(ends: Sequence[Finish], ended: list[dict[str, Any]]) -> list[Finish]:
    _after_end(ended)
    told = {row["id"] for row in ended}
    return [how for how in ends if how.job_id not in told]


def _ending(terms: Callable[P, Finish]) -> Callable[P, bool]:
    @wraps(terms)
    def verb(*args: P.args, **kwargs: P.kwargs) -> bool:
        return end(terms(*args, **kwargs))

    return verb


succeed, fail, lose = _ending(Finish.success), _ending(Finish.failure), _ending(Finish.loss)


def turn_over(ends: Sequence[Finish], wanted: Sequence[Claimable]) -> tuple[list[Finish], list[Claim]]:
    """`end_together` and `claim_all` in one round trip and one commit. Neither depends on the other."""
    ended, claimed = rows_together(("end_attempts", end_params(ends, alone=True)), ("claim", claim_params(wanted)))
    return _left(ends, ended), _claimed(wanted, claimed)


def _after_end(ended: Sequence[dict[str, Any]]) -> None:
    if not ended:
        return
    _settle_after_commit(row["group_id"] for row in ended if row["status"] != Status.QUEUED)
    transaction.on_commit(partial(live.announce, [row["id"] for row in ended]))
    if any(row["calls_back"] for row in ended):
        transaction.on_commit(dispatch.ring_callbacks)


def suspend(job_id: uuid.UUID, fence: int, *, group: Group, lines: Sequence[dict[str, Any]] = ()) -> bool:
    """running → queued, until the jobs of `group` have ended; the caller makes them in the same transaction.

    False for a stale attempt, which must make none. Raises NotStorable if the group's state is not JSON.
    """
    meta = {"on_failure": group.on_failure}
    line = log_line(LAST, f"Waiting for {group.size} job{'s' * (group.size > 1)}", "info", meta, None)
    params = {
        "id": job_id, "fence": fence, "group": group.id, "size": group.size, "depth": group.depth,
        "on_failure": group.on_failure.value, "state": dumps(group.state), "lines": dumps([*lines, line]),
    }  # fmt: skip
    suspended = bool(rows("suspend", params))
    if suspended:
        transaction.on_commit(partial(live.announce, [job_id]))
    return suspended


def settle_groups(group_ids: Iterable[uuid.UUID]) -> int:
    """Do what is due for these groups, and then for those above and below. Returns how many steps that took.

    A parent goes on (`resume`: queued, to be claimed again) when its children have ended, or fails when one has failed
    that it needs; then, and when it was cancelled, its open children are cancelled. Each step is a transaction of its
    own, which looks at the rows as they are: twice is harmless, and what a crash leaves undone the reconciler does.
    """
    due, steps = deque(group_ids), 0
    while due and steps < GROUPS_AT_ONCE:
        group_id = due.popleft()
        if rows("group_due", {"id": group_id}):
            due.extend(_settle_group(group_id))
            steps += 1
    return steps


def _settle_group(group_id: uuid.UUID) -> list[uuid.UUID]:
    """One step. Returns the groups to look at next."""
    concerned: list[uuid.UUID] = []
    with transaction.atomic():
        found = rows("resume", {"id": group_id}) if rows("group_lock", {"id": group_id}) else []
        for parent in found:
            if parent["status"] is not None:
                transaction.on_commit(partial(live.announce, [parent["parent_id"]]))
            if parent["status"] == Status.QUEUED:
                dispatch.after_commit(partial(dispatch.fill, parent["queue"], parent["pool"]))
            if parent["has_dependants"] and parent["status"] == Status.FAILED:
                _block_dependants_of([parent["parent_id"]])
            if parent["calls_back"]:
                transaction.on_commit(dispatch.ring_callbacks)
            if parent["status"] == Status.FAILED and parent["group_id"] is not None:
                concerned.append(parent["group_id"])
            if parent["has_orphans"]:
                orphans = rows("orphans", {"group": group_id, "limit": ORPHANS_AT_ONCE})
                ended = _cancel(
                    [row["id"] for row in orphans], by=f"job {parent['parent_id']}", reason=errors.PARENT_ENDED
                )
                concerned += [*_groups_made_by(ended), group_id]
    return concerned


def _settle_after_commit(group_ids: Iterable[uuid.UUID | None]) -> None:
    if known := {group_id for group_id in group_ids if group_id is not None}:
        dispatch.after_commit(lambda: settle_groups(known))


def _groups_made_by(ended: Iterable[Job]) -> list[uuid.UUID]:
    """The open groups of jobs that were cancelled while they waited for them."""
    makers = [job.id for job in ended if job.phase]
    groups = JobGroup.objects.filter(parent__in=makers, closed_at=None) if makers else JobGroup.objects.none()
    return list(groups.values_list("pk", flat=True))


def cancel(job_id: uuid.UUID, *, by: str, reason: errors.Code = errors.JOB_CANCELLED, message: str = "") -> Job:
    """queued | running → cancelled; the worker that runs it is told at commit. Cancelling again changes nothing.

    The jobs it waits for are cancelled next. reason: where it is not somebody's wish, the code of the job's error, and
    its message, if that is to say more than the code means.
    Raises Problem NOT_FOUND, or CONFLICT when the job has succeeded or failed.
    """
    with transaction.atomic():
        # The lock in a statement of its own: the next one's snapshot then sees the attempt of a claim that was first.
        Job.objects.select_for_update().filter(pk=job_id).values_list("pk").first()
        ended = _cancel([job_id], by=by, reason=reason, message=message)
        if ended:
            _settle_after_commit([ended[0].group_id, *_groups_made_by(ended)])
            return ended[0]
    job = _existing(job_id)
    if job.status != Status.CANCELLED:
        raise Problem(
            errors.CONFLICT, f"the job has already {job.status}; only queued and running jobs can be cancelled"
        )
    append_logs(job_id, [("warn", "Job cancelled", {"by": by, "was": "cancelled"})])
    return job


def _cancel(locked_ids: list[uuid.UUID], *, by: str, reason: errors.Code, message: str = "") -> list[Job]:
    """Those that had not ended. The caller has locked them, and sees to groups."""
    is_wish = reason is errors.JOB_CANCELLED
    told = message or ("the job was cancelled" if is_wish else reason.meaning)
    error = dumps(error_json(told, code=reason.name))
    ended = jobs("cancel", {"ids": locked_ids, "by": by, "error": error, "job_error": None if is_wish else error})
    _block_dependants_of([job.id for job in ended if job.has_dependants])
    transaction.on_commit(partial(live.announce, [job.id for job in ended]))
    if any(job.callback_url is not None for job in ended):
        transaction.on_commit(dispatch.ring_callbacks)
    return ended


def reopen(job_id: uuid.UUID, *, by: str) -> Job:
    """failed | cancelled → queued, as a new series of up to max_attempts attempts; audit-logged.

    The fencing number goes on growing, so nothing of the old series can touch the new one. Raises Problem NOT_FOUND,
    or CONFLICT when the job has not ended, has succeeded (dependants and callers have built on its result), or
    depends on a job that has not succeeded and will not by itself.
    """
    with transaction.atomic():
        rows("log_is_wanted", {})
        group = (
            JobGroup.objects.select_for_update(of=("self",)).filter(children=job_id).select_related("parent").first()
        )
        job = Job.objects.select_for_update().filter(pk=job_id).first()
        if job is None:
            raise Problem(errors.NOT_FOUND, f"no job {job_id}")
        if job.status not in RULES["reopen"].sources:
            raise Problem(errors.CONFLICT, f"the job is {job.status}; only failed and cancelled jobs can be retried")
        if group is not None and (group.closed_at is None) == Status(group.parent.status).is_terminal:
            # Its parent goes on with what it came to, or is about to cancel all of the group.
            raise Problem(errors.CONFLICT, f"the job {group.parent_id} that made this one has gone on; retry that one")
        if group is not None and Approval.objects.filter(pk=job_id).exclude(state=ApprovalState.APPROVED).exists():
            raise Problem(errors.CONFLICT, f"nobody approved of the job; retry {group.parent_id}, which asks again")
        params = {
            "id": job_id, "by": by, "waiting_on": _open_dependencies(job), "ageing_sec": dispatch.ageing_sec(),
        }  # fmt: skip
        updated = jobs("reopen", params)[0]
        audit.record(
            actor=by, action="job.retried", object_type="job", object_id=str(job_id), details={"series": updated.series}
        )
        transaction.on_commit(partial(live.announce, [job_id]))
        dispatch.after_commit(partial(dispatch.fill, job.queue, job.pool))
    return updated


def _open_dependencies(job: Job) -> int:
    """How many dependencies have yet to succeed. Raises Problem CONFLICT when one has ended otherwise."""
    states = list(
        Job.objects.select_for_update(no_key=True)
        .filter(pk__in=JobDependency.objects.filter(job=job).values("depends_on"))
        .order_by("pk")
        .values_list("pk", "status")
    )
    failed = [str(pk) for pk, status in states if status in (Status.FAILED, Status.CANCELLED)]
    if failed:
        raise Problem(
            errors.CONFLICT,
            "a job that this one depends on has not succeeded; retry that first",
            {"failed_dependencies": failed},
        )
    error_details = (job.error or {}).get("details") or {}
    if error_details.get("missing_dependencies"):
        raise Problem(errors.CONFLICT, "the job depends on jobs that do not exist; create a new one without them")
    return sum(status != Status.SUCCEEDED for _, status in states)


def _settle_dependants(job_id: uuid.UUID, status: Status) -> None:
    """Within the transition's transaction: let dependants run, or fail those that never can, and theirs in turn."""
    if status == Status.SUCCEEDED:
        released = rows("release_dependants", {"id": job_id})
        for queue, pool in {(row["queue"], row["pool"]) for row in released if row["waiting_on"] == 0}:
            dispatch.after_commit(partial(dispatch.fill, queue, pool))
        return
    _block_dependants_of([job_id])


def _block_dependants_of(failed: list[uuid.UUID]) -> None:
    while failed:
        blocked = rows("block_dependants", {"failed_ids": failed, "blocked_ids": [], "missing": "[]"})
        _settle_after_commit(row["group_id"] for row in blocked)
        transaction.on_commit(partial(live.announce, [row["id"] for row in blocked]))
        failed = [row["id"] for row in blocked if row["has_dependants"]]


def block(job_id: uuid.UUID, *, missing: Sequence[str]) -> None:
    """queued → failed with DEPENDENCY_BLOCKED, for a job just created whose dependencies can never all succeed."""
    blocked = rows(
        "block_dependants", {"failed_ids": [], "blocked_ids": [job_id], "missing": json.dumps(list(missing))}
    )
    _settle_after_commit(row["group_id"] for row in blocked)


def expire(*, limit: int) -> int:
    """queued → failed with JOB_EXPIRED, for at most `limit` jobs whose time to begin is over. Returns how many."""
    error = dumps(error_json(errors.JOB_EXPIRED.meaning, code=errors.JOB_EXPIRED.name))
    with transaction.atomic():
        expired = rows("expire", {"limit": limit, "error": error})
        _block_dependants_of([row["id"] for row in expired if row["has_dependants"]])
        _settle_after_commit(row["group_id"] for row in expired)
        transaction.on_commit(partial(live.announce, [row["id"] for row in expired]))
        if any(row["calls_back"] for row in expired):
            transaction.on_commit(dispatch.ring_callbacks)
    return len(expired)


def append_logs(job_id: uuid.UUID, lines: Iterable[Line]) -> None:
    """Append log lines to a job in whatever state. The job's row is locked meanwhile (see append_logs.sql)."""
    records = [log_line(ord_, message, level, meta, None) for ord_, (level, message, meta) in enumerate(lines)]
    rows("append_logs", {"id": job_id, "fence": None, "lines": dumps(records), "progress": None})
    transaction.on_commit(partial(live.announce, [job_id]))


def append_attempt_logs(job_id: uuid.UUID, fence: int, records: Sequence[dict[str, Any]], progress: Any = None) -> bool:
    """Append the lines (made by `log_line`) and progress of a running attempt. False, and nothing written, if stale."""
    params = {
        "id": job_id,
        "fence": fence,
        "lines": dumps(records),
        "progress": None if progress is None else dumps(progress),
    }
    written = bool(rows("append_logs", params))
    if written:
        live.announce([job_id])
    return written


def _existing(job_id: uuid.UUID) -> Job:
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        raise Problem(errors.NOT_FOUND, f"no job {job_id}")
    return job
