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
from jobs.text import needs_text
from rauskuclaw.errors import Problem
from rauskuclaw.operations.text import span

RETRY = ("base_sec", "factor", "max_sec", "jitter")


class JobTypeForm(forms.ModelForm):  # type: ignore[type-arg]
    """The fields of a type, checked by the rules of the API."""

    handler = forms.ChoiceField(
        widget=UnfoldAdminSelectWidget, help_text="The code that runs the jobs: a handler that is installed here"
    )

    class Meta:
        model = JobType
        fields = [
            "name", "enabled", "handler", "default_timeout_sec", "default_max_attempts",
            *(f"retry_{name}" for name in RETRY),
        ]  # fmt: skip
        labels = {
            "default_timeout_sec": "Time limit (s)",
            "default_max_attempts": "Attempts",
            "retry_base_sec": "First wait (s)",
            "retry_factor": "Factor",
            "retry_max_sec": "Longest wait (s)",
            "retry_jitter": "Jitter",
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
                    self.add_error(fault["path"].replace("retry.", "retry_"), fault["message"])
        return values


def as_body(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns of JobType → the API's body, which nests the retry policy."""
    retry = {name: columns[f"retry_{name}"] for name in RETRY if f"retry_{name}" in columns}
    flat = {name: value for name, value in columns.items() if not name.startswith("retry_")}
    return {**flat, **({"retry": retry} if retry else {})}


@admin.register(JobType)
class JobTypeAdmin(ModelAdmin):  # type: ignore[misc]
    """Each change goes through `jobs.job_types`, and so into the audit log. Types are disabled, never deleted."""

    form = JobTypeForm
    list_display = ["name", "enabled", "state", "time_limit", "attempts", "needs", "handler"]
    list_editable = ["enabled"]
    list_filter = ["enabled"]
    search_fields = ["name", "handler"]
    actions = ["enable", "disable"]
    list_per_page = 100
    fieldsets = [
        (None, {"fields": ["name", "enabled", "handler", ("state", "needs")]}),
        ("Defaults of a job", {"fields": [("default_timeout_sec", "default_max_attempts")]}),
        ("Retry policy", {"fields": [("retry_base_sec", "retry_factor"), ("retry_max_sec", "retry_jitter")]}),
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
        return [(None, head), *self.fieldsets[1:3]]

    def save_model(self, request: HttpRequest, obj: JobType, form: Any, change: bool) -> None:
        """Through the verbs that record it, changed fields only: two people at once do not undo each other."""
        by = actor_of(request)
        if change:
            body = as_body({name: form.cleaned_data[name] for name in form.changed_data})
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
        self._switch(request, queryset, "Enabled", enabled=True)

    @admin.action(description="Disable the selected types", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[JobType]) -> None:
        """No new jobs of these types; queued ones fail when their turn comes."""
        self._switch(request, queryset, "Disabled", enabled=False)

    def _switch(self, request: HttpRequest, types: QuerySet[JobType], done: str, *, enabled: bool) -> None:
        switch = partial(job_types.update, change=JobTypeChange(enabled=enabled), by=actor_of(request))
        each(request, types, lambda job_type: switch(job_type.pk), done, f"Not {done.lower()}")
