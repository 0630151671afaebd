"""Why a job is not running, or how it ended: in words and codes, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.utils import timezone

from jobs import queries
from jobs.approvals.models import Approval, ApprovalState
from jobs.handlers import registry
from jobs.models import Job, JobType, Node, Status
from jobs.queries import QueueState
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none
from rauskuclaw.errors import Code

SHOWN_CHILDREN = 100
NOT_APPROVED = {errors.APPROVAL_DENIED.name, errors.APPROVAL_EXPIRED.name}
"""Codes of jobs that nobody may retry by themselves."""


@dataclass(frozen=True)
class Reason:
    """One fact that explains the job's state; the heaviest comes first. `remedy` says what to do about it."""

    code: Code
    message: str
    remedy: str
    details: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """`{code, message, remedy, details?}`."""
        shown: dict[str, Any] = {"code": self.code.name, "message": self.message, "remedy": self.remedy}
        return shown if self.details is None else {**shown, "details": self.details}


def explain(job: Job) -> list[Reason]:
    """The reasons, at least one, heaviest first. At most 4 SQL statements for a queued job, none for another."""
    now = timezone.now()
    match Status(job.status):
        case Status.QUEUED:
            reasons = [_with_expiry(job, reason) for reason in _why_queued(job, now)]
        case Status.RUNNING:
            reasons = [_running(job, now)]
        case Status.SUCCEEDED:
            reasons = [Reason(errors.SUCCEEDED, f"The job has succeeded, {_tries(job)}.", "Nothing to do.")]
        case Status.FAILED:
            reasons = [_failed(job)]
        case Status.CANCELLED:
            message = f"The job was cancelled at {_moment(job.finished_at)}, {_tries(job)}."
            was_refused = (job.error or {}).get("code") in NOT_APPROVED
            remedy = (
                "Retry the job that made it" if was_refused else f"To run it after all: POST /v1/jobs/{job.id}/retry"
            )
            reasons = [Reason(errors.CANCELLED, message, f"{remedy}.")]
    if job.error is not None and job.status != Status.SUCCEEDED:
        reasons.append(_last_error(job.error))
    return reasons


def _why_queued(job: Job, now: datetime) -> Iterator[Reason]:
    workers, (state, job_type) = queries.live_workers(job.queue, job.pool), queries.queue_state(job)
    yield from _type_faults(job, job_type)
    yield from _pauses(job, job_type, state)
    if not workers:
        waits = job.pool == "io"
        yield Reason(
            errors.NO_WORKER_ON_QUEUE,
            f"No live worker{' of the io pool' if waits else ''} consumes the queue {job.queue!r}.",
            f"Start {'an I/O worker' if waits else 'a worker'} whose WORKER_QUEUE_ALLOWLIST holds"
            f" {job.queue}, or use a queue that has one.",
            {"queue": job.queue, "pool": job.pool},
        )
    if job.waiting_on:
        yield from _waits(job)
    elif job.available_at > now:
        yield _debounced(job) if job.unique_key and job.fence == 0 else _retry_due(job)
    else:
        held = [] if job.published_at else list(_limits(job, job_type, state))
        yield from held
        in_line = _in_line(job, workers, state)
        # A job that a pause or a limit holds back is not next, even where nothing is ahead of it.
        if in_line.code is not errors.NEXT_IN_QUEUE or not (held or any(_pauses(job, job_type, state))):
            yield in_line


def _type_faults(job: Job, job_type: JobType | None) -> Iterator[Reason]:
    if job_type is None:
        yield Reason(
            errors.JOB_TYPE_UNKNOWN,
            f"The job type {job.type!r} does not exist (any more), so the job will fail.",
            "Create the type with POST /v1/job-types, or cancel the job.",
        )
        return
    if not job_type.enabled:
        yield Reason(
            errors.JOB_TYPE_DISABLED,
            f"The job type {job.type!r} is disabled, so the attempt will fail.",
            f'Enable it: PATCH /v1/job-types/{job.type} with {{"enabled": true}}.',
        )
    if registry.get(job_type.handler) is None:
        yield Reason(
            errors.HANDLER_UNKNOWN,
            f"No installed handler has the id {job_type.handler!r} of the type {job.type!r}, so the job will fail.",
            "Install the package that brings the handler and restart the workers, or mend the type's handler.",
            {"handler": job_type.handler},
        )


def _pauses(job: Job, job_type: JobType | None, state: QueueState) -> Iterator[Reason]:
    if state.queue_paused:
        yield Reason(
            errors.QUEUE_PAUSED,
            f"The queue {job.queue!r} is paused: no job of it begins.",
            f"Resume it: POST /v1/queues/{job.queue}/resume.",
            {"queue": job.queue},
        )
    if job_type is not None and job_type.paused:
        yield Reason(
            errors.JOB_TYPE_PAUSED,
            f"The job type {job.type!r} is paused: no job of it begins.",
            f"Resume it: POST /v1/job-types/{job.type}/resume.",
            {"type": job.type},
        )


def _limits(job: Job, job_type: JobType | None, state: QueueState) -> Iterator[Reason]:
    """The limits that are used up: by jobs that run, and by those handed to the workers, which are about to."""
    most = state.queue_max_running
    if most is not None and (active := state.of_queue) >= most:
        yield Reason(
            errors.QUEUE_LIMIT,
            f"Of the queue {job.queue!r} {_count(most, 'job')} may run at once, and {active} run or are about to.",
            f"Wait, or raise max_running: PATCH /v1/queues/{job.queue}.",
            {"max_running": most, "active": active},
        )
    if job_type is None:
        return
    raise_it = f"PATCH /v1/job-types/{job.type}"
    most = job_type.max_running
    if most is not None and state.of_type >= most:
        yield Reason(
            errors.JOB_TYPE_LIMIT,
            f"Of the type {job.type!r} {_count(most, 'job')} may run at once, and {state.of_type} run or are about to.",
            f"Wait, or raise limits.max_running: {raise_it}.",
            {"max_running": most, "active": state.of_type},
        )
    most = job_type.max_running_per_key
    if most is not None and job.concurrency_key and state.of_key >= most:
        yield Reason(
            errors.KEY_LIMIT,
            f"Of the type {job.type!r} and the key {job.concurrency_key!r} {_count(most, 'job')} may run at once, and"
            f" {state.of_key} run or are about to: {', '.join(state.key_holders)}.",
            f"Wait for those, cancel one, or raise limits.max_running_per_key: {raise_it}.",
            {
                "concurrency_key": job.concurrency_key, "max_running_per_key": most, "active": state.of_key,
                "holders": state.key_holders,
            },
        )  # fmt: skip
    most = job_type.rate_limit
    if most is not None and state.rate_begun + state.rate_published >= most:
        free_at = state.rate_free_at
        when = f"the next may begin at {_moment(free_at)}" if free_at else "those about to begin go first"
        whose = f"{job.type!r} and the key {job.concurrency_key!r}" if job_type.rate_per_key else f"{job.type!r}"
        yield Reason(
            errors.RATE_LIMIT,
            f"Of the type {whose} {_count(most, 'attempt')} may begin in {job_type.rate_period_sec} s;"
            f" {state.rate_begun} have and {state.rate_published} are about to: {when}.",
            f"Wait, or raise limits.rate: {raise_it}.",
            {
                "limit": most, "period_sec": job_type.rate_period_sec, "begun": state.rate_begun,
                "about_to_begin": state.rate_published, "next_at": iso_ms_or_none(free_at),
            },
        )  # fmt: skip


def _with_expiry(job: Job, reason: Reason) -> Reason:
    """A job that has not begun fails at its expires_at, whatever it waits for; a retry does not expire."""
    if job.expires_at is None or job.fence:
        return reason
    return replace(reason, details={**(reason.details or {}), "expires_at": iso_ms(job.expires_at)})


def _debounced(job: Job) -> Reason:
    return Reason(
        errors.DEBOUNCED,
        f"The job waits until {_moment(job.available_at)}; a newer one of the unique key {job.unique_key!r} made before"
        " that takes its place.",
        "Wait, or cancel the job.",
        {"unique_key": job.unique_key, "until": iso_ms(job.available_at)},
    )


def _waits(job: Job) -> Iterator[Reason]:
    if job.is_suspended:
        yield _waiting_for_children(job)
        return
    # Only jobs that another made are ever held for a person.
    asked = Approval.objects.filter(pk=job.pk, state=ApprovalState.PENDING).first() if job.group_id else None
    if asked is not None:
        yield Reason(
            errors.WAITING_FOR_APPROVAL,
            f"The job does not begin before a person approves of it: {asked.reason}.",
            f"Look at GET /v1/approvals/{job.id}, then POST to its /approve or /deny by {_moment(asked.expires_at)}.",
            {"arguments_hash": asked.arguments_hash, "expires_at": iso_ms(asked.expires_at)},
        )
    if job.waiting_on > (asked is not None):
        yield _waiting(job)


def _waiting(job: Job) -> Reason:
    open_ones = queries.open_dependencies(job)
    return Reason(
        errors.WAITING_FOR_DEPENDENCIES,
        f"The job waits for {_count(len(open_ones), 'job')} to succeed: {_named(open_ones)}.",
        "Ask for the explanation of those jobs; cancel this one if they will never run.",
        {"open_dependencies": [_shown(it) for it in open_ones]},
    )


def _waiting_for_children(job: Job) -> Reason:
    open_ones = queries.open_children(job)
    if not open_ones:
        message = "All jobs that it made have ended, and it is about to go on."
        return Reason(errors.WAITING_FOR_CHILDREN, message, "Wait: this takes a second at most.", {"open_children": []})
    return Reason(
        errors.WAITING_FOR_CHILDREN,
        f"The job waits for {_count(len(open_ones), 'job')} that it made to end: {_named(open_ones)}.",
        f"Ask for the explanation of those jobs; GET /v1/jobs/{job.id}/tree shows all of them.",
        {"open_children": [_shown(it) for it in open_ones[:SHOWN_CHILDREN]], "count": len(open_ones)},
    )


def _named(jobs: list[queries.Dependency]) -> str:
    more = f" and {len(jobs) - 3} more" if len(jobs) > 3 else ""
    return ", ".join(f"{it.id} ({it.status})" for it in jobs[:3]) + more


def _shown(job: queries.Dependency) -> dict[str, str]:
    return {"id": str(job.id), "type": job.type, "status": job.status}


def _retry_due(job: Job) -> Reason:
    return Reason(
        errors.RETRY_DUE_AT,
        f"Attempt {job.attempts + 1} of {job.max_attempts} is due at {_moment(job.available_at)}.",
        "Wait for it, or cancel the job.",
        {"due_at": iso_ms(job.available_at), "attempts": job.attempts, "max_attempts": job.max_attempts},
    )


def _in_line(job: Job, workers: list[Node], state: QueueState) -> Reason:
    slots = sum(worker.concurrency for worker in workers)
    details: dict[str, Any] = {
        "ahead": state.ahead, "in_window": state.in_window, "running": state.running,
        "workers": len(workers), "slots": slots,
    }  # fmt: skip
    busy = f"{_count(state.running, 'job')} running on {_count(slots, 'worker process', 'worker processes')}"
    if job.published_at is not None:
        return Reason(
            errors.PUBLISHED_WAITING_FOR_SLOT,
            f"The job was handed to the workers at {_moment(job.published_at)} and waits for a free process,"
            f" with {_count(state.in_window, 'other job')} in the window and {busy}.",
            "Wait, or start more workers on the queue.",
            {**details, "published_at": iso_ms(job.published_at)},
        )
    if state.ahead or state.in_window:
        turns = ""
        if job.concurrency_key:
            details |= {"concurrency_key": job.concurrency_key, "turn": state.turn}
            turns = (
                f" Keys take turns among jobs of like priority, and this one is number {state.turn} of the key"
                f" {job.concurrency_key!r}."
            )
        return Reason(
            errors.QUEUE_AHEAD,
            f"{_count(state.ahead, 'queued job')} of higher priority or greater age and {state.in_window} already"
            f" handed to the workers go first on the queue {job.queue!r}, with {busy}.{turns}",
            "Wait, start more workers on the queue, or create the job with a higher priority.",
            details,
        )
    return Reason(
        errors.NEXT_IN_QUEUE,
        f"Nothing is ahead of the job on the queue {job.queue!r}; it is published within a second.",
        "Nothing to do. If this lasts, check beat and the system worker: manage.py doctor.",
        details,
    )


def _running(job: Job, now: datetime) -> Reason:
    details: dict[str, Any] = {"worker": job.locked_by, "attempt": job.attempts, "max_attempts": job.max_attempts}
    details |= {"started_at": iso_ms_or_none(job.started_at), "lease_expires_at": iso_ms_or_none(job.lease_expires_at)}
    if job.lease_expires_at is not None and job.lease_expires_at < now:
        return Reason(
            errors.LEASE_EXPIRED,
            f"The worker {job.locked_by!r} fell silent: its lease ended at {_moment(job.lease_expires_at)}.",
            "Nothing: the reconciler takes the job from it. If this lasts, check beat: manage.py doctor.",
            details,
        )
    progress = job.progress or {}
    note = str(progress.get("message") or "")
    done = f", {progress.get('fraction', 0):.0%} done" + (f" ({note})" if note else "") if progress else ""
    return Reason(
        errors.RUNNING,
        f"The worker {job.locked_by!r} has run attempt {job.attempts} of {job.max_attempts} since"
        f" {_moment(job.started_at)}{done}; it holds the lease until {_moment(job.lease_expires_at)}.",
        f"Follow GET /v1/jobs/{job.id}/stream, or stop it with POST /v1/jobs/{job.id}/cancel.",
        {**details, "progress": job.progress},
    )


def _failed(job: Job) -> Reason:
    code = errors.REGISTRY.get(str((job.error or {}).get("code")))
    cause = code.meaning if code else "Its handler reported an error."
    remedy = code.remedy if code else "Read the job's log and mend the cause."
    message = f"The job failed at {_moment(job.finished_at)}, {_tries(job)}: {cause}"
    return Reason(errors.FAILED, message, f"{remedy} To run it again: POST /v1/jobs/{job.id}/retry.")


def _last_error(error: dict[str, Any]) -> Reason:
    known = errors.REGISTRY.get(str(error.get("code")))
    head = f"{error['code']}: " if error.get("code") else ""
    remedy = known.remedy if known else "Read the job's log: the lines before the failure say more."
    return Reason(errors.LAST_ERROR, f"The last error was {head}{error.get('message')}", remedy, error)


def _tries(job: Job) -> str:
    return f"after {_count(job.attempts, 'attempt')} of at most {job.max_attempts}"


def _count(number: int, one: str, many: str = "") -> str:
    shown = f"at least {number}" if number == queries.COUNTED_JOBS else str(number)
    return f"{shown} {one if number == 1 else many or f'{one}s'}"


def _moment(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else iso_ms(moment)
