"""What metrics keep: counts by the minute, totals since ever, and how far the counting has come."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Count(models.Model):
    """How often something happened in one minute. Kept for METRICS_RETENTION_DAYS."""

    id = models.BigAutoField(primary_key=True)
    minute = models.DateTimeField(help_text="Its beginning")
    name = models.CharField(max_length=80, help_text="As in the contract, section 10: job.created")
    labels = models.JSONField(default=dict, help_text="Names and values; the same ones are the same counter")
    value = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["minute", "name", "labels"], name="count_is_one_a_minute_and_counter")
        ]

    def __str__(self) -> str:
        return f"{self.minute:%F %H:%M} {self.name} {self.value}"


class Total(models.Model):
    """How often something happened since counting began: what Prometheus asks for, which only ever grows."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=80)
    labels = models.JSONField(default=dict)
    value = models.BigIntegerField(help_text="A number; milliseconds where the name ends in _ms")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "labels"], name="total_is_one_a_counter")]

    def __str__(self) -> str:
        return f"{self.name} {self.value}"


class Progress(models.Model):
    """The one row that says how far rows have been counted, and whose lock makes that happen once."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    counted_to = models.DateTimeField(help_text="All minutes before this one are in Count and Total")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="progress_is_one_row")]

    def __str__(self) -> str:
        return f"counted to {self.counted_to:%F %H:%M}"
