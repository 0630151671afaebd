"""Prices, budgets, and each call of a model. `ledger.py` writes calls and accounts, `money.py` the rest."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from providers.mcp.models import McpServer, McpTool

__all__ = ["Account", "Budget", "McpServer", "McpTool", "ModelCall", "Price", "usd"]


def usd(**options: Any) -> Any:
    """An amount, to a billionth of a dollar: one token of a cheap model costs a ten-millionth."""
    return models.DecimalField(max_digits=20, decimal_places=9, **options)


class Price(models.Model):
    """What a model's tokens cost from now on. Rows never change: the newest one of a model counts, and a call names the
    one that it was reckoned by."""

    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=120, help_text="Its name, or the beginning of names: gpt-4.1*, or * for all")
    input_usd_per_mtok = models.DecimalField(max_digits=14, decimal_places=6, help_text="A million tokens of input")
    cached_usd_per_mtok = models.DecimalField(
        max_digits=14, decimal_places=6, null=True, blank=True, help_text="Of input that was cached; empty: as others"
    )
    output_usd_per_mtok = models.DecimalField(max_digits=14, decimal_places=6, help_text="A million tokens of output")
    reserve_usd = models.DecimalField(
        max_digits=14, decimal_places=6, null=True, blank=True,
        help_text="What budgets set aside for a call without a bound, such as a run of Codex",
    )  # fmt: skip
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=160, editable=False)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["provider", "-id"], name="price_by_provider")]
        constraints = [
            models.CheckConstraint(
                condition=Q(input_usd_per_mtok__gte=0, output_usd_per_mtok__gte=0)
                & (Q(cached_usd_per_mtok=None) | Q(cached_usd_per_mtok__gte=0))
                & (Q(reserve_usd=None) | Q(reserve_usd__gte=0)),
                name="price_is_not_negative",
            )
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.model} (version {self.pk})"


class Budget(models.Model):
    """How much may be spent. With the subject * each key (type, schedule, thread) has as much for itself."""

    class Scope(models.TextChoices):
        """What is counted together."""

        ALL = "all", "Everything"
        KEY = "key", "A key, as the audit log names it"
        TYPE = "type", "A job type"
        SCHEDULE = "schedule", "A schedule, by its id"
        THREAD = "thread", "A thread"

    class Period(models.TextChoices):
        """Since when."""

        DAY = "day", "The day, UTC"
        MONTH = "month", "The month, UTC"
        TOTAL = "total", "Ever"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    scope = models.CharField(max_length=8, choices=Scope)
    subject = models.CharField(max_length=200, blank=True, default="*", help_text="Which one; *: each one for itself")
    period = models.CharField(max_length=5, choices=Period)
    limit_usd = usd()
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=160, editable=False)

    class Meta:
        ordering = ["scope", "subject", "period"]
        constraints = [
            models.UniqueConstraint(fields=["scope", "subject", "period"], name="budget_is_one_of_its_kind"),
            models.CheckConstraint(condition=Q(limit_usd__gte=0), name="budget_limit_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.subject} a {self.period}: {self.limit_usd.normalize():f} USD"


class Account(models.Model):
    """What of a budget is spent in one period, and what calls under way have set aside."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="accounts")
    subject = models.CharField(max_length=200)
    period_start = models.DateField(help_text="1970-01-01 for ever")
    spent_usd = usd(default=Decimal(0))
    reserved_usd = usd(default=Decimal(0))

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "subject", "period_start"], name="account_is_one_of_its_budget_and_period"
            ),
            models.CheckConstraint(condition=Q(reserved_usd__gte=0), name="account_reserves_are_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} from {self.period_start}"


class ModelCall(models.Model):
    """One call of a model: whose it was, what it used and cost. Kept when its job is deleted."""

    class State(models.TextChoices):
        """Where its money is."""

        OPEN = "open", "Under way: its bound is set aside"
        SETTLED = "settled", "What it cost is spent"
        LOST = "lost", "Its worker died: its bound counts as spent"

    id = models.BigAutoField(primary_key=True)
    job_id = models.UUIDField()
    job_type = models.CharField(max_length=80)
    queue = models.CharField(max_length=80)
    key = models.CharField(max_length=160, help_text="Who made the job, or the first of those that made it")
    schedule = models.CharField(max_length=40, blank=True, default="")
    thread = models.CharField(max_length=120, blank=True, default="")
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=120)
    state = models.CharField(max_length=7, choices=State, default=State.OPEN)
    started_at = models.DateTimeField(db_default=Now())
    deadline_at = models.DateTimeField(help_text="When its job's time is up; a call still open then is lost")
    latency_ms = models.PositiveIntegerField(null=True)
    first_text_ms = models.PositiveIntegerField(null=True)
    input_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    estimated = models.BooleanField(default=False, help_text="Its tokens were counted by us")
    error_code = models.CharField(max_length=60, blank=True, default="")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, null=True, related_name="+")
    cost_usd = usd(null=True)
    reserved_usd = usd(default=Decimal(0))
    accounts = ArrayField(models.BigIntegerField(), default=list)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["job_id"], name="modelcall_by_job"),
            models.Index(fields=["started_at"], name="modelcall_by_start"),
            models.Index(fields=["deadline_at"], name="modelcall_open", condition=Q(state="open")),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(cached_tokens__lte=F("input_tokens")), name="modelcall_cached_is_input"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.model} for job {self.job_id}"
