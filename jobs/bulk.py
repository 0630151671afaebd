"""Cancelling and retrying many jobs: a job of its own works through what a filter finds (jobs/handlers/bulk.py)."""

from __future__ import annotations

from typing import Annotated

from django.db import transaction
from pydantic import BaseModel, ConfigDict, StringConstraints

from access import audit
from access.principals import Principal
from jobs import bodies, queues, submission
from jobs.handlers.bulk import Action, BulkFilter, status_fault
from jobs.requests import NewJob
from jobs.submission import Submitted
from rauskuclaw.patterns import QUEUE

BULK_TYPE = "system.jobs.bulk"
PRIORITY = 10
"""So that cancelling a backlog does not wait behind it."""
MAIN_QUEUE = "default"


class BulkRequest(BaseModel):
    """The body of POST /v1/jobs/bulk. queue: where the bulk job itself runs."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    filter: BulkFilter
    queue: Annotated[str, StringConstraints(strip_whitespace=True)] | None = None


def submit(body: object, *, principal: Principal, idempotency_key: str | None = None) -> Submitted:
    """Make the job that does it, recorded in the audit log. It touches no job that `principal` may not see.

    Raises VALIDATION_ERROR, FORBIDDEN for a queue that `principal` may not use, IDEMPOTENCY_CONFLICT.
    """
    wanted = bodies.parse(BulkRequest, body)
    allowed = principal.queue_allowlist
    input_ = {
        "action": wanted.action,
        "filter": wanted.filter.model_dump(mode="json", exclude_none=True),
        "queues": None if allowed is None else list(allowed),
    }
    if fault := status_fault(wanted.action, wanted.filter):
        raise bodies.invalid("filter.status", fault)
    if wanted.filter.queue is not None:
        principal.require_queue(wanted.filter.queue)
    new = NewJob(type=BULK_TYPE, queue=_queue(wanted.queue, principal), input=input_, priority=PRIORITY)
    with transaction.atomic():
        done = submission.submit(new, created_by=principal.actor, idempotency_key=idempotency_key)
        if not done.idempotent:
            audit.record(
                actor=principal.actor, action=f"jobs.bulk_{wanted.action}_requested", object_type="job",
                object_id=str(done.job.id), details={"filter": input_["filter"]},
            )  # fmt: skip
    return done


def _queue(wanted: str | None, principal: Principal) -> str:
    """Where the bulk job runs: as asked, else on the first queue that a worker serves and nobody has paused."""
    if wanted is not None:
        if not QUEUE.fullmatch(wanted):
            raise bodies.invalid("queue", "queue must be 1 to 80 characters of a-z 0-9 . _ : -")
        principal.require_queue(wanted)
        return wanted
    served = [queue.name for queue in queues.overviews(principal) if queue.workers and not queue.paused]
    usable = served or list(principal.queue_allowlist or ())
    return MAIN_QUEUE if MAIN_QUEUE in usable or not usable else usable[0]
