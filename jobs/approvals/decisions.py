"""Asking a person, what the person says, and what becomes of what nobody decides.

A job that needs approval is made with one dependency too many, so nothing that dispatches jobs knows of approvals:
saying yes takes it away, saying no cancels the job. Either is bound to the hash of what was shown.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from access import audit
from access.principals import Principal
from jobs import dispatch, lifecycle, live, submission
from jobs.approvals.models import Approval, ApprovalState
from jobs.models import Job, Status
from jobs.signals import happened
from jobs.sql import rows
from jobs.storable import dumps
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.config import load
from rauskuclaw.errors import Problem

NOBODY = "approvals"
"""Who acts where nobody did."""


def ask(parent: Job, wanted: Mapping[uuid.UUID, str]) -> None:
    """Have a person decide about jobs that `parent` has just made, in the transaction that made them, as its last step.

    wanted: why, for each. Both logs tell of it.
    """
    records = [{"id": str(job_id), "reason": reason} for job_id, reason in wanted.items()]
    params = {
        "wanted": dumps(records), "by": parent.created_by, "timeout_sec": load().agent_approval_timeout_sec,
    }  # fmt: skip
    told = {
        str(row["id"]): {
            "reason": row["reason"], "arguments_hash": row["arguments_hash"], "expires_at": iso_ms(row["expires_at"]),
        }
        for row in rows("approval_ask", params)
    }  # fmt: skip
    for job_id, facts in told.items():
        lifecycle.append_logs(uuid.UUID(job_id), [("warn", "Waiting for approval", facts)])
    waits = [("warn", "A job waits for approval", {"job_id": job_id, **facts}) for job_id, facts in told.items()]
    lifecycle.append_logs(parent.id, waits)
    for job_id, facts in told.items():
        details = {"parent": str(parent.id), **facts}
        _record("approval.requested", job_id, by=f"job {parent.id}", details=details)
    _count("requested", len(told))


def approve(
    approval: Approval, *, arguments_hash: str, by: str, principal: Principal | None = None, note: str = ""
) -> Approval:
    """Let the job begin. arguments_hash: the one that was shown with what is approved.

    Raises FORBIDDEN where the person may not make such a job, APPROVAL_MISMATCH for another hash, CONFLICT when there
    is nothing to decide any more.
    """
    job = approval.job
    if principal is not None:
        principal.require_queue(job.queue)
        for job_type in submission.types_of([job.type]).values():
            submission.require_reach(job_type, principal)
    with transaction.atomic():
        _lock(job.pk)
        params = {"id": job.pk, "arguments_hash": arguments_hash, "by": by, "note": note}
        released = rows("approval_release", params)
        if not released:
            raise _refusal(job.pk, arguments_hash)
        if released[0]["waiting_on"] == 0:
            dispatch.after_commit(partial(dispatch.fill, released[0]["queue"], released[0]["pool"]))
        transaction.on_commit(partial(live.announce, [job.pk]))
        _record("approval.approved", str(job.pk), by=by, details={"arguments_hash": arguments_hash, "note": note})
    _count("approved")
    return _again(approval)


def deny(approval: Approval, *, by: str, principal: Principal | None = None, note: str = "") -> Approval:
    """Cancel the job with APPROVAL_DENIED; who asked for it is told the note. Raises FORBIDDEN, CONFLICT."""
    if principal is not None:
        principal.require_queue(approval.job.queue)
    said = f"a person refused it: {note}" if note else "a person refused it"
    with transaction.atomic():
        _lock(approval.pk)
        if not _close(approval.pk, ApprovalState.DENIED, by=by, note=note):
            raise _refusal(approval.pk, approval.arguments_hash)
        lifecycle.cancel(approval.pk, by=by, reason=errors.APPROVAL_DENIED, message=said)
        details = {"arguments_hash": approval.arguments_hash, "note": note}
        _record("approval.denied", str(approval.pk), by=by, details=details)
    _count("denied")
    return _again(approval)


def settle_old(*, limit: int) -> int:
    """Cancel jobs that nobody has approved in time; close what their jobs' own end has decided. Returns how many."""
    due = rows("approvals_due", {"limit": limit})
    return sum(_withdraw(row["id"]) if row["is_moot"] else _expire(row["id"]) for row in due)


def _expire(job_id: uuid.UUID) -> bool:
    with transaction.atomic():
        _lock(job_id)
        if not _close(job_id, ApprovalState.EXPIRED, by=NOBODY):
            return False
        lifecycle.cancel(job_id, by=NOBODY, reason=errors.APPROVAL_EXPIRED)
        _record("approval.expired", str(job_id), by=NOBODY, details={})
    _count("expired")
    return True


def _withdraw(job_id: uuid.UUID) -> bool:
    with transaction.atomic():
        open_ones = Approval.objects.filter(pk=job_id, state=ApprovalState.PENDING).exclude(job__status=Status.QUEUED)
        if not open_ones.update(state=ApprovalState.WITHDRAWN, decided_at=Now(), decided_by=NOBODY):
            return False
        _record("approval.withdrawn", str(job_id), by=NOBODY, details={})
    _count("withdrawn")
    return True


def _lock(job_id: uuid.UUID) -> None:
    """In a statement of its own: the next one then sees what whoever held the lock before has decided."""
    Job.objects.select_for_update(no_key=True).filter(pk=job_id).values_list("pk").first()


def _close(job_id: uuid.UUID, state: ApprovalState, *, by: str, note: str = "") -> bool:
    found = Approval.objects.filter(pk=job_id, state=ApprovalState.PENDING, job__status=Status.QUEUED)
    return bool(found.update(state=state, decided_at=Now(), decided_by=by, note=note))


def _refusal(job_id: uuid.UUID, arguments_hash: str) -> Problem:
    approval = Approval.objects.select_related("job").get(pk=job_id)
    if approval.state == ApprovalState.PENDING and approval.job.status == Status.QUEUED:
        if approval.arguments_hash != arguments_hash:
            told = "This is not what was shown: read the approval again, and approve it by its arguments_hash."
            return Problem(errors.APPROVAL_MISMATCH, told, {"arguments_hash": approval.arguments_hash})
        return Problem(errors.CONFLICT, "Its time to be approved is over, or nobody waits for it any more.")
    decided = f" by {approval.decided_by}" if approval.decided_by else ""
    return Problem(
        errors.CONFLICT,
        f"There is nothing to decide: it is {approval.state}{decided}; the job is {approval.job.status}",
    )


def _again(approval: Approval) -> Approval:
    return Approval.objects.select_related("job__group").get(pk=approval.pk)


def _record(action: str, job_id: str, *, by: str, details: Mapping[str, Any]) -> None:
    audit.record(actor=by, action=action, object_type="job", object_id=job_id, details=details)


def _count(decision: str, count: int = 1) -> None:
    send = partial(happened.send, sender=None, name="approval.decided", labels={"decision": decision}, count=count)
    transaction.on_commit(send)
