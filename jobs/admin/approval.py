"""What waits for a person, and what people have said."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from access.admin import actor_of
from jobs.admin.common import ReadOnlyAdmin, badge, each, json_block
from jobs.approvals import decisions
from jobs.approvals.models import Approval
from jobs.lookup import id_range
from rauskuclaw.admin_filters import MomentFilter

STATE_LABELS = {
    "pending": "warning", "approved": "success", "denied": "danger", "expired": "default", "withdrawn": "default",
}  # fmt: skip


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """Whoever may `change` approvals may decide; the list shows all of each input that fits a line."""

    list_display = [
        "job_link",
        "shown_state",
        "name",
        "shown_input",
        "reason",
        "requested_at",
        "expires_at",
        "decided_by",
    ]
    list_filter = [("state", ChoicesDropdownFilter), ("requested_at", MomentFilter)]
    search_fields = ["job"]
    search_help_text = "The beginning of the job's id"
    ordering = ["-requested_at", "-job"]
    list_select_related = ["job"]
    actions = ["approve", "deny"]
    fieldsets = [
        (None, {"fields": [("shown_state", "job_link"), "name", "reason", "shown_whole_input", "arguments_hash"]}),
        ("When", {"fields": [("requested_at", "requested_by"), "expires_at"]}),
        ("Decision", {"fields": [("decided_at", "decided_by"), "note"]}),
    ]

    class Media:
        css = {"all": ["jobs/admin.css"]}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Approval], search_term: str
    ) -> tuple[QuerySet[Approval], bool]:
        """By job: the one thing about an approval that has an index."""
        if not search_term.strip():
            return queryset, False
        first, last = id_range(search_term) or (None, None)
        return (queryset.filter(pk__gte=first, pk__lte=last) if first else queryset.none()), False

    @admin.display(description="state")
    def shown_state(self, approval: Approval) -> SafeString:
        """A coloured label."""
        return badge(STATE_LABELS[approval.state], approval.get_state_display())

    @admin.display(description="job")
    def job_link(self, approval: Approval) -> SafeString:
        """To the job."""
        url = reverse("admin:jobs_job_change", args=[approval.pk])
        return format_html('<a class="rc-mono text-link" href="{}">{}</a>', url, str(approval.pk)[:8])

    @admin.display(description="call")
    def name(self, approval: Approval) -> str:
        """What would be run."""
        return approval.job.child_name or approval.job.type

    @admin.display(description="input")
    def shown_input(self, approval: Approval) -> SafeString:
        """What it would be run with, in a line."""
        text = str(approval.job.input)
        return format_html('<span class="rc-mono">{}</span>', text if len(text) <= 120 else f"{text[:119]}…")

    @admin.display(description="input")
    def shown_whole_input(self, approval: Approval) -> SafeString:
        """All of it."""
        return json_block(approval.job.input)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Who may use the actions."""
        return request.user.has_perm("jobs.change_approval")

    @admin.action(description="Approve the selected calls", permissions=["decide"])
    def approve(self, request: HttpRequest, queryset: QuerySet[Approval]) -> None:
        """Let each of them begin."""

        def verb(approval: Any) -> object:
            return decisions.approve(approval, arguments_hash=approval.arguments_hash, by=actor_of(request))

        each(request, queryset, verb, "Approved", "Not approved")

    @admin.action(description="Deny the selected calls", permissions=["decide"])
    def deny(self, request: HttpRequest, queryset: QuerySet[Approval]) -> None:
        """Cancel each of them."""
        each(request, queryset, partial(decisions.deny, by=actor_of(request)), "Denied", "Not denied")
