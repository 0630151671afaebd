"""The shapes of approvals, for the OpenAPI document. What is sent comes from `approvals/representation.py`."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from jobs.approvals.models import ApprovalState


class Approval(serializers.Serializer[Any]):
    """A job that a person decides about, and what the person said."""

    job_id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=ApprovalState.choices)
    name = serializers.CharField(allow_null=True, help_text="What the job that asks calls it: a tool's function.")
    reason = serializers.CharField(help_text="Why a person is asked.")
    type = serializers.CharField()
    queue = serializers.CharField()
    input = serializers.JSONField(allow_null=True, help_text="Exactly what would be run.")
    arguments_hash = serializers.CharField(help_text="SHA-256 of type, queue and input: approve by it.")
    job_status = serializers.CharField()
    parent_id = serializers.UUIDField(allow_null=True, help_text="The job that asks, and waits.")
    requested_by = serializers.CharField(help_text="Who made the job that asks.")
    requested_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(help_text="Denied if nobody has decided by then.")
    decided_by = serializers.CharField(allow_null=True, help_text="`approvals`: nobody.")
    decided_at = serializers.DateTimeField(allow_null=True)
    note = serializers.CharField(allow_null=True)


class Approve(serializers.Serializer[Any]):
    """Yes, to exactly what has this hash."""

    arguments_hash = serializers.RegexField("^[0-9a-f]{64}$")
    note = serializers.CharField(default="", max_length=2000)


class Deny(serializers.Serializer[Any]):
    """No, and perhaps why."""

    note = serializers.CharField(default="", max_length=2000, help_text="Told to whoever asked, a model say.")
