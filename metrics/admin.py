"""Alerts are looked at and acknowledged here, their rules edited. Nothing here writes a row by itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from access.admin import actor_of
from jobs.admin.common import ReadOnlyAdmin, badge, each, json_block
from metrics.alerts import changes
from metrics.alerts.changes import RuleChange
from metrics.alerts.rules import DEFINITIONS, rule
from metrics.models import Alert, AlertRule
from rauskuclaw.admin_filters import MomentFilter
from rauskuclaw.errors import Problem

_LABELS = {"firing": "danger", "acknowledged": "warning", "resolved": "success"}


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """Whoever may `change` alerts may acknowledge them."""

    list_display = ["code", "scope", "shown_state", "message", "fired_at", "acknowledged_by", "resolved_at"]
    list_filter = [("state", ChoicesDropdownFilter), ("fired_at", MomentFilter)]
    ordering = ["-id"]
    actions = ["acknowledge"]
    fieldsets = [
        (None, {"fields": [("code", "scope", "shown_state"), "message", "shown_details"]}),
        (
            "When",
            {"fields": [("fired_at", "told_at", "seen_at"), ("acknowledged_at", "acknowledged_by"), "resolved_at"]},
        ),
    ]

    class Media:
        css = {"all": ["jobs/admin.css"]}

    @admin.display(description="state")
    def shown_state(self, alert: Alert) -> SafeString:
        """A coloured label."""
        return badge(_LABELS[alert.state], alert.get_state_display())

    @admin.display(description="details")
    def shown_details(self, alert: Alert) -> SafeString:
        """What was measured."""
        return json_block(alert.details)

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        """Who may use the action."""
        return request.user.has_perm("metrics.change_alert")

    @admin.action(description="Acknowledge the selected alerts", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        """Say that somebody has seen them."""
        acknowledge = partial(changes.acknowledge, by=actor_of(request))
        each(request, queryset, lambda alert: acknowledge(alert.pk), "Acknowledged", "Not acknowledged")


class AlertRuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """What an operator says of a rule, checked by the rules of the API."""

    class Meta:
        model = AlertRule
        fields = list(RuleChange.model_fields)

    def clean(self) -> dict[str, Any]:
        """Tell what the API would refuse beside the field that is wrong."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                changes.parse_change({name: values[name] for name in RuleChange.model_fields})
            except Problem as problem:
                for fault in (problem.details or {}).get("errors", []):
                    self.add_error(fault["path"].partition(".")[0], fault["message"])
        return values


@admin.register(AlertRule)
class AlertRuleAdmin(ModelAdmin):  # type: ignore[misc]
    """Each change goes through `changes.update`, and so into the audit log. The rules are those of the code."""

    form = AlertRuleForm
    list_display = ["code", "enabled", "fires_from", "looks_back", "cooldown_sec", "webhooks", "emails"]
    list_display_links = ["code"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        """A row for each rule: one works without, and is found here all the same."""
        AlertRule.objects.bulk_create([AlertRule(code=code) for code in DEFINITIONS], ignore_conflicts=True)
        found: QuerySet[AlertRule] = super().get_queryset(request)
        return found.filter(code__in=DEFINITIONS)

    @admin.display(description="fires from")
    def fires_from(self, row: AlertRule) -> str:
        """The threshold that holds, with its unit."""
        return f"{rule(row.code).threshold:g} {DEFINITIONS[row.code].unit}"

    @admin.display(description="looks back")
    def looks_back(self, row: AlertRule) -> str:
        """The window that holds."""
        window_sec = rule(row.code).window_sec
        return "–" if window_sec is None else f"{window_sec} s"

    def save_model(self, request: HttpRequest, obj: AlertRule, form: Any, change: bool) -> None:
        """Through the verb that records it, changed fields only: two people at once do not undo each other."""
        if body := {name: form.cleaned_data[name] for name in form.changed_data}:
            changes.update(obj.code, changes.parse_change(body), by=actor_of(request))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With what the rule means as its title."""
        definition = DEFINITIONS.get(object_id)
        title = {"title": definition.meaning} if definition else {}
        shown: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **title})
        return shown

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: the rules are those of the code."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False
