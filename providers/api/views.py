"""`/v1/usage`, `/v1/prices` and `/v1/budgets`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.permissions import RolePermission, UnrestrictedAdmin
from access.principals import principal_of
from jobs.api.views import ERRORS
from jobs.bodies import refused
from providers import history, money, usage
from providers.api import serializers as shapes
from providers.models import Budget, Price
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none
from rauskuclaw.api.pagination import text_param

DEFAULT_SPAN = timedelta(days=30)
FILTERS = tuple(name for name in usage.GROUPS if name not in {"day", "job"})


class MoneyAdmin(UnrestrictedAdmin):
    """Whoever may make keys."""

    message = "Prices and budgets are managed by an admin key that may use every queue."


class UsageView(APIView):
    """What models were used for."""

    @extend_schema(
        operation_id="usage",
        tags=["models"],
        parameters=[
            OpenApiParameter("group_by", OpenApiTypes.STR, description=f"Any of {', '.join(usage.GROUPS)}, by commas."),
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="30 days before `until` by default."),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="Now by default."),
            *(OpenApiParameter(name, OpenApiTypes.STR, description="Only of this one.") for name in FILTERS),
        ],
        responses={200: shapes.UsageAnswer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Calls, tokens and cost of models, grouped. A key with a queue allowlist sees its queues'."""
        by = [name for name in (text_param(request, "group_by") or "").split(",") if name]
        if unknown := [name for name in by if name not in usage.GROUPS]:
            raise refused([("group_by", f"{unknown[0]!r} is none of {', '.join(usage.GROUPS)}")])
        until = _moment(request, "until") or datetime.now(UTC)
        since = _moment(request, "since") or until - DEFAULT_SPAN
        filters = {name: value for name in FILTERS if (value := text_param(request, name)) is not None}
        calls = usage.calls_between(since, until, filters, principal_of(request).queue_allowlist)
        groups = usage.grouped(calls, by) if by else []
        told = {"since": iso_ms(since), "until": iso_ms(until), "group_by": by, "groups": groups}
        kept_since = iso_ms_or_none(history.kept_since())
        return Response({"ok": True, **told, "total": usage.total(calls), "kept_since": kept_since})


class PricesView(APIView):
    """What models cost."""

    permission_classes = [RolePermission, MoneyAdmin]
    serializer_class = shapes.PriceRequest
    examples: ClassVar[dict[str, Any]] = {
        "POST": {
            "provider": "openai",
            "model": "gpt-4.1-mini*",
            "input_usd_per_mtok": "0.40",
            "cached_usd_per_mtok": "0.10",
            "output_usd_per_mtok": "1.60",
        }
    }

    @extend_schema(operation_id="prices_list", tags=["models"], responses={200: shapes.PricesAnswer, **ERRORS})
    def get(self, request: Request) -> Response:
        """All versions, newest first; the newest of a model counts."""
        found = [money.price_json(price) for price in Price.objects.all()[:1000]]
        return Response({"ok": True, "prices": found, "count": len(found)})

    @extend_schema(
        operation_id="price_set",
        tags=["models"],
        request=shapes.PriceRequest,
        responses={201: shapes.PriceAnswer, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Set what a model costs from now on. What was called before keeps the version it was reckoned by."""
        body = shapes.PriceRequest(data=request.data)
        body.is_valid(raise_exception=True)
        price = money.set_price(body.validated_data, by=principal_of(request).actor)
        return Response({"ok": True, "price": money.price_json(price)}, status=201)


class BudgetsView(APIView):
    """How much may be spent."""

    permission_classes = [RolePermission, MoneyAdmin]
    serializer_class = shapes.BudgetRequest
    examples: ClassVar[dict[str, Any]] = {
        "POST": {"scope": "key", "subject": "*", "period": "day", "limit_usd": "5.00"}
    }

    @extend_schema(operation_id="budgets_list", tags=["models"], responses={200: shapes.BudgetsAnswer, **ERRORS})
    def get(self, request: Request) -> Response:
        """All budgets, and what is gone of them in their present period."""
        found = [_budget(budget) for budget in Budget.objects.all()]
        return Response({"ok": True, "budgets": found, "count": len(found)})

    @extend_schema(
        operation_id="budget_create",
        tags=["models"],
        request=shapes.BudgetRequest,
        responses={201: shapes.BudgetAnswer, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Set a budget. A call that it may not cover fails with BUDGET_EXCEEDED and is not made."""
        body = shapes.BudgetRequest(data=request.data)
        body.is_valid(raise_exception=True)
        budget = money.create_budget(body.validated_data, by=principal_of(request).actor)
        return Response({"ok": True, "budget": _budget(budget)}, status=201)


class BudgetView(APIView):
    """One budget."""

    permission_classes = [RolePermission, MoneyAdmin]
    serializer_class = shapes.BudgetChange

    @extend_schema(
        operation_id="budget_change",
        tags=["models"],
        request=shapes.BudgetChange,
        responses={200: shapes.BudgetAnswer, **ERRORS},
    )
    def patch(self, request: Request, budget_id: UUID) -> Response:
        """Change its limit, or switch it on or off."""
        body = shapes.BudgetChange(data=request.data)
        body.is_valid(raise_exception=True)
        if not body.validated_data:
            raise refused([("", "send limit_usd or enabled")])
        budget = money.change_budget(budget_id, body.validated_data, by=principal_of(request).actor)
        return Response({"ok": True, "budget": _budget(budget)})

    @extend_schema(
        operation_id="budget_delete", tags=["models"], request=None, responses={200: shapes.DeletedAnswer, **ERRORS}
    )
    def delete(self, request: Request, budget_id: UUID) -> Response:
        """Forget a budget. The calls stay."""
        money.delete_budget(budget_id, by=principal_of(request).actor)
        return Response({"ok": True, "id": str(budget_id), "deleted": True})


def _moment(request: Request, name: str) -> datetime | None:
    text = text_param(request, name)
    if text is None:
        return None
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise refused([(name, f"{name} must be a time with its offset from UTC, e.g. 2026-11-21T12:00:00Z")])
    return moment


def _budget(budget: Budget) -> dict[str, Any]:
    return money.budget_json(budget, datetime.now(UTC).date())
