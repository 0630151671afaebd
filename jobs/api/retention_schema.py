"""The shapes of retention's requests and answers, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from jobs.retention.models import MAX_COUNT, MAX_DAYS


class RetentionPolicyChange(serializers.Serializer[Any]):
    """What is said of a policy; null: nothing, so that the next one holds."""

    job_days = serializers.IntegerField(
        min_value=0, max_value=MAX_DAYS, required=False, allow_null=True, help_text="After their end; 0: for ever."
    )
    failed_days = serializers.IntegerField(
        min_value=0, max_value=MAX_DAYS, required=False, allow_null=True,
        help_text="The same for jobs that failed; null: as the others.",
    )  # fmt: skip
    job_count = serializers.IntegerField(
        min_value=0, max_value=MAX_COUNT, required=False, allow_null=True,
        help_text="The newest so many jobs of a type are kept, older ones go sooner; 0: no limit.",
    )  # fmt: skip
    log_days = serializers.IntegerField(
        min_value=0, max_value=MAX_DAYS, required=False, allow_null=True,
        help_text="Their log, after their end; 0: as long as the jobs.",
    )  # fmt: skip


class RetentionPolicy(serializers.Serializer[Any]):
    """What holds for a type."""

    type = serializers.CharField(allow_null=True, help_text="null: all that have no policy of their own.")
    job_days = serializers.IntegerField()
    failed_days = serializers.IntegerField()
    job_count = serializers.IntegerField()
    log_days = serializers.IntegerField()
    said = RetentionPolicyChange(help_text="What its own row says; the rest comes of all types', then the settings.")


class RetentionKind(serializers.Serializer[Any]):
    """Something else that grows old."""

    kind = serializers.CharField()
    policy = serializers.CharField(help_text="How long it is kept, and which setting says so.")


class RetentionLog(serializers.Serializer[Any]):
    """The partitions of the log, one for each day that jobs were made on."""

    partitions = serializers.IntegerField()
    oldest = serializers.DateTimeField(allow_null=True)
    size_bytes = serializers.IntegerField()


class RetentionRun(serializers.Serializer[Any]):
    """How far the last run came."""

    started_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="When it last said so.")
    ended_at = serializers.DateTimeField(allow_null=True, help_text="null: it is under way, or was killed.")
    removed = serializers.DictField(child=serializers.IntegerField(), help_text="Rows, by kind.")
    more = serializers.BooleanField(help_text="Whether it ran out of time; the next one, a minute later, goes on.")


class Retention(serializers.Serializer[Any]):
    """How long everything is kept."""

    ok = serializers.BooleanField(default=True)
    enabled = serializers.BooleanField(help_text="Whether anything is deleted by itself.")
    policy = RetentionPolicy()
    types = RetentionPolicy(many=True, help_text="The types with a policy of their own.")
    others = RetentionKind(many=True)
    log = RetentionLog()
    last_run = RetentionRun(allow_null=True)


class RetentionFinding(serializers.Serializer[Any]):
    """What would go of one kind; of jobs, of one type."""

    kind = serializers.CharField(help_text="jobs, log_partitions or one of `others` of GET /v1/retention.")
    type = serializers.CharField(allow_null=True)
    policy = serializers.CharField()
    count = serializers.IntegerField(help_text="Counted up to a million. Some of the jobs may still be needed.")
    more = serializers.BooleanField(help_text="Whether counting stopped there.")
    oldest = serializers.DateTimeField(allow_null=True)
    size_bytes = serializers.IntegerField(help_text="About what it takes up.")
