"""Request bodies, checked; and the shapes of the answers, for the OpenAPI document."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from jobs.api.serializers import answer
from providers.models import Budget, Price

Body = serializers.Serializer[Any]


def _money(**options: Any) -> Any:
    return serializers.DecimalField(max_digits=14, decimal_places=6, min_value=Decimal(0), **options)


class PriceRequest(Body):
    """A model's price from now on."""

    provider = serializers.CharField(max_length=40, help_text="openai, anthropic, ollama, codex-cli or codex-oss")
    model = serializers.CharField(max_length=120, help_text="Its name, the beginning of names (gpt-4.1*), or * for all")
    input_usd_per_mtok = _money(help_text="A million tokens of input")
    cached_usd_per_mtok = _money(required=False, allow_null=True, help_text="Of cached input; null: as others")
    output_usd_per_mtok = _money(help_text="A million tokens of output")
    reserve_usd = _money(
        required=False, allow_null=True, help_text="What budgets set aside for a call without a bound (Codex)"
    )


class BudgetRequest(Body):
    """A budget."""

    scope = serializers.ChoiceField(choices=Budget.Scope.choices)
    subject = serializers.CharField(max_length=200, default="*", help_text="Which one; *: each one for itself")
    period = serializers.ChoiceField(choices=Budget.Period.choices)
    limit_usd = _money()
    enabled = serializers.BooleanField(default=True)


class BudgetChange(Body):
    """What of a budget can be changed."""

    limit_usd = _money(required=False)
    enabled = serializers.BooleanField(required=False)


class PriceObject(serializers.ModelSerializer[Price]):
    """A version of a price. Amounts are texts: no JSON number holds them exactly."""

    version = serializers.IntegerField(source="id")

    class Meta:
        model = Price
        fields = [
            "version", "provider", "model", "input_usd_per_mtok", "cached_usd_per_mtok", "output_usd_per_mtok",
            "reserve_usd", "created_at", "created_by",
        ]  # fmt: skip


class AccountObject(Body):
    """What is gone in the present period."""

    subject = serializers.CharField()
    spent_usd = serializers.CharField()
    reserved_usd = serializers.CharField(help_text="Set aside for calls under way")


class BudgetObject(Body):
    """A budget, and what is gone of it."""

    id = serializers.UUIDField()
    scope = serializers.ChoiceField(choices=Budget.Scope.choices)
    subject = serializers.CharField()
    period = serializers.ChoiceField(choices=Budget.Period.choices)
    limit_usd = serializers.CharField()
    enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    accounts = AccountObject(many=True, help_text="The 100 that spent most")


class Sums(Body):
    """Of some calls."""

    calls = serializers.IntegerField()
    failed = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.CharField()
    unpriced_calls = serializers.IntegerField(help_text="Of models without a price: their cost is not in the sum")
    open_calls = serializers.IntegerField(help_text="Under way")


UsageAnswer = answer(
    "Usage",
    since=serializers.DateTimeField(),
    until=serializers.DateTimeField(),
    group_by=serializers.ListField(child=serializers.CharField()),
    groups=serializers.ListField(child=serializers.DictField(), help_text="The names of the group, and its sums."),
    total=Sums(),
    kept_since=serializers.DateTimeField(
        allow_null=True, help_text="When the first call began that is still kept, anybody's: none before it is counted."
    ),
)
PricesAnswer = answer("Prices", prices=PriceObject(many=True), count=serializers.IntegerField())
PriceAnswer = answer("OnePrice", price=PriceObject())
BudgetsAnswer = answer("Budgets", budgets=BudgetObject(many=True), count=serializers.IntegerField())
BudgetAnswer = answer("OneBudget", budget=BudgetObject())
DeletedAnswer = answer("BudgetDeleted", id=serializers.UUIDField(), deleted=serializers.BooleanField())
