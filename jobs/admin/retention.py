"""How long jobs are kept, by type."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin

from access.admin import actor_of
from jobs.retention import policies
from jobs.retention.models import ALL_TYPES, RetentionPolicy
from jobs.retention.policies import FIELDS, Policies
from rauskuclaw.errors import Problem


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    """What an operator says of a policy, checked by the rules of the API."""

    class Meta:
        model = RetentionPolicy
        fields = ["type", *FIELDS]
        labels = {
            "job_days": "Jobs (days)", "failed_days": "Failed jobs (days)", "job_count": "Newest jobs",
            "log_days": "Log (days)",
        }  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Tell what the API would refuse beside the field that is wrong."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                if "type" in values:
                    policies.check(values["type"])
                policies.parse_change({name: values[name] for name in FIELDS})
            except Problem as problem:
                faults = (problem.details or {}).get("errors") or [{"path": "type", "message": problem.message}]
                for fault in faults:
                    self.add_error(fault["path"], fault["message"])
        return values


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(ModelAdmin):  # type: ignore[misc]
    """Each change goes through `retention.policies`, and so into the audit log."""

    form = PolicyForm
    list_display = ["shown_type", "jobs_kept", "failed_kept", "count_kept", "log_kept", "updated_at"]
    search_fields = ["type"]
    list_per_page = 100

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """With the row of all types, which needs none to hold."""
        RetentionPolicy.objects.bulk_create([RetentionPolicy(type=ALL_TYPES)], ignore_conflicts=True)
        shown: HttpResponse = super().changelist_view(request, extra_context)
        return shown

    @admin.display(description="type", ordering="type")
    def shown_type(self, row: RetentionPolicy) -> str:
        """Its name."""
        return str(row)

    @admin.display(description="jobs")
    def jobs_kept(self, row: RetentionPolicy) -> str:
        """What holds."""
        return _days(Policies().of(row.type).job_days)

    @admin.display(description="failed jobs")
    def failed_kept(self, row: RetentionPolicy) -> str:
        """What holds."""
        return _days(Policies().of(row.type).failed_days)

    @admin.display(description="newest")
    def count_kept(self, row: RetentionPolicy) -> str:
        """What holds."""
        return str(Policies().of(row.type).job_count or "any number")

    @admin.display(description="log")
    def log_kept(self, row: RetentionPolicy) -> str:
        """What holds."""
        days = Policies().of(row.type).log_days
        return _days(days) if days else "as long as the jobs"

    def get_readonly_fields(self, request: HttpRequest, obj: RetentionPolicy | None = None) -> list[str]:
        """A policy stays its type's."""
        return ["shown_type"] if obj is not None else []

    def get_fields(self, request: HttpRequest, obj: RetentionPolicy | None = None) -> list[str]:
        """A new one names its type."""
        return ["shown_type" if obj is not None else "type", *FIELDS]

    def save_model(self, request: HttpRequest, obj: RetentionPolicy, form: Any, change: bool) -> None:
        """Through the verb that records it, changed fields only: two people at once do not undo each other."""
        named = [name for name in (form.changed_data if change else FIELDS) if name in FIELDS]
        if named:
            wanted = policies.parse_change({name: form.cleaned_data[name] for name in named})
            policies.change(obj.type, wanted, by=actor_of(request))

    def delete_model(self, request: HttpRequest, obj: RetentionPolicy) -> None:
        """The next policy holds."""
        policies.forget(obj.type, by=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RetentionPolicy]) -> None:
        """The next policies hold."""
        for row in queryset:
            self.delete_model(request, row)


def _days(days: int) -> str:
    return f"{days} days" if days else "for ever"
