"""What waits for a person, and what people have said."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast, Left
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from access.admin import actor_of
from jobs.admin.common import ReadOnlyAdmin, back_to, badge, dialog, each, fits_block, json_block
from jobs.approvals import decisions, queries
from jobs.approvals.models import Approval
from jobs.lookup import id_range
from jobs.queries import parse_id
from jobs.text import plain
from rauskuclaw import errors
from rauskuclaw.admin_filters import MomentFilter
from rauskuclaw.errors import Problem

SHOWN_CHARS = 120
"""Of an input, in the list: a longer one is approved on its page, which shows the rest."""
LISTED = (
    "state", "reason", "arguments_hash", "requested_at", "expires_at", "decided_by", "job__type", "job__queue",
    "job__child_name",
)  # fmt: skip
"""What the list reads beside the beginnings of the inputs, which may be megabytes."""
STATE_LABELS = {
    "pending": "warning", "approved": "success", "denied": "danger", "expired": "default", "withdrawn": "default",
}  # fmt: skip


class NoteForm(BaseDialogForm):  # type: ignore[misc]
    """What the person has to say of it."""

    note = forms.CharField(required=False, max_length=2000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """Whoever may `change` approvals may decide: about many where the list shows all of their inputs, or about one on
    its page."""

    list_display = [
        "name",
        "shown_state",
        "job_link",
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
    actions = ["approve", "deny"]
    actions_detail = ["approve_one", "deny_one"]
    fieldsets = [
        (None, {"fields": [("shown_state", "job_link"), "name", "reason", "shown_whole_input", "arguments_hash"]}),
        ("When", {"fields": [("requested_at", "requested_by"), "expires_at"]}),
        ("Decision", {"fields": [("decided_at", "decided_by"), "note"]}),
    ]

    class Media:
        css = {"all": ["jobs/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        """With their jobs; for the list `input_text`, a little more of the input than fits there."""
        found: QuerySet[Approval] = super().get_queryset(request).select_related("job")
        is_list = request.resolver_match is not None and str(request.resolver_match.url_name).endswith("_changelist")
        text = Left(Cast("job__input", TextField()), SHOWN_CHARS + 1)
        return found.only(*LISTED).annotate(input_text=text) if is_list else found

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
    def shown_input(self, approval: Any) -> SafeString:
        """What it would be run with, or its beginning."""
        shown = plain(approval.input_text[:SHOWN_CHARS]) + "…" * _is_cut(approval)
        return format_html('<span class="rc-mono rc-wrapped">{}</span>', shown)

    @admin.display(description="input")
    def shown_whole_input(self, approval: Approval) -> SafeString:
        """All of it, if a page has room for that."""
        return json_block(approval.job.input)

    def has_decide_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        """Who may use the actions."""
        return request.user.has_perm("jobs.change_approval")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """None where nothing is to be decided any more."""
        is_open = queries.pending(_one(object_id)).exists()
        return super().get_actions_detail(request, object_id) if is_open else []

    @admin.action(description="Approve the selected calls", permissions=["decide"])
    def approve(self, request: HttpRequest, queryset: QuerySet[Approval]) -> None:
        """Let each of them begin whose input the list shows: nobody has looked at the others."""
        _approve(request, queryset, "", is_shown=lambda approval: not _is_cut(approval))

    @admin.action(description="Deny the selected calls", permissions=["decide"])
    def deny(self, request: HttpRequest, queryset: QuerySet[Approval]) -> None:
        """Cancel each of them."""
        _deny(request, queryset, "")

    @dialog(
        "Approve", icon="check", variant=ActionVariant.PRIMARY, title="Let this call be made?", submit="Yes, make it",
        text="It is run with exactly the input of this page.", permission="decide", form=NoteForm,
    )  # fmt: skip
    def approve_one(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Let the call of this page be made, once the dialog was answered."""
        _approve(request, _one(object_id), form.cleaned_data["note"], is_shown=lambda it: fits_block(it.job.input))
        return back_to(request, "admin:jobs_approval_change", object_id)

    @dialog(
        "Deny", icon="block", variant=ActionVariant.DANGER, title="Refuse this call?", submit="Yes, refuse it",
        text="It is not made. The model is told your note, and goes on.", permission="decide", form=NoteForm,
    )  # fmt: skip
    def deny_one(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Refuse the call of this page, once the dialog was answered."""
        _deny(request, _one(object_id), form.cleaned_data["note"])
        return back_to(request, "admin:jobs_approval_change", object_id)


def _one(object_id: object) -> QuerySet[Approval]:
    found = parse_id(str(object_id))
    return Approval.objects.select_related("job").filter(pk__in=[found] if found else [])


def _is_cut(approval: Any) -> bool:
    return len(approval.input_text) > SHOWN_CHARS


def _approve(
    request: HttpRequest, approvals: QuerySet[Approval], note: str, *, is_shown: Callable[[Approval], bool]
) -> None:
    by = actor_of(request)

    def verb(approval: Any) -> object:
        if not is_shown(approval):
            raise Problem(errors.CONFLICT, "only the beginning of its input was shown; its page and the API have more")
        return decisions.approve(approval, arguments_hash=approval.arguments_hash, by=by, note=note)

    each(request, approvals, verb, "Approved", "Not approved")


def _deny(request: HttpRequest, approvals: QuerySet[Approval], note: str) -> None:
    each(request, approvals, partial(decisions.deny, by=actor_of(request), note=note), "Denied", "Not denied")
