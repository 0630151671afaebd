"""What of jobs grows old beside the jobs themselves, and of what lies below them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib.sessions.models import Session
from django.db.models import QuerySet, Value
from django.db.models.functions import Now
from django.utils import timezone

from access import audit
from jobs.models import CallbackDelivery, IdempotencyKey, Node
from jobs.retention.registry import BATCH, COUNTED_MOST, Old, Rows, row_bytes
from jobs.retention.registry import register as add
from rauskuclaw.config import load


def expired_keys() -> QuerySet[Any]:
    """Idempotency keys past their time."""
    return IdempotencyKey.objects.filter(expires_at__lt=Now()).order_by("expires_at")


def silent_nodes() -> QuerySet[Any]:
    """Workers that have said nothing for a day."""
    return Node.objects.filter(seen_at__lt=Now() - Value(timedelta(days=1))).order_by("seen_at")


def settled_callbacks() -> QuerySet[Any]:
    """Callbacks of jobs that nobody will try again. Served by callback_settled."""
    settled = CallbackDelivery.objects.exclude(state=CallbackDelivery.State.PENDING).exclude(job=None)
    return settled.filter(created_at__lt=Now() - Value(timedelta(days=_callback_days()))).order_by("created_at")


def ended_sessions() -> QuerySet[Any]:
    """Browser sessions past their time."""
    return Session.objects.filter(expire_date__lt=Now()).order_by("expire_date")


class AuditLog:
    """The audit log: only from its start, and a day's worth at once, for each time leaves an entry of its own."""

    name = "audit_entries"

    @property
    def policy(self) -> str:
        """In words."""
        days = load().retention_audit_days
        return f"{days} days (RETENTION_AUDIT_DAYS)" if days else "for ever (RETENTION_AUDIT_DAYS)"

    def old(self) -> Old:
        """Counted, up to COUNTED_MOST."""
        if (before := self._before()) is None:
            return Old()
        found = audit.prunable(before)
        count = found[:COUNTED_MOST].count()
        first = found.first()
        return Old(count, first.at if first else None, count * row_bytes("access_auditentry"))

    def prune(self) -> Iterable[int]:
        """A transaction a batch."""
        before = self._before()
        if before is None or not audit.prunable(before - timedelta(days=1)).exists():
            return
        while count := audit.prune(before, limit=BATCH):
            yield count

    def _before(self) -> datetime | None:
        days = load().retention_audit_days
        return timezone.now() - timedelta(days=days) if days else None


def _callback_days() -> int:
    return load().retention_callback_days


def register() -> None:
    """Once, when the apps are ready."""
    add(Rows("idempotency_keys", expired_keys, "expires_at", "IDEMPOTENCY_TTL_SEC"))
    add(Rows("nodes", silent_nodes, "seen_at", "a day of silence"))
    add(Rows("sessions", ended_sessions, "expire_date", "SESSION_TTL_SEC"))
    add(AuditLog())
    add(Rows("callbacks", settled_callbacks, "created_at", "RETENTION_CALLBACK_DAYS", days=_callback_days))
