"""Firing and resolving: what the heartbeat does with the rules, and whom it tells."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from jobs import callbacks
from metrics.alerts.checks import CHECKS, Finding
from metrics.alerts.rules import Rule, rules
from metrics.models import Alert
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none
from rauskuclaw.config import load

_LOCK = 0x616C657274
"""Advisory lock of the evaluation ("alert" in ASCII)."""

State = Alert.State


def evaluate() -> bool:
    """Check every rule: fire, keep or resolve its alerts, and tell people. False if another process is at it.

    All of it is one transaction, the deliveries in the outbox too: whatever dies, nobody is told twice, and nobody is
    told of what did not happen.
    """
    if not load().metrics_enabled:
        return False
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s), clock_timestamp()", [_LOCK])
            locked, now = cursor.fetchone()
        if not locked:
            return False
        for rule in rules():
            _apply(rule, CHECKS[rule.code](rule) if rule.enabled else [], now)
    return True


def _apply(rule: Rule, findings: list[Finding], now: datetime) -> None:
    found = {finding.scope: finding for finding in findings}
    still_open = {
        alert.scope: alert for alert in Alert.objects.select_for_update().filter(code=rule.code, resolved_at=None)
    }
    for scope, finding in found.items():
        alert = still_open.get(scope) or Alert(code=rule.code, scope=scope, fired_at=now)
        alert.message, alert.details, alert.value, alert.seen_at = finding.message, finding.details, finding.value, now
        if alert.told_at is None and alert.state == State.FIRING and not _cools_down(rule, scope, now):
            alert.told_at = now
            alert.save()
            _tell(rule, alert)
        else:
            alert.save()
    for scope, alert in still_open.items():
        if scope not in found:
            alert.state, alert.resolved_at = State.RESOLVED, now
            alert.save(update_fields=["state", "resolved_at"])
            if alert.told_at is not None:
                _tell(rule, alert)


def _cools_down(rule: Rule, scope: str, now: datetime) -> bool:
    """Whether people were told of this lately. What still holds when that is over is told then."""
    since = now - timedelta(seconds=rule.cooldown_sec)
    return Alert.objects.filter(code=rule.code, scope=scope, told_at__gt=since).exists()


def _tell(rule: Rule, alert: Alert) -> None:
    is_over = alert.state == State.RESOLVED
    # `text` is what chat programs show and what a mail begins with.
    text = f"{'Resolved' if is_over else 'Firing'}: {alert.code} {alert.scope}".rstrip() + f"\n{alert.message}"
    body = {"event": f"alert.{'resolved' if is_over else 'firing'}", "text": text, "alert": alert_json(alert)}
    callbacks.enqueue([*rule.webhooks, *(f"mailto:{address}" for address in rule.emails)], body)


def alert_json(alert: Alert) -> dict[str, Any]:
    """An alert, for the API and for webhooks."""
    return {
        "id": alert.pk,
        "code": alert.code,
        "scope": alert.scope or None,
        "state": alert.state,
        "severity": "warn",
        "message": alert.message,
        "details": alert.details,
        "value": alert.value,
        "fired_at": iso_ms(alert.fired_at),
        "seen_at": iso_ms(alert.seen_at),
        "told_at": iso_ms_or_none(alert.told_at),
        "acknowledged_at": iso_ms_or_none(alert.acknowledged_at),
        "acknowledged_by": alert.acknowledged_by or None,
        "resolved_at": iso_ms_or_none(alert.resolved_at),
    }
