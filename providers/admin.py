"""The admin's pages for prices, budgets and calls of models."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from access.admin import actor_of
from jobs.admin.common import ReadOnlyAdmin
from providers import money
from providers.mcp import admin as mcp_admin
from providers.models import Budget, ModelCall, Price
from rauskuclaw.admin_filters import MomentFilter

__all__ = ["BudgetAdmin", "ModelCallAdmin", "PriceAdmin", "mcp_admin"]


@admin.register(Price)
class PriceAdmin(ModelAdmin):  # type: ignore[misc]
    """Prices: look, and set a new version."""

    list_display = ["id", "provider", "model", "input_usd_per_mtok", "output_usd_per_mtok", "created_at", "created_by"]
    list_filter = ["provider"]
    search_fields = ["model"]

    def save_model(self, request: HttpRequest, obj: Price, form: Any, change: bool) -> None:
        """Set it through the verb that records."""
        obj.__dict__.update(money.set_price(form.cleaned_data, by=actor_of(request)).__dict__)

    def has_change_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        """Nobody: set a new version."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        """Nobody: calls name the version they were reckoned by."""
        return False


@admin.register(Budget)
class BudgetAdmin(ModelAdmin):  # type: ignore[misc]
    """Budgets: make, change, delete."""

    list_display = ["scope", "subject", "period", "limit_usd", "enabled", "created_by"]
    list_filter = ["scope", "period", "enabled"]
    search_fields = ["subject"]

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> list[str]:
        """What it counts is for good."""
        return ["scope", "subject", "period"] if obj else []

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        """Save it through the verbs that record."""
        by = actor_of(request)
        if change:
            kept = money.change_budget(obj.pk, {"limit_usd": obj.limit_usd, "enabled": obj.enabled}, by=by)
        else:
            kept = money.create_budget(form.cleaned_data, by=by)
        obj.__dict__.update(kept.__dict__)

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        """Delete it through the verb that records."""
        money.delete_budget(obj.pk, by=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        """Delete each of them."""
        for pk in list(queryset.values_list("pk", flat=True)):
            money.delete_budget(pk, by=actor_of(request))


@admin.register(ModelCall)
class ModelCallAdmin(ReadOnlyAdmin):
    """Calls of models, to read."""

    list_display = [
        "id", "started_at", "provider", "model", "job_type", "key", "input_tokens", "output_tokens", "cost_usd",
        "latency_ms", "state", "error_code",
    ]  # fmt: skip
    list_filter = ["provider", "state", ("started_at", MomentFilter)]
    search_fields = ["=job_id", "key", "thread"]
