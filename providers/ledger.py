"""The ledger of model calls: what one may cost at most is set aside before it, what it cost is spent after it.

Calls at once cannot overspend: setting aside is one conditional UPDATE of the accounts, all of them or none. A call
whose worker died is settled by the heartbeat, and its bound counts as spent, because nobody knows what it cost.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from jobs.models import Job
from providers.base import Request, Usage
from providers.faults import Fault
from providers.models import Account, Budget, ModelCall, Price
from providers.money import amount, cost_of, period_start, price_of
from rauskuclaw import errors

MESSAGE_TOKENS = 64
"""More than any protocol adds to a message."""
ATTACHED_TOKENS = 8192
"""More than an image costs."""
LOST_AFTER = timedelta(seconds=60)
SWEEP_BATCH = 200
MAX_DEPTH = 12

# Locked in the order of their ids, so that two calls that share accounts cannot wait for each other.
_RESERVE = """
WITH wanted AS (SELECT id FROM providers_account WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE)
UPDATE providers_account AS account SET reserved_usd = account.reserved_usd + %(amount)s
FROM wanted, providers_budget AS budget
WHERE account.id = wanted.id AND budget.id = account.budget_id
  AND account.spent_usd + account.reserved_usd + %(amount)s <= budget.limit_usd
RETURNING account.id
"""
_SPEND = """
WITH wanted AS (SELECT id FROM providers_account WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE)
UPDATE providers_account AS account
SET reserved_usd = account.reserved_usd - %(reserved)s, spent_usd = account.spent_usd + %(cost)s
FROM wanted WHERE account.id = wanted.id
"""


@dataclass(frozen=True)
class Owner:
    """Whose call it is."""

    job_id: uuid.UUID
    job_type: str
    queue: str
    key: str
    schedule: str
    thread: str
    deadline_at: datetime

    def subject(self, scope: str) -> str:
        """What a budget of a scope counts it under; "" where there is none."""
        return "all" if scope == Budget.Scope.ALL else str(getattr(self, "job_type" if scope == "type" else scope))


@dataclass(frozen=True)
class OpenCall:
    """A call that may be made. max_tokens: what bounds its answer, where budgets need a bound."""

    id: int
    max_tokens: int | None


def owner_of(job_id: uuid.UUID, *, thread: str, deadline_at: datetime) -> Owner:
    """Whose a job is: for one that jobs have made, the first of them."""
    job = first = (
        Job.objects.select_related("group").only("type", "queue", "created_by", "group__parent").get(pk=job_id)
    )
    for _ in range(MAX_DEPTH):
        if first.group is None:
            break
        first = Job.objects.select_related("group").only("created_by", "group__parent").get(pk=first.group.parent_id)
    kind, _, schedule = first.created_by.partition(" ")
    return Owner(
        job_id, job.type, job.queue, first.created_by, schedule if kind == "schedule" else "", thread, deadline_at
    )


def begin(
    owner: Owner,
    provider: str,
    model: str,
    request: Request,
    *,
    bounded: bool,
    default_max: int,
) -> OpenCall:
    """Note a call and set its bound aside.

    Raises Fault: BUDGET_EXCEEDED, or PROVIDER_CONFIG where a budget applies to a model without a price.
    """
    with transaction.atomic():
        price = price_of(provider, model)
        budgets = _applying(owner)
        max_tokens = request.max_tokens or (default_max if budgets else None)
        reserved = Decimal(0)
        accounts: list[int] = []
        if budgets:
            reserved = _bound(price, request, max_tokens or default_max, f"{provider} {model}", bounded=bounded)
            accounts = _reserve(owner, budgets, reserved)
        call = ModelCall.objects.create(
            job_id=owner.job_id, job_type=owner.job_type, queue=owner.queue, key=owner.key, schedule=owner.schedule,
            thread=owner.thread, provider=provider, model=model, deadline_at=owner.deadline_at, price=price,
            reserved_usd=reserved, accounts=accounts,
        )  # fmt: skip
    return OpenCall(call.pk, max_tokens)


def settle(
    call_id: int, usage: Usage, *, latency_ms: int, first_text_ms: int | None = None, error_code: str = ""
) -> Decimal | None:
    """Spend what the call cost, and free what was set aside; the cost, None without a price. Twice is once."""
    with transaction.atomic():
        call = ModelCall.objects.select_for_update(of=("self",)).select_related("price").get(pk=call_id)
        usage = replace(usage, cached_tokens=min(usage.cached_tokens, usage.input_tokens))
        cost = None if call.price is None else cost_of(usage, call.price)
        if call.state == ModelCall.State.OPEN:
            call.state = ModelCall.State.SETTLED
            call.input_tokens, call.output_tokens = usage.input_tokens, usage.output_tokens
            call.cached_tokens, call.estimated = usage.cached_tokens, usage.estimated
            call.latency_ms, call.first_text_ms, call.error_code = latency_ms, first_text_ms, error_code
            call.cost_usd = cost
            call.save()
            _spend(call, cost or Decimal(0))
    return cost


def sweep() -> int:
    """Settle calls whose workers died: their bound counts as spent. How many. Twice is harmless."""
    due = ModelCall.objects.filter(state=ModelCall.State.OPEN, deadline_at__lt=timezone.now() - LOST_AFTER)
    with transaction.atomic():
        lost = list(due.select_for_update(skip_locked=True).order_by("id")[:SWEEP_BATCH])
        for call in lost:
            call.state, call.error_code = ModelCall.State.LOST, errors.WORKER_LOST.name
            call.cost_usd = None if call.price_id is None else call.reserved_usd
            call.save(update_fields=["state", "error_code", "cost_usd"])
            _spend(call, call.reserved_usd)
    return len(lost)


def estimate(request: Request, text: str) -> Usage:
    """Tokens of a call whose provider told none: four bytes are about one."""
    return Usage(math.ceil(_bytes_of(request) / 4), math.ceil(len(text.encode()) / 4), estimated=True)


def _applying(owner: Owner) -> Sequence[Budget]:
    wanted = Q(scope=Budget.Scope.ALL)
    for scope in (Budget.Scope.KEY, Budget.Scope.TYPE, Budget.Scope.SCHEDULE, Budget.Scope.THREAD):
        if subject := owner.subject(scope):
            wanted |= Q(scope=scope, subject__in=["*", subject])
    return list(Budget.objects.filter(wanted, enabled=True))


def _bound(price: Price | None, request: Request, max_tokens: int, model: str, *, bounded: bool) -> Decimal:
    if price is None:
        raise Fault(errors.PROVIDER_CONFIG, f"a budget applies, and {model} has no price: POST /v1/prices")
    if bounded:
        # No tokeniser makes more tokens than there are bytes.
        attached = sum(len(it.get("content") or ()) for it in request.messages if isinstance(it.get("content"), list))
        most = _bytes_of(request) + MESSAGE_TOKENS * (len(request.messages) + 1) + ATTACHED_TOKENS * attached
        return cost_of(Usage(most, max_tokens), price)
    if price.reserve_usd is None:
        raise Fault(
            errors.PROVIDER_CONFIG,
            f"a budget applies, and a call of {model} has no bound: give its price a reserve_usd",
        )
    return price.reserve_usd


def _bytes_of(request: Request) -> int:
    return len(json.dumps([list(request.messages), list(request.tools)], ensure_ascii=False).encode())


def _reserve(owner: Owner, budgets: Sequence[Budget], needed: Decimal) -> list[int]:
    today = datetime.now(UTC).date()
    wanted = [
        Account(budget=it, subject=owner.subject(it.scope), period_start=period_start(it.period, today))
        for it in budgets
    ]
    Account.objects.bulk_create(wanted, ignore_conflicts=True)
    same = Q(pk__in=[])
    for it in wanted:
        same |= Q(budget=it.budget, subject=it.subject, period_start=it.period_start)
    accounts = list(Account.objects.filter(same).select_related("budget").order_by("id"))
    ids = [account.pk for account in accounts]
    with connection.cursor() as cursor:
        cursor.execute(_RESERVE, {"ids": ids, "amount": needed})
        reserved = {row[0] for row in cursor.fetchall()}
    for account in accounts:
        if account.pk not in reserved:
            raise _exceeded(account, needed)
    return ids


def _exceeded(account: Account, needed: Decimal) -> Fault:
    account.refresh_from_db(fields=["spent_usd", "reserved_usd"])
    budget = account.budget
    details = {
        "budget_id": str(budget.pk), "scope": budget.scope, "subject": account.subject, "period": budget.period,
        "limit_usd": amount(budget.limit_usd), "spent_usd": amount(account.spent_usd),
        "reserved_usd": amount(account.reserved_usd), "needed_usd": amount(needed),
    }  # fmt: skip
    return Fault(
        errors.BUDGET_EXCEEDED,
        f"the budget of {amount(budget.limit_usd)} USD ({budget.scope} {account.subject}, {budget.period}) does not"
        f" cover another call: {amount(account.spent_usd)} are spent, this one may cost {amount(needed)}",
        details,
    )


def _spend(call: ModelCall, cost: Decimal) -> None:
    if call.accounts:
        with connection.cursor() as cursor:
            cursor.execute(_SPEND, {"ids": call.accounts, "reserved": call.reserved_usd, "cost": cost})
