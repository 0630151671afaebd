"""The shapes of the answers, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from jobs.api.serializers import Queue, answer, page
from metrics.alerts.rules import DEFINITIONS
from metrics.models import Alert as AlertRow


class JobStatus(serializers.Serializer[Any]):
    """How many jobs there are and were, by status."""

    queued = serializers.IntegerField()
    running = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()


class Metrics(serializers.Serializer[Any]):
    """What happened in the last `window_sec` seconds."""

    enabled = serializers.BooleanField(help_text="False: nothing is recorded (METRICS_ENABLED).")
    generated_at = serializers.DateTimeField()
    window_sec = serializers.IntegerField()
    counters = serializers.DictField(
        child=serializers.IntegerField(), help_text="Only what has happened: job.created, …"
    )
    job_status = JobStatus()
    job_status_estimated = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Statuses whose number is an estimate, for there are very many. Absent: all are exact.",
    )


class PulledAlert(serializers.Serializer[Any]):
    """Something is wrong now."""

    code = serializers.CharField(help_text="QUEUE_STALLED or HIGH_FAILURE_RATE.")
    severity = serializers.ChoiceField(choices=["warn"])
    message = serializers.CharField()
    details = serializers.JSONField()


MetricsAnswer = answer("RuntimeMetrics", metrics=Metrics(), alerts=PulledAlert(many=True))


class RunningJob(serializers.Serializer[Any]):
    """A job that a worker runs."""

    id = serializers.UUIDField()
    type = serializers.CharField()
    queue = serializers.CharField()
    attempt = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    running_sec = serializers.FloatField()
    timeout_sec = serializers.IntegerField()
    progress = serializers.JSONField(allow_null=True)


class Worker(serializers.Serializer[Any]):
    """A live worker."""

    id = serializers.UUIDField()
    name = serializers.CharField(help_text="WORKER_ID.")
    host = serializers.CharField()
    pid = serializers.IntegerField()
    pool = serializers.CharField(help_text="process: each job in a process of its own; io: all in one.")
    queues = serializers.ListField(child=serializers.CharField())
    slots = serializers.IntegerField(help_text="Jobs that it can run at once.")
    busy = serializers.IntegerField(help_text="Of these, how many run, on whatever queue.")
    version = serializers.CharField()
    started_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="When it last said that it lives.")
    jobs = RunningJob(many=True)


class BusyQueue(Queue):
    """A queue, how busy it is, and what came and went in the last minute."""

    made_per_min = serializers.IntegerField(help_text="Jobs made, by whomever.")
    ended_per_min = serializers.IntegerField(help_text="Jobs that succeeded, failed for good or were cancelled.")


WorkersAnswer = answer("RuntimeWorkers", workers=Worker(many=True), count=serializers.IntegerField())
QueuesAnswer = answer("RuntimeQueues", queues=BusyQueue(many=True), count=serializers.IntegerField())


def _settings(help_text: str) -> serializers.DictField:
    """A part's name → its settings."""
    return serializers.DictField(child=serializers.DictField(), help_text=help_text)


HandlersAnswer = answer("RuntimeHandlers", handlers=_settings("deploy, tool_exec, data_fetch and web_search."))
ProvidersAnswer = answer("RuntimeProviders", providers=_settings("codex and openai."))


class Alert(serializers.Serializer[Any]):
    """One time that a rule fired, from then until it was resolved."""

    id = serializers.IntegerField()
    code = serializers.CharField(help_text=f"One of {', '.join(DEFINITIONS)}.")
    scope = serializers.CharField(allow_null=True, help_text="Of what, where there are several: a queue.")
    state = serializers.ChoiceField(choices=AlertRow.State.choices)
    severity = serializers.ChoiceField(choices=["warn"])
    message = serializers.CharField()
    details = serializers.JSONField()
    value = serializers.FloatField(help_text="What was measured last, in the unit of the rule's threshold.")
    fired_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="When it was last found to hold.")
    told_at = serializers.DateTimeField(
        allow_null=True, help_text="When people were told; null while a cooldown lasts."
    )
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    acknowledged_by = serializers.CharField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)


class AlertRule(serializers.Serializer[Any]):
    """A rule as it holds now."""

    code = serializers.CharField(help_text=f"One of {', '.join(DEFINITIONS)}.")
    meaning = serializers.CharField()
    unit = serializers.CharField(help_text="Of the threshold.")
    enabled = serializers.BooleanField()
    threshold = serializers.FloatField()
    window_sec = serializers.IntegerField(allow_null=True, help_text="null: it looks back on nothing.")
    min_count = serializers.IntegerField(allow_null=True)
    cooldown_sec = serializers.IntegerField()
    webhooks = serializers.ListField(child=serializers.CharField())
    emails = serializers.ListField(child=serializers.CharField())


class AlertRuleChange(serializers.Serializer[Any]):
    """What can be said of a rule; at least one field. null: the default."""

    enabled = serializers.BooleanField(default=True)
    threshold = serializers.FloatField(allow_null=True, help_text="From which value on it fires; above 0.")
    window_sec = serializers.IntegerField(min_value=60, max_value=604_800, allow_null=True)
    min_count = serializers.IntegerField(min_value=1, max_value=1_000_000, allow_null=True)
    cooldown_sec = serializers.IntegerField(min_value=0, max_value=604_800, default=900)
    webhooks = serializers.ListField(child=serializers.CharField(), help_text="Hosts of CALLBACK_ALLOWLIST.")
    emails = serializers.ListField(child=serializers.CharField(), help_text="Sent through SMTP_HOST.")


AlertAnswer = answer("AlertAnswer", alert=Alert())
AlertList = page("AlertList", "Alerts", alerts=Alert(many=True))
RuleAnswer = answer("AlertRuleAnswer", rule=AlertRule())
RuleList = answer("AlertRuleList", rules=AlertRule(many=True), count=serializers.IntegerField())
