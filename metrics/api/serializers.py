"""The shapes of the answers, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from jobs.api.serializers import answer


class JobStatus(serializers.Serializer[Any]):
    """How many jobs there are, by status."""

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


class PulledAlert(serializers.Serializer[Any]):
    """Something is wrong now."""

    code = serializers.ChoiceField(choices=["QUEUE_STALLED", "HIGH_FAILURE_RATE"])
    severity = serializers.ChoiceField(choices=["warn"])
    message = serializers.CharField()
    details = serializers.JSONField()


MetricsAnswer = answer("RuntimeMetrics", metrics=Metrics(), alerts=PulledAlert(many=True))
