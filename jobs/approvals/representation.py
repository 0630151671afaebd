"""An approval as the API shows it."""

from __future__ import annotations

from typing import Any

from jobs.approvals.models import Approval
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none


def approval_json(approval: Approval) -> dict[str, Any]:
    """What is asked, exactly what would be run, and what was said."""
    job = approval.job
    return {
        "job_id": str(approval.pk),
        "state": approval.state,
        "name": job.child_name or None,
        "reason": approval.reason,
        "type": job.type,
        "queue": job.queue,
        "input": job.input,
        "arguments_hash": approval.arguments_hash,
        "job_status": job.status,
        "parent_id": str(job.group.parent_id) if job.group else None,
        "requested_by": approval.requested_by,
        "requested_at": iso_ms(approval.requested_at),
        "expires_at": iso_ms(approval.expires_at),
        "decided_by": approval.decided_by or None,
        "decided_at": iso_ms_or_none(approval.decided_at),
        "note": approval.note or None,
    }
