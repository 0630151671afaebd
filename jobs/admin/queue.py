"""Queues: paused, resumed and limited here."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from access.admin import actor_of
from jobs import queues
from jobs.admin.common import badge, each
from jobs.models import Queue
from jobs.queues import QueueChange, QueueOverview
from rauskuclaw.errors import Problem
from rauskuclaw.operations.text import span
from rauskuclaw.patterns import QUEUE


class QueueForm(forms.ModelForm):  # type: ignore[type-arg]
    """What an operator says of a queue, checked by the rules of the API."""

    class Meta:
        model = Queue
        fields = ["name", "paused", "max_running"]
        labels = {"max_running": "At once"}

    def clean_name(self) -> str:
        """A name that jobs can have."""
        name = str(self.cleaned_data["name"])
        if not QUEUE.fullmatch(name):
            raise forms.ValidationError("A name has 1 to 80 of a-z 0-9 . _ : -")
        return name

    def clean(self) -> dict[str, Any]:
        """Tell what the API would refuse beside the field that is wrong."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                queues.parse_change({name: values[name] for name in QueueChange.model_fields})
            except Problem as problem:
                for fault in (problem.details or {}).get("errors", []):
                    self.add_error(fault["path"], fault["message"])
        return values


@admin.register(Queue)
class QueueAdmin(ModelAdmin):  # type: ignore[misc]
    """Each change goes through `jobs.queues`, and so into the audit log. Queues are paused, never deleted."""

    form = QueueForm
    list_display = ["name", "state", "max_running", "waiting", "oldest", "in_window", "running", "workers"]
    list_filter = ["paused"]
    search_fields = ["name"]
    actions = ["pause", "resume"]
    list_per_page = 100
    fields = ["name", "paused", "max_running"]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Every queue that jobs or workers name, too: a queue works without a row, and is found here all the same."""
        queues.note_known()
        shown: HttpResponse = super().changelist_view(request, extra_context)
        return shown

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The page's queues with how busy each is, counted once."""
        page = super().get_changelist_instance(request)
        busy = queues.by_name()
        for queue in page.result_list:
            queue.overview = busy[queue.pk]
        return page

    @admin.display(description="jobs begin", ordering="paused")
    def state(self, queue: Queue) -> SafeString:
        """A coloured label."""
        return badge("warning", "paused") if queue.paused else badge("success", "yes")

    @admin.display(description="waiting")
    def waiting(self, queue: Queue) -> str:
        """Due jobs not handed to the workers yet."""
        overview = _overview(queue)
        return f"{overview.waiting}{'+' if overview.more_waiting else ''}"

    @admin.display(description="longest for")
    def oldest(self, queue: Queue) -> str:
        """How long the first of them has been due."""
        seconds = _overview(queue).oldest_waiting_sec
        return "–" if seconds is None else span(seconds)

    @admin.display(description="handed out")
    def in_window(self, queue: Queue) -> int:
        """Not begun yet."""
        return _overview(queue).in_window

    @admin.display(description="running")
    def running(self, queue: Queue) -> int:
        """On workers."""
        return _overview(queue).running

    @admin.display(description="workers")
    def workers(self, queue: Queue) -> SafeString | str:
        """So many live ones, with so many slots."""
        overview = _overview(queue)
        return f"{overview.workers}, {overview.slots} slots" if overview.workers else badge("danger", "none")

    def get_readonly_fields(self, request: HttpRequest, obj: Queue | None = None) -> list[str]:
        """A name is for ever: jobs refer to it."""
        return ["name"] if obj else []

    def save_model(self, request: HttpRequest, obj: Queue, form: Any, change: bool) -> None:
        """Through the verb that records it, changed fields only: two people at once do not undo each other."""
        named = form.changed_data if change else QueueChange.model_fields
        body = {name: form.cleaned_data[name] for name in named}
        if body:
            saved = queues.change(obj.pk, queues.parse_change(body), by=actor_of(request))
            obj.__dict__.update(saved.__dict__)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody: jobs refer to their queue."""
        return False

    @admin.action(description="Pause the selected queues", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """No job of these queues begins; those that run go on."""
        self._switch(request, queryset, "Paused", paused=True)

    @admin.action(description="Resume the selected queues", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """Jobs of these queues begin again."""
        self._switch(request, queryset, "Resumed", paused=False)

    def _switch(self, request: HttpRequest, found: QuerySet[Queue], done: str, *, paused: bool) -> None:
        switch = partial(queues.change, wanted=QueueChange(paused=paused), by=actor_of(request))
        each(request, found, lambda queue: switch(queue.pk), done, f"Not {done.lower()}")


def _overview(queue: Queue) -> QueueOverview:
    overview: QueueOverview = queue.overview  # type: ignore[attr-defined]
    return overview
