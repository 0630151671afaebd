"""The shapes of requests and answers, for the OpenAPI document. What is sent comes from `representation.py`."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from chat.models import Role, State, SuggestionState
from chat.requests import MAX_SYSTEM_CHARS, MAX_TEXT_CHARS
from jobs.api.approvals_schema import Approval


class SuggestionPolicy(serializers.Serializer[Any]):
    """Which suggested jobs run by themselves."""

    mode = serializers.ChoiceField(
        choices=["smart", "always", "never"], default="smart",
        help_text="Whether to ask for approval: smart, unless a job is within the bounds; always; never.",
    )  # fmt: skip
    max_timeout_sec = serializers.IntegerField(default=30, min_value=1, max_value=3600)
    max_attempts = serializers.IntegerField(default=1, min_value=1, max_value=10)
    max_priority = serializers.IntegerField(default=5, min_value=0, max_value=10)
    allow_types = serializers.ListField(child=serializers.CharField(), help_text="Empty: every type.")


class ThreadSettings(serializers.Serializer[Any]):
    """How a thread is answered."""

    type = serializers.CharField(default="ai.chat.generate", help_text="Job type of the answers.")
    system = serializers.CharField(default="", max_length=MAX_SYSTEM_CHARS)
    temperature = serializers.FloatField(allow_null=True, default=None)
    max_tokens = serializers.IntegerField(allow_null=True, default=None)
    max_prompt_tokens = serializers.IntegerField(
        default=12_000, help_text="Older messages are left out of the prompt beyond so many, by estimate."
    )
    agent_tools = serializers.BooleanField(default=False)
    memory = serializers.JSONField(allow_null=True, default=None, help_text="`input.memory` of the answers' jobs.")
    memory_write = serializers.JSONField(allow_null=True, default=None)
    repo_context = serializers.JSONField(allow_null=True, default=None)
    timeout_sec = serializers.IntegerField(allow_null=True, default=None)
    suggestions = SuggestionPolicy(required=False)
    answer_results = serializers.BooleanField(
        default=False, help_text="Whether the model goes on by itself when suggested jobs have ended."
    )


class NewThread(serializers.Serializer[Any]):
    """A thread to begin."""

    title = serializers.CharField(default="", max_length=200, help_text="Empty: made of its first message.")
    queue = serializers.CharField(default="default", help_text="Of its answers; who may not see it sees no thread.")
    settings = ThreadSettings(required=False)


class ThreadChange(serializers.Serializer[Any]):
    """What is to change; at least one field. Of `settings`, the fields that are sent."""

    title = serializers.CharField(required=False)
    archived = serializers.BooleanField(required=False)
    head_id = serializers.UUIDField(required=False, allow_null=True, help_text="Shows the branch this message is on.")
    settings = ThreadSettings(required=False)


class Thread(serializers.Serializer[Any]):
    """A conversation."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    queue = serializers.CharField()
    archived = serializers.BooleanField()
    head_id = serializers.UUIDField(allow_null=True, help_text="The last message of the branch that is shown.")
    settings = ThreadSettings()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class Suggestion(serializers.Serializer[Any]):
    """A job that an answer asked for."""

    id = serializers.UUIDField()
    position = serializers.IntegerField(help_text="From 0, in the answer.")
    type = serializers.CharField()
    queue = serializers.CharField()
    input = serializers.JSONField()
    priority = serializers.IntegerField()
    timeout_sec = serializers.IntegerField()
    max_attempts = serializers.IntegerField()
    tags = serializers.ListField(child=serializers.CharField())
    state = serializers.ChoiceField(choices=SuggestionState.choices)
    needs_approval = serializers.BooleanField()
    reasons = serializers.ListField(child=serializers.CharField(), help_text="Why it needs approval.")
    problem = serializers.JSONField(allow_null=True, help_text="Why no job could be made: code, message.")
    job_id = serializers.UUIDField(allow_null=True)
    job_status = serializers.CharField(allow_null=True, help_text="When it had ended.")
    decided_by = serializers.CharField(allow_null=True, help_text="`policy`: nobody was asked.")
    decided_at = serializers.DateTimeField(allow_null=True)


class Message(serializers.Serializer[Any]):
    """Something that was said."""

    id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    parent_id = serializers.UUIDField(allow_null=True)
    role = serializers.ChoiceField(choices=Role.choices)
    state = serializers.ChoiceField(choices=State.choices)
    text = serializers.CharField()
    shown_text = serializers.CharField(help_text="Without the fence of suggested jobs.")
    error = serializers.JSONField(allow_null=True)
    facts = serializers.JSONField(help_text="Of an answer: model, usage, finish_reason and more.")
    job_id = serializers.UUIDField(allow_null=True, help_text="While it is pending, follow its stream.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    branch_ids = serializers.ListField(child=serializers.UUIDField(), help_text="The messages that begin here.")
    suggestions = Suggestion(many=True)
    approvals = Approval(
        many=True,
        help_text="Calls of tools that a person must decide about: POST /v1/approvals/{job_id}/approve or /deny.",
    )


class NewMessage(serializers.Serializer[Any]):
    """Something to say."""

    content = serializers.CharField(max_length=MAX_TEXT_CHARS)
    parent_id = serializers.UUIDField(required=False, allow_null=True, help_text="Default: the thread's head.")


class Edit(serializers.Serializer[Any]):
    """What to say instead."""

    content = serializers.CharField(max_length=MAX_TEXT_CHARS)


class Decision(serializers.Serializer[Any]):
    """Ids of suggestions, or `all`; to approve also `auto`: those that need no approval."""

    approve = serializers.JSONField(required=False)
    dismiss = serializers.JSONField(required=False)
