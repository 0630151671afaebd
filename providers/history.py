"""What of model calls grows old. Budgets go by their accounts, which stay: no limit is forgotten with a call."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet, Value
from django.db.models.functions import Now

from jobs.retention import registry
from providers.models import ModelCall
from rauskuclaw.config import load


def old_calls() -> QuerySet[Any]:
    """The calls of more than RETENTION_MODEL_CALL_DAYS ago. Served by modelcall_by_start."""
    age = Value(timedelta(days=_days()))
    # What one under way has set aside is in its row alone, until it is settled.
    ended = ModelCall.objects.exclude(state=ModelCall.State.OPEN)
    return ended.filter(started_at__lt=Now() - age).order_by("started_at")


def kept_since() -> datetime | None:
    """When the first call began that is still there: none before it is in any sum. None: there is no call."""
    return ModelCall.objects.order_by("started_at").values_list("started_at", flat=True).first()


def _days() -> int:
    return load().retention_model_call_days


def register() -> None:
    """Once, when the apps are ready."""
    registry.register(registry.Rows("model_calls", old_calls, "started_at", "RETENTION_MODEL_CALL_DAYS", days=_days))
