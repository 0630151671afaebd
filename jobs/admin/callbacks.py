"""Callback deliveries: what was told to whom, and once more if need be."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from access.admin import actor_of
from jobs import callbacks
from jobs.admin.common import ReadOnlyAdmin, badge, each, json_block
from jobs.lookup import id_range
from jobs.models import CallbackDelivery
from rauskuclaw.admin_filters import MomentFilter

STATE_LABELS = {"pending": "info", "delivered": "success", "skipped": "warning", "dead": "danger"}


@admin.register(CallbackDelivery)
class CallbackDeliveryAdmin(ReadOnlyAdmin):
    """Whoever may `change` deliveries may have them sent again."""

    list_display = ["id", "shown_state", "job_link", "url", "tries", "last_status", "created_at", "delivered_at"]
    list_filter = [("state", ChoicesDropdownFilter), ("created_at", MomentFilter)]
    search_fields = ["job"]
    search_help_text = "The beginning of the job's id"
    ordering = ["-id"]
    actions = ["redeliver"]
    fieldsets = [
        (None, {"fields": [("shown_state", "job_link"), "url", ("tries", "last_status"), "last_error"]}),
        ("When", {"fields": [("created_at", "delivered_at"), "next_try"]}),
        ("What", {"fields": ["shown_payload"]}),
    ]

    class Media:
        css = {"all": ["jobs/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[CallbackDelivery]:
        """Without the payloads, which hold whole results; the page of one delivery reads its own."""
        found: QuerySet[CallbackDelivery] = super().get_queryset(request)
        return found.defer("payload")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CallbackDelivery], search_term: str
    ) -> tuple[QuerySet[CallbackDelivery], bool]:
        """By job: the one thing about a delivery that has an index."""
        if not search_term.strip():
            return queryset, False
        first, last = id_range(search_term) or (None, None)
        return (queryset.filter(job_id__gte=first, job_id__lte=last) if first else queryset.none()), False

    @admin.display(description="state")
    def shown_state(self, delivery: CallbackDelivery) -> SafeString:
        """A coloured label."""
        return badge(STATE_LABELS[delivery.state], delivery.get_state_display())

    @admin.display(description="job")
    def job_link(self, delivery: CallbackDelivery) -> SafeString | str:
        """To the job; an alert's delivery is of none."""
        if delivery.job_id is None:
            return "–"
        url = reverse("admin:jobs_job_change", args=[delivery.job_id])
        return format_html('<a class="rc-mono text-link" href="{}">{}</a>', url, str(delivery.job_id)[:8])

    @admin.display(description="next try")
    def next_try(self, delivery: CallbackDelivery) -> datetime | None:
        """When, while it is pending; redelivering makes another one due."""
        return delivery.next_try_at if delivery.state == CallbackDelivery.State.PENDING else None

    @admin.display(description="payload")
    def shown_payload(self, delivery: CallbackDelivery) -> SafeString:
        """The body that is sent."""
        payload = delivery.payload
        return json_block({key: payload.get(key) for key in callbacks.PAYLOAD_KEYS} if delivery.job_id else payload)

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        """Who may use the action."""
        return request.user.has_perm("jobs.change_callbackdelivery")

    @admin.action(description="Redeliver the selected callbacks", permissions=["redeliver"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[CallbackDelivery]) -> None:
        """Make each of them due now."""
        again = partial(callbacks.redeliver, by=actor_of(request))
        each(request, queryset, lambda delivery: again(delivery.pk), "Due again", "Not redelivered")
