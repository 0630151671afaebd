"""Schedules: made, changed, paused and run here, with what their due times came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldAdminSelectWidget

from access.admin import actor_of
from access.principals import Principal
from jobs.admin.common import badge, each
from jobs.models import JobType
from rauskuclaw.errors import Problem
from schedules import dispatch, planning, queries, requests
from schedules.models import Result, Schedule
from schedules.requests import CADENCES, Policy
from schedules.text import cadence_text, state_text

SHOWN_RUNS = 20
RESULT_LABELS = {
    Result.MADE: "success", Result.WAITING: "warning", Result.FAILED: "danger",
    Result.OVERLAPPED: "default", Result.MISSED: "default",
}  # fmt: skip
_LABELS = {"green": "success", "red": "danger", "yellow": "warning", "dim": "default"}
DEFAULTED = ("timeout_sec", "max_attempts")


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """The fields of a schedule, checked by the rules of the API."""

    type = forms.ChoiceField(widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Schedule
        fields = [
            "name", "enabled", "interval_sec", "cron", "time_zone", "type", "queue", "input", "priority", *DEFAULTED,
            "tags", "missed", "catch_up_max", "overlap", "jitter_sec", "ends_at", "max_runs", "pause_after_failures",
        ]  # fmt: skip
        labels = {
            "interval_sec": "Every (s)",
            "cron": "Or by cron",
            "timeout_sec": "Time limit (s)",
            "max_attempts": "Attempts",
            "missed": "Missed due times",
            "catch_up_max": "Catch up at most",
            "overlap": "While a job of it is open, a due time",
            "jitter_sec": "Jitter (s)",
            "pause_after_failures": "Failures in a row",
            "max_runs": "Runs",
        }
        help_texts = {
            "interval_sec": "5 to 86400",
            "cron": "Minute, hour, day of month, month, day of week; 6 fields: the second first; or @daily",
            "timeout_sec": "Empty: the type's default",
            "max_attempts": "Empty: the type's default",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(field := self.fields.get("type"), forms.ChoiceField):
            known = JobType.objects.filter(enabled=True).values_list("name", flat=True)
            field.choices = [(name, name) for name in sorted({*known, *filter(None, [self.instance.type])})]
        for name in DEFAULTED:
            if name in self.fields:
                self.fields[name].required = False

    def clean(self) -> dict[str, Any]:
        """Tell what the API would refuse beside the field that is wrong."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                requests.parse_new(as_body(values))
            except Problem as problem:
                for fault in (problem.details or {}).get("errors", []):
                    self.add_error(fault["path"].rpartition(".")[2], fault["message"])
        return values


def as_body(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns of Schedule → the API's body, which nests the policy."""
    policy = {name: value for name, value in columns.items() if name in Policy.model_fields}
    own = {
        name: value
        for name, value in columns.items()
        if name not in policy and not (name in (*CADENCES, *DEFAULTED) and value in (None, ""))
    }
    return own | ({"policy": policy} if policy else {})


@admin.register(Schedule)
class ScheduleAdmin(ModelAdmin):  # type: ignore[misc]
    """Each change goes through `schedules.planning`, and so into the audit log."""

    form = ScheduleForm
    list_display = ["shown_name", "state", "when", "type", "queue", "next_run_at", "last_run_at", "runs_made"]
    list_filter = ["enabled", ("stopped", ChoicesDropdownFilter), ("overlap", ChoicesDropdownFilter)]
    search_fields = ["name", "type", "queue"]
    actions = ["pause", "resume", "run_now"]
    list_per_page = 100
    show_full_result_count = False
    readonly_fields = ["state", "next_run_at", "last_run_at", "fault", "runs"]
    fieldsets = [
        (None, {"fields": ["name", ("enabled", "state"), ("next_run_at", "last_run_at"), "fault"]}),
        ("When", {"fields": [("interval_sec", "cron", "time_zone"), ("ends_at", "jitter_sec")]}),
        ("Its jobs", {"fields": ["type", ("queue", "priority"), tuple(DEFAULTED), "input", "tags"]}),
        ("Policy", {"fields": [("missed", "catch_up_max"), "overlap"]}),
        ("Stops after", {"fields": [("max_runs", "pause_after_failures")]}),
        ("Newest runs", {"fields": ["runs"]}),
    ]

    @admin.display(description="schedule", ordering="name")
    def shown_name(self, schedule: Schedule) -> str:
        """Its name, or its type and id."""
        return str(schedule)

    @admin.display(description="state", ordering="enabled")
    def state(self, schedule: Schedule) -> SafeString:
        """A coloured word."""
        word, colour = state_text(schedule)
        return badge(_LABELS[colour], word)

    @admin.display(description="when")
    def when(self, schedule: Schedule) -> str:
        """Interval or cron expression."""
        return cadence_text(schedule)

    @admin.display(description="fault")
    def fault(self, schedule: Schedule) -> str:
        """Why it makes no job at the moment."""
        error = schedule.last_error
        return f"{error['code']}: {error['message']}" if error else "–"

    @admin.display(description="runs")
    def runs(self, schedule: Schedule) -> SafeString | str:
        """The newest, each with a link to its job."""
        found, _ = queries.runs_of(schedule, limit=SHOWN_RUNS)
        lines = (
            (
                f"{it.run.due_at:%Y-%m-%d %H:%M:%S}",
                badge(RESULT_LABELS[Result(it.run.result)], Result(it.run.result).label),
                format_html('<a href="{}">{}</a>', reverse("admin:jobs_job_change", args=[it.job.pk]), it.job.status)
                if it.job
                else (it.run.error or {}).get("message", ""),
            )
            for it in found
        )
        return format_html_join("", '<div class="flex gap-4 py-1">{} {} {}</div>', lines) or "–"

    def get_fieldsets(self, request: HttpRequest, obj: Schedule | None = None) -> Any:
        """A new one has no state yet that could be shown."""
        if obj is not None:
            return self.fieldsets
        return [(None, {"fields": ["name", "enabled"]}), *self.fieldsets[1:-1]]

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        """Through the verbs that record it, changed fields only: two people at once do not undo each other."""
        named = form.changed_data if change else form.cleaned_data
        body = as_body({name: form.cleaned_data[name] for name in named})
        principal, by = _operator(request), actor_of(request)
        if not change:
            saved = planning.create(*requests.parse_new(body), principal=principal, by=by)
        elif body:
            saved = planning.update(str(obj.pk), *requests.parse_change(body), principal=principal, by=by)
        else:
            return
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: Schedule) -> None:
        """Its jobs stay."""
        planning.delete(str(obj.pk), principal=_operator(request), by=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        """Their jobs stay."""
        for schedule in queryset:
            self.delete_model(request, schedule)

    @admin.action(description="Pause the selected schedules", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        """They make no jobs until they are resumed."""
        self._each(request, queryset, planning.pause, "Paused", "Not paused")

    @admin.action(description="Resume the selected schedules", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        """They make jobs again."""
        self._each(request, queryset, planning.resume, "Resumed", "Not resumed")

    @admin.action(description="Run the selected schedules now", permissions=["change"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        """A job of each; their next times stay."""
        self._each(request, queryset, dispatch.run_now, "Run", "Not run")

    def _each(
        self, request: HttpRequest, found: QuerySet[Schedule], verb: Callable[..., object], done: str, refused: str
    ) -> None:
        principal, by = _operator(request), actor_of(request)
        each(request, found, lambda schedule: verb(str(schedule.pk), principal=principal, by=by), done, refused)


def _operator(request: HttpRequest) -> Principal:
    """Whoever may change schedules in the admin may on every queue."""
    return Principal(name=request.user.get_username(), role="admin", source="user")
