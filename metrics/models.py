"""What metrics keep: counts and levels by the minute, totals, how far the counting has come; alerts and their rules."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


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


class Level(models.Model):
    """How much of something there was at a minute. Kept for METRICS_RETENTION_DAYS."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=80)
    minute = models.DateTimeField()
    value = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "minute"], name="level_is_one_a_minute")]

    def __str__(self) -> str:
        return f"{self.minute:%F %H:%M} {self.name} {self.value}"


class Progress(models.Model):
    """The one row that says how far rows have been counted, and whose lock makes that happen once."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    counted_to = models.DateTimeField(help_text="All minutes before this one are in Count and Total")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="progress_is_one_row")]

    def __str__(self) -> str:
        return f"counted to {self.counted_to:%F %H:%M}"


class AlertRule(models.Model):
    """What an operator has said of one kind of alert. A rule needs no row to hold: `metrics/alerts/rules.py`."""

    code = models.CharField(primary_key=True, max_length=40)
    enabled = models.BooleanField(default=True, db_default=True)
    threshold = models.FloatField(null=True, blank=True, help_text="From which value on it fires; empty: the default")
    window_sec = models.PositiveIntegerField(
        null=True, blank=True, help_text="How far back it looks, where it looks back; empty: the default"
    )
    min_count = models.PositiveIntegerField(
        null=True, blank=True, help_text="HIGH_FAILURE_RATE: only with so many jobs ended; empty: the default"
    )
    cooldown_sec = models.PositiveIntegerField(
        default=900, db_default=900, help_text="So long after it told of itself it does not do so again"
    )
    webhooks = ArrayField(
        models.TextField(), default=list, blank=True, help_text="URLs to post to; their hosts as for callbacks"
    )
    emails = ArrayField(models.EmailField(), default=list, blank=True, help_text="Addresses to write to (SMTP_HOST)")
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["code"]
        constraints = [
            models.CheckConstraint(
                condition=Q(window_sec__isnull=True) | Q(window_sec__range=(60, 604_800)),
                name="rule_window_is_60_to_604800_sec",
            ),
            models.CheckConstraint(
                condition=Q(threshold__isnull=True) | Q(threshold__gt=0), name="rule_threshold_is_over_0"
            ),
            models.CheckConstraint(condition=Q(cooldown_sec__lte=604_800), name="rule_cooldown_is_a_week_at_most"),
        ]

    def __str__(self) -> str:
        return self.code


class Alert(models.Model):
    """One time that a rule fired, from then until it was resolved. The rows are the history."""

    class State(models.TextChoices):
        FIRING = "firing", "Firing"
        ACKNOWLEDGED = "acknowledged", "Acknowledged"
        """Somebody has seen it; it still holds."""
        RESOLVED = "resolved", "Resolved"

    id = models.BigAutoField(primary_key=True)
    code = models.CharField(max_length=40)
    scope = models.CharField(max_length=80, default="", blank=True, help_text="What it is of, where there are several")
    state = models.CharField(max_length=12, choices=State, default=State.FIRING)
    message = models.TextField()
    details = models.JSONField(default=dict)
    value = models.FloatField(help_text="What was measured last, in the unit of the rule's threshold")
    fired_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now(), help_text="When it was last found to hold")
    told_at = models.DateTimeField(
        null=True, blank=True, help_text="When people were told; null while a cooldown lasts"
    )
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=160, default="", db_default="", blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["code", "scope"], condition=Q(resolved_at__isnull=True), name="alert_fires_once_at_a_time"
            ),
            models.CheckConstraint(
                condition=Q(state="resolved", resolved_at__isnull=False)
                | (~Q(state="resolved") & Q(resolved_at__isnull=True)),
                name="alert_is_resolved_iff_resolved_at",
            ),
            models.CheckConstraint(
                condition=~Q(state="acknowledged") | Q(acknowledged_at__isnull=False),
                name="alert_is_acknowledged_at_some_time",
            ),
        ]
        indexes = [models.Index(fields=["code", "scope", "-told_at"], name="alert_told")]

    def __str__(self) -> str:
        return f"{self.code} {self.scope} {self.state}".replace("  ", " ")
