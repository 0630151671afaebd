"""Prices and budgets: which apply, and changing them. Each change is in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_UP, Decimal
from typing import Any

from django.db import IntegrityError, transaction

from access import audit
from providers.base import Usage
from providers.models import Account, Budget, Price
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.errors import CONFLICT, NOT_FOUND, Problem

SMALLEST = Decimal("1e-9")
MILLION = Decimal(1_000_000)
EVER = date(1970, 1, 1)


def price_of(provider: str, model: str) -> Price | None:
    """What counts for a model now: its own newest price, else that of the longest beginning of its name."""
    newest = Price.objects.filter(provider=provider).order_by("model", "-id").distinct("model")
    found = {price.model: price for price in newest}
    matching = [name for name in found if name == model or (name.endswith("*") and model.startswith(name[:-1]))]
    return found[max(matching, key=lambda name: (name == model, len(name)))] if matching else None


def cost_of(usage: Usage, price: Price) -> Decimal:
    """In dollars, rounded up to a billionth."""
    cached_price = price.input_usd_per_mtok if price.cached_usd_per_mtok is None else price.cached_usd_per_mtok
    cost = (
        (usage.input_tokens - usage.cached_tokens) * price.input_usd_per_mtok
        + usage.cached_tokens * cached_price
        + usage.output_tokens * price.output_usd_per_mtok
    ) / MILLION
    return cost.quantize(SMALLEST, rounding=ROUND_UP)


def set_price(values: Mapping[str, Any], *, by: str) -> Price:
    """A new version of a model's price; calls from now on are reckoned by it."""
    with transaction.atomic():
        price = Price.objects.create(**values, created_by=by)
        price.refresh_from_db()
        details = {name: str(value) for name, value in values.items() if value is not None}
        audit.record(actor=by, action="price.created", object_type="price", object_id=str(price.pk), details=details)
    return price


def create_budget(values: Mapping[str, Any], *, by: str) -> Budget:
    """A new budget; what was spent before it does not count. Raises CONFLICT for a second of its kind."""
    with transaction.atomic():
        try:
            with transaction.atomic():
                budget = Budget.objects.create(**values, created_by=by)
        except IntegrityError:
            raise Problem(
                CONFLICT, "There is a budget of this scope, subject and period already: change that."
            ) from None
        budget.refresh_from_db()
        _record("budget.created", budget, by)
    return budget


def change_budget(budget_id: Any, values: Mapping[str, Any], *, by: str) -> Budget:
    """Change its limit, or switch it. Raises NOT_FOUND."""
    with transaction.atomic():
        budget = Budget.objects.select_for_update().filter(pk=budget_id).first()
        if budget is None:
            raise _no_budget(budget_id)
        for name, value in values.items():
            setattr(budget, name, value)
        budget.save(update_fields=list(values))
        budget.refresh_from_db()
        _record("budget.updated", budget, by)
    return budget


def delete_budget(budget_id: Any, *, by: str) -> None:
    """Forget a budget and what was spent of it; the calls stay. Raises NOT_FOUND."""
    with transaction.atomic():
        budget = Budget.objects.select_for_update().filter(pk=budget_id).first()
        if budget is None:
            raise _no_budget(budget_id)
        _record("budget.deleted", budget, by)
        budget.delete()


def period_start(period: str, today: date) -> date:
    """The first day of the period that `today` (UTC) is in."""
    return {Budget.Period.DAY: today, Budget.Period.MONTH: today.replace(day=1)}.get(Budget.Period(period), EVER)


def amount(value: Decimal) -> str:
    """An amount as JSON text: no rounding, no exponent, no idle zeros."""
    return f"{value.normalize():f}"


def price_json(price: Price) -> dict[str, Any]:
    """A price as the API shows it."""
    told: dict[str, Any] = {"version": price.pk, "provider": price.provider, "model": price.model}
    for name in ("input_usd_per_mtok", "cached_usd_per_mtok", "output_usd_per_mtok", "reserve_usd"):
        value: Decimal | None = getattr(price, name)
        told[name] = None if value is None else amount(value)
    return {**told, "created_at": iso_ms(price.created_at), "created_by": price.created_by}


def budget_json(budget: Budget, today: date) -> dict[str, Any]:
    """A budget, and how much of it is gone in the period of today."""
    start = period_start(budget.period, today)
    accounts = Account.objects.filter(budget=budget, period_start=start).order_by("-spent_usd", "id")[:100]
    return {
        "id": str(budget.pk),
        "scope": budget.scope,
        "subject": budget.subject,
        "period": budget.period,
        "limit_usd": amount(budget.limit_usd),
        "enabled": budget.enabled,
        "created_at": iso_ms(budget.created_at),
        "created_by": budget.created_by,
        "accounts": [
            {"subject": it.subject, "spent_usd": amount(it.spent_usd), "reserved_usd": amount(it.reserved_usd)}
            for it in accounts
        ],
    }


def _no_budget(budget_id: Any) -> Problem:
    return Problem(NOT_FOUND, f"There is no budget with id {budget_id}.")


def _record(action: str, budget: Budget, by: str) -> None:
    details = {"budget": str(budget), "enabled": budget.enabled}
    audit.record(actor=by, action=action, object_type="budget", object_id=str(budget.pk), details=details)
