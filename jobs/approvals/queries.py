"""Named reads: who may see which approval, pages of them, and those that a job waits for."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from access.principals import Principal
from jobs.approvals.models import Approval, ApprovalState
from jobs.models import Status
from jobs.queries import Position, parse_id
from rauskuclaw import errors
from rauskuclaw.errors import Problem

MAX_SHOWN = 1000


@dataclass(frozen=True)
class ApprovalPage:
    """Approvals, the newest first, and where the next page begins; None after the last one."""

    approvals: Sequence[Approval]
    next: Position | None


def visible(principal: Principal) -> QuerySet[Approval]:
    """With their jobs: those on the queues that `principal` may see."""
    found = Approval.objects.select_related("job__group")
    if principal.queue_allowlist is None:
        return found
    return found.filter(job__queue__in=principal.queue_allowlist)


def visible_approval(job_id: str, *, principal: Principal) -> Approval:
    """The approval of a job, by the id of a URL. Raises NOT_FOUND."""
    found = parse_id(job_id)
    approval = None if found is None else visible(principal).filter(pk=found).first()
    if approval is None:
        raise Problem(errors.NOT_FOUND, "No such approval: GET /v1/approvals lists those that this key may see.")
    return approval


def page(*, principal: Principal, limit: int, state: str | None = None, after: Position | None = None) -> ApprovalPage:
    """One page. One statement."""
    found = visible(principal)
    if state is not None:
        found = pending(found) if state == ApprovalState.PENDING else found.filter(state=state)
    if after is not None:
        older = Q(requested_at__lt=after.created_at) | Q(requested_at=after.created_at, pk__lt=after.id)
        found = found.filter(older)
    shown = list(found.order_by("-requested_at", "-pk")[: limit + 1])
    last = shown[limit - 1] if len(shown) > limit else None
    return ApprovalPage(shown[:limit], Position(last.requested_at, last.pk) if last else None)


def pending(approvals: QuerySet[Approval]) -> QuerySet[Approval]:
    """Those that a person can still decide: the job may have ended a moment ago."""
    return approvals.filter(state=ApprovalState.PENDING, job__status=Status.QUEUED)


def awaited_by(parent_ids: Collection[uuid.UUID]) -> list[Approval]:
    """Those that jobs wait for which these made, the first asked first. One statement, none for no jobs."""
    if not parent_ids:
        return []
    found = pending(Approval.objects.select_related("job__group"))
    return list(found.filter(job__group__parent__in=parent_ids).order_by("requested_at", "pk")[:MAX_SHOWN])
