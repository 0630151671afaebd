"""Jobs: to find, to understand, to cancel and to retry."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter
from unfold.enums import ActionVariant

from access.admin import actor_of
from jobs import lifecycle, queries, results
from jobs.admin.common import ReadOnlyAdmin, back_to, badge, dialog, each, json_block
from jobs.explain import explain
from jobs.lifecycle import RULES
from jobs.lookup import id_range
from jobs.models import Attempt, Job, JobDependency, JobType, Outcome, Status
from jobs.sql import rows
from jobs.text import took_sec
from rauskuclaw.admin_filters import MomentFilter
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.operations.text import span

LOG_LINES = 200
STATUS_LABELS = {
    Status.QUEUED: "warning",
    Status.RUNNING: "info",
    Status.SUCCEEDED: "success",
    Status.FAILED: "danger",
    Status.CANCELLED: "default",
}
OUTCOME_LABELS = {
    Outcome.RUNNING: "info",
    Outcome.SUCCEEDED: "success",
    Outcome.FAILED: "danger",
    Outcome.TIMED_OUT: "danger",
    Outcome.LOST: "danger",
    Outcome.CANCELLED: "default",
    Outcome.SUSPENDED: "warning",
    Outcome.UNBEGUN: "warning",
}
LISTED = (
    "id", "type", "queue", "status", "priority", "attempts", "max_attempts", "tags", "created_at", "started_at",
    "finished_at",
)  # fmt: skip
"""What the list reads: not the inputs and results, which may be megabytes."""


class QueueFilter(DropdownFilter):  # type: ignore[misc]
    """By queue. The names come from the index; `SELECT DISTINCT` would read the whole table."""

    title, parameter_name = "queue", "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Every queue that a job was on."""
        return [(row["queue"], row["queue"]) for row in rows("queues_known", {})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Narrow it."""
        return queryset.filter(queue=self.value()) if self.value() else queryset


class TypeFilter(DropdownFilter):  # type: ignore[misc]
    """By job type."""

    title, parameter_name = "type", "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Every job type."""
        return [(name, name) for name in JobType.objects.values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Narrow it."""
        return queryset.filter(type=self.value()) if self.value() else queryset


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """A job is made over the API and moved by its lifecycle; whoever may `change` jobs may cancel and retry them."""

    list_display = ["shown_id", "type", "shown_status", "queue", "priority", "tries", "age", "took", "shown_tags"]
    list_filter = [
        ("status", ChoicesDropdownFilter),
        QueueFilter,
        TypeFilter,
        ("created_at", MomentFilter),
    ]
    search_fields = ["id"]
    search_help_text = "Beginning of an id, tag, or type"
    ordering = ["-created_at", "-id"]
    actions = ["cancel_selected", "retry_selected"]
    actions_detail = ["cancel_job", "retry_job"]
    change_form_template = "admin/jobs/job/page.html"

    class Media:
        css = {"all": ["jobs/admin.css"]}

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """The list's columns only; the page of one job reads the others as it shows them."""
        found: QuerySet[Job] = super().get_queryset(request)
        is_list = request.resolver_match is not None and str(request.resolver_match.url_name).endswith("_changelist")
        return found.only(*LISTED) if is_list else found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """Jobs of that id, tag or type. Each of the three has an index."""
        if not (term := search_term.strip()):
            return queryset, False
        types = JobType.objects.filter(name__icontains=term).values_list("name", flat=True)
        wanted = Q(tags__contains=[term]) | Q(type__in=[*types, term])
        if (ids := id_range(term)) is not None:
            wanted |= Q(id__range=ids)
        return queryset.filter(wanted), False

    @admin.display(description="id")
    def shown_id(self, job: Job) -> SafeString:
        """Its beginning; whole on hover."""
        return format_html('<span class="rc-mono" title="{}">{}</span>', job.id, str(job.id)[:8])

    @admin.display(description="status")
    def shown_status(self, job: Job) -> SafeString:
        """A coloured label."""
        return badge(STATUS_LABELS[Status(job.status)], job.get_status_display())

    @admin.display(description="attempts")
    def tries(self, job: Job) -> str:
        """So many of so many."""
        return f"{job.attempts}/{job.max_attempts}"

    @admin.display(description="created")
    def age(self, job: Job) -> SafeString:
        """How long ago; the moment on hover."""
        ago = span((timezone.now() - job.created_at).total_seconds())
        return format_html('<time title="{}" datetime="{}">{} ago</time>', *[iso_ms(job.created_at)] * 2, ago)

    @admin.display(description="took")
    def took(self, job: Job) -> str:
        """Of the last attempt."""
        seconds = took_sec(job, timezone.now())
        return "–" if seconds is None else span(seconds)

    @admin.display(description="tags")
    def shown_tags(self, job: Job) -> str:
        """In a line."""
        return ", ".join(job.tags) or "–"

    # The page of one job

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show everything about the job that the user may see."""
        job = self.get_object(request, object_id)
        context = self._page(request, job) if job and self.has_view_permission(request, job) else {}
        shown: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **context})
        return shown

    def _page(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        now = timezone.now()
        took = took_sec(job, now)
        may_see = {
            name: request.user.has_perm(f"jobs.view_{name}") for name in ("joblog", "attempt", "callbackdelivery")
        }
        log = queries.log_tail(job, tail=LOG_LINES + 1) if may_see["joblog"] else None
        attempts = queries.attempts_of(job) if may_see["attempt"] else []
        dependencies = JobDependency.objects.filter(job=job).select_related("depends_on")
        return {
            "title": f"{job.type} {str(job.id)[:8]}",
            "job": job,
            "status_badge": self.shown_status(job),
            "age": span((now - job.created_at).total_seconds()),
            "took": None if took is None else span(took),
            "limit": span(job.timeout_sec),
            "reasons": explain(job),
            "documents": [
                (name, json_block(value))
                for name in ("error", "result", "input")
                if (value := results.shown(job) if name == "result" else getattr(job, name)) is not None
            ],
            "dependencies": list(dependencies.only("job", "depends_on__type", "depends_on__status")),
            "log": None if log is None else [(line, _compact(line.meta)) for line in log[-LOG_LINES:]],
            "log_is_cut": bool(log) and len(log or ()) > LOG_LINES,
            "log_lines": LOG_LINES,
            "attempts": [_attempt_row(attempt) for attempt in attempts],
            "callbacks": queries.callbacks_of(job) if may_see["callbackdelivery"] else None,
        }  # fmt: skip

    # Cancel and retry

    def has_act_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        """Who may cancel and retry."""
        return request.user.has_perm("jobs.change_job")

    @admin.action(description="Cancel the selected jobs", permissions=["act"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Cancel each of them."""
        self._cancel(request, queryset)

    @admin.action(description="Retry the selected jobs", permissions=["act"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Run each of them again."""
        self._retry(request, queryset)

    @dialog(
        "Cancel", icon="cancel", variant=ActionVariant.DANGER, title="Cancel this job?", submit="Yes, cancel it",
        text="If it runs, its work is stopped at once. A cancelled job can be retried.",
    )  # fmt: skip
    def cancel_job(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Cancel the job of this page, once the dialog was answered."""
        self._cancel(request, _one(object_id))
        return back_to(request, "admin:jobs_job_change", object_id)

    @dialog(
        "Retry", icon="replay", variant=ActionVariant.PRIMARY, title="Run this job again?", submit="Yes, run it again",
        text="It is queued as a new series of attempts, with the same input.",
    )  # fmt: skip
    def retry_job(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Run the job of this page again, once the dialog was answered."""
        self._retry(request, _one(object_id))
        return back_to(request, "admin:jobs_job_change", object_id)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only what the job's status allows."""
        status = _one(object_id).values_list("status", flat=True).first()
        events = {"cancel_job": "cancel", "retry_job": "reopen"}
        offered = super().get_actions_detail(request, object_id)
        allowed = tuple(name for name, event in events.items() if status in RULES[event].sources)
        return [it for it in offered if it.action_name.endswith(allowed)]

    def _cancel(self, request: HttpRequest, jobs: QuerySet[Job] | list[Job]) -> None:
        cancel = partial(lifecycle.cancel, by=actor_of(request))
        each(request, jobs, lambda job: cancel(job.pk), "Cancelled", "Not cancelled")

    def _retry(self, request: HttpRequest, jobs: QuerySet[Job] | list[Job]) -> None:
        retry = partial(lifecycle.reopen, by=actor_of(request))
        each(request, jobs, lambda job: retry(job.pk), "Queued again", "Not retried")


def _attempt_row(it: Attempt) -> tuple[Attempt, SafeString, str | None, str]:
    """The attempt, its outcome as a label, how long it ran (None: it still runs) and waited."""
    ran = None if it.ran_ms is None else span(it.ran_ms / 1000)
    return it, badge(OUTCOME_LABELS[Outcome(it.outcome)], it.get_outcome_display()), ran, span(it.waited_ms / 1000)


def _compact(meta: object) -> str:
    return "" if meta is None else json.dumps(meta, ensure_ascii=False)


def _one(object_id: object) -> QuerySet[Job]:
    return Job.objects.filter(pk__in=[found] if (found := queries.parse_id(str(object_id))) else [])
