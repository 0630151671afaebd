"""Requests that make jobs in other ways than one checked job at a time: batches, and dev jobs."""

from __future__ import annotations

from access.principals import Principal
from jobs import bodies, submission
from jobs.models import Job, JobType
from jobs.requests import NewJob, parse_new_job
from jobs.submission import Submitted
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import QUEUE

MAX_BATCH = 1_000
MAX_DEV_TYPE_CHARS = 80


def submit_batch_body(body: object, *, created_by: str, principal: Principal) -> list[Submitted | Problem]:
    """Create the jobs of `{"jobs": [...]}` in one transaction: for each item, in order, its job or its Problem.

    Raises VALIDATION_ERROR unless there are 1 to MAX_BATCH items.
    """
    wanted = body.get("jobs") if isinstance(body, dict) else None
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_BATCH:
        raise bodies.invalid("jobs", f"jobs must be an array of 1 to {MAX_BATCH} jobs")
    items = [_parsed(item) for item in wanted]
    sound = [item for item in items if isinstance(item, NewJob)]
    done = iter(submission.submit_batch(sound, created_by=created_by, principal=principal))
    return [next(done) if isinstance(item, NewJob) else item for item in items]


def _parsed(body: object) -> NewJob | Problem:
    try:
        return parse_new_job(body)
    except Problem as problem:
        return problem


def submit_dev_job(body: object, *, created_by: str, principal: Principal) -> Job:
    """Create a job of any type, existing or not, with an empty input (contract 2.6).

    Raises NOT_FOUND where dev endpoints are off, FORBIDDEN for a queue the caller may not use, DEV_JOB_ERROR.
    """
    config = load()
    if config.node_env == "production" and not config.allow_dev_endpoints:
        raise Problem(errors.NOT_FOUND, "Dev endpoints are off: set ALLOW_DEV_ENDPOINTS=1 to use them.")
    wanted = body if isinstance(body, dict) else {}
    type_, queue = str(wanted.get("type") or "test"), str(wanted.get("queue") or "default")
    if len(type_) > MAX_DEV_TYPE_CHARS or not QUEUE.fullmatch(queue):
        raise Problem(
            errors.DEV_JOB_ERROR, "queue must be 1 to 80 of a-z 0-9 . _ : - and type must have at most 80 characters."
        )
    principal.require_queue(queue)
    new = NewJob(type=type_, queue=queue, input={}, priority=0, timeout_sec=60, max_attempts=1)
    types = {type_: JobType(name=type_, handler="")}
    return submission.create([new], types, created_by=created_by, log_message="Dev job created")[0]
