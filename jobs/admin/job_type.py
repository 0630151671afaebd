"""Job types: switched, limited and given their retry policy here."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget

from access.admin import actor_of
from jobs import job_types
from jobs.admin.common import badge, each, json_block
from jobs.handlers import registry
from jobs.job_types import JobTypeChange
from jobs.models import JobType
from jobs.representation import type_json
from jobs.text import limits_text, needs_text
from rauskuclaw.errors import Problem
from rauskuclaw.operations.text import span

RETRY = ("base_sec", "factor", "max_sec", "jitter")
LIMITS = ("max_running", "max_running_per_key", "key_pointer", "on_limit")
RATE = {"rate_limit": "limit", "rate_period_sec": "period_sec", "rate_per_key": "per_key"}
"""Column → name in the API's `limits.rate`."""


class JobTypeForm(forms.ModelForm):  # type: ignore[type-arg]
    """The fields of a type, checked by the rules of the API."""

    handler = forms.ChoiceField(
        widget=UnfoldAdminSelectWidget, help_text="The code that runs the jobs: a handler that is installed here"
    )

    class Meta:
        model = JobType
        fields = [
            "name", "enabled", "handler", "default_timeout_sec", "default_max_attempts",
            *(f"retry_{name}" for name in RETRY), "paused", *LIMITS, *RATE,
        ]  # fmt: skip
        labels = {
            "default_timeout_sec": "Time limit (s)",
            "default_max_attempts": "Attempts",
            "retry_base_sec": "First wait (s)",
            "retry_factor": "Factor",
            "retry_max_sec": "Longest wait (s)",
            "retry_jitter": "Jitter",
            "max_running": "At once",
            "max_running_per_key": "At once, of one key",
            "key_pointer": "Key",
            "on_limit": "At its key's limit a new job",
            "rate_limit": "Attempts",
            "rate_period_sec": "in (s)",
            "rate_per_key": "For each key",
        }
        help_texts = {
            "default_timeout_sec": "For jobs that set none: 1 to 3600",
            "default_max_attempts": "For jobs that set none: 1 to 10",
            "retry_base_sec": "Before the second attempt",
            "retry_factor": "Each further wait is so many times longer",
            "retry_jitter": "Share of the wait that is random, 0 to 1",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(field := self.fields.get("handler"), forms.ChoiceField):
            known = sorted({*registry.installed(), *([self.instance.handler] if self.instance.handler else [])})
            field.choices = [(name, name) for name in known]

    def clean(self) -> dict[str, Any]:
        """Tell what the API would refuse beside the field that is wrong."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                (job_types.parse_change if self.instance.created_at else job_types.parse_new)(as_body(values))
            except Problem as problem:
                for fault in (problem.details or {}).get("errors", []):
                    self.add_error(as_column(fault["path"]), fault["message"])
        return values


def as_body(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns of JobType → the API's body, which nests the retry policy and the limits.

    What makes up a rate goes together: all of its columns, or none.
    """
    body = {name: value for name, value in columns.items() if name in JobTypeChange.model_fields or name == "name"}
    retry = {name: columns[f"retry_{name}"] for name in RETRY if f"retry_{name}" in columns}
    limits = {name: columns[name] for name in LIMITS if name in columns}
    if "rate_limit" in columns:
        rate = {name: columns[column] for column, name in RATE.items()}
        limits["rate"] = rate if rate["limit"] is not None else None
    return body | ({"retry": retry} if retry else {}) | ({"limits": limits} if limits else {})


def as_column(path: str) -> str:
    """The path of a field of the API's body → the column it is kept in."""
    *parents, name = path.split(".")
    if parents == ["limits", "rate"]:
        return next(column for column, short in RATE.items() if short == name)
    return f"retry_{name}" if parents == ["retry"] else name


@admin.register(JobType)
class JobTypeAdmin(ModelAdmin):  # type: ignore[misc]
    """Each change goes through `jobs.job_types`, and so into the audit log. Types are disabled, never deleted."""

    form = JobTypeForm
    list_display = ["name", "enabled", "turn", "state", "time_limit", "attempts", "needs", "handler"]
    list_editable = ["enabled"]
    list_filter = ["enabled", "paused"]
    search_fields = ["name", "handler"]
    actions = ["enable", "disable", "pause", "resume"]
    list_per_page = 100
    fieldsets = [
        (None, {"fields": ["name", "enabled", "handler", ("state", "needs")]}),
        ("Defaults of a job", {"fields": [("default_timeout_sec", "default_max_attempts")]}),
        ("Retry policy", {"fields": [("retry_base_sec", "retry_factor"), ("retry_max_sec", "retry_jitter")]}),
        (
            "Limits",
            {
                "fields": [
                    "paused",
                    ("max_running", "max_running_per_key"),
                    ("key_pointer", "on_limit"),
                    ("rate_limit", "rate_period_sec", "rate_per_key"),
                ]
            },
        ),
        ("What a job of this type takes and gives", {"fields": ["input_schema", "output_schema"]}),
    ]

    class Media:
        css = {"all": ["jobs/admin.css"]}

    # The handler's own word

    @admin.display(description="handler is")
    def state(self, job_type: JobType) -> SafeString:
        """Whether its code is here; if not, jobs of an enabled type fail."""
        if registry.get(job_type.handler) is not None:
            return badge("success", "installed")
        return badge("danger" if job_type.enabled else "default", "not installed")

    @admin.display(description="begins")
    def turn(self, job_type: JobType) -> SafeString:
        """Whether its jobs begin, and under which limits."""
        return badge("warning", "paused") if job_type.paused else badge("default", limits_text(job_type))

    @admin.display(description="time limit", ordering="default_timeout_sec")
    def time_limit(self, job_type: JobType) -> str:
        """In words."""
        return span(job_type.default_timeout_sec)

    @admin.display(description="attempts", ordering="default_max_attempts")
    def attempts(self, job_type: JobType) -> int:
        """Under a shorter title."""
        return job_type.default_max_attempts

    @admin.display(description="reaches")
    def needs(self, job_type: JobType) -> str:
        """Network, shell, files."""
        return needs_text(type_json(job_type)["needs"])

    @admin.display(description="input")
    def input_schema(self, job_type: JobType) -> SafeString:
        """JSON Schema."""
        return json_block(type_json(job_type)["input_schema"])

    @admin.display(description="result")
    def output_schema(self, job_type: JobType) -> SafeString:
        """JSON Schema."""
        return json_block(type_json(job_type)["output_schema"])

    # The form

    def get_readonly_fields(self, request: HttpRequest, obj: JobType | None = None) -> list[str]:
        """A name is for ever: jobs refer to it."""
        shown = ["state", "needs", "input_schema", "output_schema"]
        return [*shown, "name"] if obj else shown

    def get_fieldsets(self, request: HttpRequest, obj: JobType | None = None) -> Any:
        """A new type has no handler yet that could be shown."""
        if obj is not None:
            return self.fieldsets
        head = {"fields": ["name", "enabled", "handler"], "description": "A name has 3 to 80 of a-z 0-9 . _ -"}
        return [(None, head), *self.fieldsets[1:4]]

    def save_model(self, request: HttpRequest, obj: JobType, form: Any, change: bool) -> None:
        """Through the verbs that record it, changed fields only: two people at once do not undo each other."""
        by = actor_of(request)
        if change:
            changed = set(form.changed_data)
            changed |= set(RATE) if changed & RATE.keys() else set()
            body = as_body({name: form.cleaned_data[name] for name in changed})
            saved = job_types.update(obj.pk, job_types.parse_change(body), by=by) if body else obj
        else:
            saved = job_types.create(job_types.parse_new(as_body(form.cleaned_data)), by=by)
        obj.__dict__.update(saved.__dict__)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody: jobs refer to their type."""
        return False

    # Switching

    @admin.action(description="Enable the selected types", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[JobType]) -> None:
        """Jobs of these types may be created and run."""
        self._switch(request, queryset, "Enabled", JobTypeChange(enabled=True))

    @admin.action(description="Disable the selected types", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[JobType]) -> None:
        """No new jobs of these types; queued ones fail when their turn comes."""
        self._switch(request, queryset, "Disabled", JobTypeChange(enabled=False))

    @admin.action(description="Pause the selected types", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[JobType]) -> None:
        """No job of these types begins; those that run go on."""
        self._switch(request, queryset, "Paused", JobTypeChange(paused=True))

    @admin.action(description="Resume the selected types", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[JobType]) -> None:
        """Jobs of these types begin again."""
        self._switch(request, queryset, "Resumed", JobTypeChange(paused=False))

    def _switch(self, request: HttpRequest, types: QuerySet[JobType], done: str, change: JobTypeChange) -> None:
        switch = partial(job_types.update, change=change, by=actor_of(request))
        each(request, types, lambda job_type: switch(job_type.pk), done, f"Not {done.lower()}")
