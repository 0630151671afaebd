"""Alerts and their rules over HTTP. They tell of the whole system, so a key with a queue allowlist may not see them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.permissions import EveryQueue, RolePermission
from access.principals import principal_of
from jobs.api.views import ERRORS
from metrics.alerts import changes
from metrics.alerts.evaluate import alert_json
from metrics.alerts.rules import DEFINITIONS, Rule, rule, rules
from metrics.api import serializers as shapes
from metrics.models import Alert
from rauskuclaw import errors
from rauskuclaw.api.pagination import decode_cursor, encode_cursor, int_param, text_param
from rauskuclaw.errors import Problem, bad_field

CHANGE = {"threshold": 300, "cooldown_sec": 3600, "webhooks": [], "emails": ["ops@example.org"]}


class _View(APIView):
    permission_classes = [RolePermission, EveryQueue]


class AlertsView(_View):
    """The alerts there are and were."""

    @extend_schema(
        operation_id="alerts_list",
        tags=["alerts"],
        parameters=[
            OpenApiParameter("state", OpenApiTypes.STR, enum=[*Alert.State.values, "open"], description="Only these."),
            OpenApiParameter("code", OpenApiTypes.STR, enum=list(DEFINITIONS), description="Only of this rule."),
            OpenApiParameter("limit", OpenApiTypes.INT, description="1 to 200, default 50."),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
        ],
        responses={200: shapes.AlertList, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """List alerts, newest first; `state=open`: those that are not resolved."""
        found = Alert.objects.order_by("-id")
        if (state := text_param(request, "state")) is not None:
            if state not in {*Alert.State.values, "open"}:
                raise bad_field("state", f"must be open or one of {', '.join(Alert.State.values)}")
            found = found.filter(resolved_at=None) if state == "open" else found.filter(state=state)
        if (code := text_param(request, "code")) is not None:
            found = found.filter(code=code)
        if cursor := text_param(request, "cursor"):
            found = found.filter(id__lt=decode_cursor(cursor, int)[0])
        limit = int_param(request, "limit", 50, 200)
        page = list(found[: limit + 1])
        shown = [alert_json(alert) for alert in page[:limit]]
        after = encode_cursor(page[limit - 1].pk) if len(page) > limit else None
        return Response({"ok": True, "alerts": shown, "count": len(shown), "next_cursor": after})


class AlertView(_View):
    """One alert."""

    @extend_schema(operation_id="alerts_get", tags=["alerts"], responses={200: shapes.AlertAnswer, **ERRORS})
    def get(self, request: Request, alert_id: int) -> Response:
        """Get an alert."""
        alert = Alert.objects.filter(pk=alert_id).first()
        if alert is None:
            raise Problem(errors.NOT_FOUND, f"no alert {alert_id}")
        return Response({"ok": True, "alert": alert_json(alert)})


class AcknowledgeView(_View):
    """Acknowledging an alert."""

    @extend_schema(
        operation_id="alerts_acknowledge", tags=["alerts"], request=None, responses={200: shapes.AlertAnswer, **ERRORS}
    )
    def post(self, request: Request, alert_id: int) -> Response:
        """Say that somebody has seen it; 409 when it is resolved. It is resolved by itself, as any other."""
        alert = changes.acknowledge(alert_id, by=principal_of(request).actor)
        return Response({"ok": True, "alert": alert_json(alert)})


class RulesView(_View):
    """What there are alerts for."""

    @extend_schema(operation_id="alert_rules_list", tags=["alerts"], responses={200: shapes.RuleList, **ERRORS})
    def get(self, request: Request) -> Response:
        """List the rules as they hold now."""
        shown = [rule_json(one) for one in rules()]
        return Response({"ok": True, "rules": shown, "count": len(shown)})


class RuleView(_View):
    """One rule."""

    examples: ClassVar[dict[str, Any]] = {"PATCH": CHANGE}

    @extend_schema(operation_id="alert_rules_get", tags=["alerts"], responses={200: shapes.RuleAnswer, **ERRORS})
    def get(self, request: Request, code: str) -> Response:
        """Get a rule."""
        changes.known(code)
        return Response({"ok": True, "rule": rule_json(rule(code))})

    @extend_schema(
        operation_id="alert_rules_update",
        tags=["alerts"],
        request=shapes.AlertRuleChange,
        responses={200: shapes.RuleAnswer, **ERRORS},
        examples=[OpenApiExample("Sooner, and by mail", CHANGE, request_only=True)],
    )
    def patch(self, request: Request, code: str) -> Response:
        """Change a rule; it holds from the next evaluation on, within ten seconds."""
        changes.known(code)
        changed = changes.update(code, changes.parse_change(request.data), by=principal_of(request).actor)
        return Response({"ok": True, "rule": rule_json(changed)})


def rule_json(rule: Rule) -> dict[str, Any]:
    """A rule, with what it means."""
    definition = DEFINITIONS[rule.code]
    said = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(rule).items()}
    return {"code": rule.code, "meaning": definition.meaning, "unit": definition.unit, **said}
