"""What people do with alerts and their rules. Each change is in the audit log and acts at the next evaluation."""

from __future__ import annotations

from typing import Annotated, Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from access import audit
from jobs import bodies, callbacks
from jobs.bodies import Whole
from metrics.alerts.rules import DEFINITIONS, Rule, rule
from metrics.models import Alert, AlertRule
from rauskuclaw import errors
from rauskuclaw.errors import Problem

MAX_RECEIVERS = 20


def _webhook(url: str) -> str:
    if problem := callbacks.callback_url_problem(url) or callbacks.not_allowlisted(url):
        raise ValueError(problem.replace("callback_url", "a webhook"))
    return url


def _email(address: str) -> str:
    try:
        validate_email(address)
    except ValidationError as error:
        raise ValueError(f"{address!r} is no e-mail address") from error
    return address


class RuleChange(BaseModel):
    """What can be said of a rule. None: the default."""

    model_config = ConfigDict(strict=True, extra="forbid")

    enabled: bool = True
    threshold: Annotated[float, Field(gt=0, le=1e12)] | None = None
    window_sec: Annotated[Whole, Field(ge=60, le=604_800)] | None = None
    min_count: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = None
    cooldown_sec: Annotated[Whole, Field(ge=0, le=604_800)] = 900
    webhooks: Annotated[list[Annotated[str, AfterValidator(_webhook)]], Field(max_length=MAX_RECEIVERS)] = []
    emails: Annotated[list[Annotated[str, AfterValidator(_email)]], Field(max_length=MAX_RECEIVERS)] = []


def parse_change(body: object) -> RuleChange:
    """The body of PATCH /v1/alert-rules/{code}. Raises VALIDATION_ERROR, also when it holds nothing to change."""
    change = bodies.parse(RuleChange, body)
    if not change.model_fields_set:
        names = ", ".join(RuleChange.model_fields)
        raise Problem(errors.VALIDATION_ERROR, f"Nothing to change: send at least one of {names}.")
    return change


def update(code: str, wanted: RuleChange, *, by: str) -> Rule:
    """Change a rule. What is as asked already is not recorded. Raises NOT_FOUND."""
    known(code)
    with transaction.atomic():
        AlertRule.objects.bulk_create([AlertRule(code=code)], ignore_conflicts=True)
        row = AlertRule.objects.select_for_update().get(pk=code)
        before = {column: getattr(row, column) for column in wanted.model_fields_set}
        changed = {column: new for column in before if (new := getattr(wanted, column)) != before[column]}
        if changed:
            for column, new in changed.items():
                setattr(row, column, new)
            row.updated_at = timezone.now()
            row.save(update_fields=[*changed, "updated_at"])
            details = {column: [before[column], new] for column, new in changed.items()}
            _audit("alert_rule.updated", "alert_rule", code, by, details)
    return rule(code)


def acknowledge(alert_id: int, *, by: str) -> Alert:
    """Say that somebody has seen a firing alert; again changes nothing. Raises NOT_FOUND, CONFLICT (resolved)."""
    with transaction.atomic():
        alert = Alert.objects.select_for_update().filter(pk=alert_id).first()
        if alert is None:
            raise Problem(errors.NOT_FOUND, f"no alert {alert_id}")
        if alert.state == Alert.State.RESOLVED:
            raise Problem(errors.CONFLICT, "the alert is resolved: there is nothing to acknowledge")
        if alert.state == Alert.State.FIRING:
            Alert.objects.filter(pk=alert_id).update(
                state=Alert.State.ACKNOWLEDGED, acknowledged_at=Now(), acknowledged_by=by[:160]
            )
            _audit("alert.acknowledged", "alert", str(alert_id), by, {"code": alert.code, "scope": alert.scope})
            alert.refresh_from_db()
    return alert


def known(code: str) -> None:
    """Raise NOT_FOUND for a rule that does not exist."""
    if code not in DEFINITIONS:
        raise Problem(errors.NOT_FOUND, f"no alert rule {code!r}; there are: {', '.join(DEFINITIONS)}")


def _audit(action: str, object_type: str, object_id: str, by: str, details: dict[str, Any]) -> None:
    audit.record(actor=by, action=action, object_type=object_type, object_id=object_id, details=details)
