"""What of metrics grows old: counts by the minute, and alerts. And what has not been counted yet."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import Model, QuerySet, Value
from django.db.models.functions import Now

from jobs.models import CallbackDelivery
from jobs.retention import registry
from metrics.counting import retention
from metrics.models import Alert, Count, Level, Progress
from rauskuclaw.config import load

_KEPT = "METRICS_RETENTION_DAYS"


def old_minutes(model: type[Model]) -> QuerySet[Any]:
    """Counts and levels of minutes before the retention."""
    return model._default_manager.filter(minute__lt=Now() - Value(retention())).order_by("minute")


def old_alerts() -> QuerySet[Any]:
    """Alerts that were resolved long ago."""
    return Alert.objects.filter(resolved_at__lt=Now() - _alert_age()).order_by("id")


def old_notices() -> QuerySet[Any]:
    """What was sent for alerts. Served by callback_settled."""
    settled = CallbackDelivery.objects.exclude(state=CallbackDelivery.State.PENDING)
    return settled.filter(job=None, created_at__lt=Now() - _alert_age()).order_by("created_at")


def _alert_age() -> Value:
    return Value(timedelta(days=_alert_days()))


def _alert_days() -> int:
    return load().retention_alert_days


def counted_to() -> datetime | None:
    """What happened since is still to be counted from the jobs' rows (docs/adr/0015-counters.md)."""
    if not load().metrics_enabled:
        return None
    return Progress.objects.values_list("counted_to", flat=True).first()


def register() -> None:
    """Once, when the apps are ready."""
    for name, model in (("metric_counts", Count), ("metric_levels", Level)):
        days = lambda: retention().days  # noqa: E731 - asked each time: the configuration can be reloaded
        registry.register(registry.Rows(name, partial(old_minutes, model), "minute", _KEPT, days=days))
    registry.register(registry.Rows("alerts", old_alerts, "resolved_at", "RETENTION_ALERT_DAYS", days=_alert_days))
    registry.register(
        registry.Rows("alert_notices", old_notices, "created_at", "RETENTION_ALERT_DAYS", days=_alert_days)
    )
    registry.keep_since(counted_to)
