"""What models were used for, and what it cost, by whatever somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from providers.models import ModelCall
from providers.money import amount

GROUPS = ("day", "provider", "model", "type", "queue", "key", "schedule", "thread", "job")
_COLUMNS = {"type": "job_type", "job": "job_id"}
MAX_GROUPS = 1000
_SUMS = {
    "calls": Count("id"),
    "failed": Count("id", filter=~Q(error_code="")),
    "input_tokens": Sum("input_tokens"),
    "cached_tokens": Sum("cached_tokens"),
    "output_tokens": Sum("output_tokens"),
    "cost_usd": Sum("cost_usd"),
    "unpriced_calls": Count("id", filter=Q(cost_usd=None) & ~Q(state=ModelCall.State.OPEN)),
    "open_calls": Count("id", filter=Q(state=ModelCall.State.OPEN)),
}


def calls_between(
    since: datetime, until: datetime, filters: dict[str, str], queues: Sequence[str] | None
) -> QuerySet[ModelCall]:
    """The calls that began then, of one model, key and so on. queues: None is every queue."""
    wanted: dict[str, Any] = {_COLUMNS.get(name, name): value for name, value in filters.items()}
    found = ModelCall.objects.filter(started_at__gte=since, started_at__lt=until, **wanted)
    return found if queues is None else found.filter(queue__in=queues)


def grouped(calls: QuerySet[ModelCall], by: Sequence[str]) -> list[dict[str, Any]]:
    """The sums of each group, dearest first, then by name; at most MAX_GROUPS."""
    columns = {name: TruncDate("started_at") if name == "day" else F(_COLUMNS.get(name, name)) for name in by}
    named = {f"of_{name}": column for name, column in columns.items()}
    rows = calls.annotate(**named).values(*named).annotate(**{f"sum_{name}": it for name, it in _SUMS.items()})
    ordered = rows.order_by(F("sum_cost_usd").desc(nulls_last=True), *named)[:MAX_GROUPS]
    return [{**{name: str(row[f"of_{name}"]) for name in by}, **_sums(row)} for row in ordered]


def total(calls: QuerySet[ModelCall]) -> dict[str, Any]:
    """The sums of all."""
    return _sums(calls.aggregate(**{f"sum_{name}": it for name, it in _SUMS.items()}))


def _sums(row: dict[str, Any]) -> dict[str, Any]:
    told = {name: row[f"sum_{name}"] or 0 for name in _SUMS}
    return {**told, "cost_usd": amount(Decimal(told["cost_usd"]))}


def today() -> dict[str, dict[str, Any]]:
    """Of each provider: calls, failed ones and cost since midnight UTC. An operator's first look, and cheap."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    sums = {name: _SUMS[name] for name in ("calls", "failed", "cost_usd")}
    rows: Any = ModelCall.objects.filter(started_at__gte=midnight).order_by().values("provider")
    found = rows.annotate(**{f"sum_{name}": it for name, it in sums.items()})
    return {row["provider"]: {name: row[f"sum_{name}"] or 0 for name in sums} for row in found}


def under_way() -> int:
    """Calls that have not ended."""
    return ModelCall.objects.filter(state=ModelCall.State.OPEN).count()
