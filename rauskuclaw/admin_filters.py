"""Filters that every app's admin may use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from unfold.contrib.filters.admin import RangeDateTimeFilter


class MomentFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """From and to, UTC. A day without a time means all of it (the theme's own filter would ignore it)."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow it; what is no date narrows nothing."""
        for bound, lookup, whole_day in (("from", "gte", "00:00"), ("to", "lte", "23:59:59.999999")):
            day, clock = (self.used_parameters.get(f"{self.parameter_name}_{bound}_{part}") for part in (0, 1))
            if moment := _moment(f"{day} {clock or whole_day}"):
                queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": moment})
        return queryset


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text)
    except ValueError:  # the 31st of February
        return None
    return None if found is None else found.replace(tzinfo=UTC)
