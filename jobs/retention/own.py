"""What of jobs grows old beside the jobs themselves, and of what lies below them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.sessions.models import Session
from django.db.models import QuerySet, Value
from django.db.models.functions import Now

from jobs.models import CallbackDelivery, IdempotencyKey, Node
from jobs.retention.registry import Rows
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


def _callback_days() -> int:
    return load().retention_callback_days


def register() -> None:
    """Once, when the apps are ready."""
    add(Rows("idempotency_keys", expired_keys, "expires_at", "IDEMPOTENCY_TTL_SEC"))
    add(Rows("nodes", silent_nodes, "seen_at", "a day of silence"))
    add(Rows("sessions", ended_sessions, "expire_date", "SESSION_TTL_SEC"))
    add(Rows("callbacks", settled_callbacks, "created_at", "RETENTION_CALLBACK_DAYS", days=_callback_days))
