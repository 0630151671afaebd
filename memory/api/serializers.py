"""The shapes of requests and answers, for the OpenAPI document. What is sent comes from `representation.py`."""

from __future__ import annotations

from typing import Any, get_args

from rest_framework import serializers

from memory import working
from memory.models import MAX_TTL_SEC, EmbeddingStatus
from memory.requests import MAX_QUERY_CHARS, MAX_TAGS
from memory.working import DEFAULT_TTL_SEC, MIN_TTL_SEC
from memory.working import MAX_TTL_SEC as MAX_SESSION_TTL_SEC

TASK_STATUSES: tuple[str, ...] = get_args(working.TaskStatus)
SEVERITIES: tuple[str, ...] = get_args(working.Severity)
SCOPE_HELP = "2 to 80 of a-z 0-9 . _ : -"
KEY_HELP = "2 to 120 of a-z 0-9 . _ : -"


class EmbeddingError(serializers.Serializer[Any]):
    """Why it has no vector."""

    message = serializers.CharField()
    code = serializers.CharField(help_text="Stable; listed in docs/errors.md.")
    details = serializers.JSONField(allow_null=True)
    at = serializers.DateTimeField()


class Provenance(serializers.Serializer[Any]):
    """Where it comes from."""

    written_by = serializers.CharField(help_text="`key:…`, `user:…` or `job:…`.")
    job_id = serializers.UUIDField(allow_null=True)
    trusted = serializers.BooleanField(help_text="false: what a model or a stranger said.")


class Memory(serializers.Serializer[Any]):
    """A memory."""

    id = serializers.UUIDField()
    scope = serializers.CharField()
    key = serializers.CharField()
    value = serializers.JSONField(allow_null=True)
    tags = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    embedding_status = serializers.ChoiceField(choices=EmbeddingStatus.choices)
    embedding_error = EmbeddingError(allow_null=True)
    embedded_at = serializers.DateTimeField(allow_null=True)
    provenance = Provenance()


class NewMemory(serializers.Serializer[Any]):
    """A memory to write."""

    scope = serializers.CharField(max_length=80, help_text=SCOPE_HELP)
    key = serializers.CharField(max_length=120, help_text=KEY_HELP)
    value = serializers.JSONField(allow_null=True, help_text="Any JSON; it must be there.")
    tags = serializers.ListField(
        child=serializers.CharField(), required=False, help_text=f"The first {MAX_TAGS} are kept."
    )
    ttl_sec = serializers.IntegerField(
        min_value=1, max_value=MAX_TTL_SEC, required=False, allow_null=True, help_text="None: it never expires."
    )
    trusted = serializers.BooleanField(
        default=True, help_text="false: what it says is never to be taken for an instruction."
    )


class Reset(serializers.Serializer[Any]):
    """What to forget."""

    confirm = serializers.BooleanField(help_text="true, or nothing happens.")
    scope = serializers.CharField(required=False, help_text="Left out: everything, working memory too.")


class Search(serializers.Serializer[Any]):
    """A search."""

    scope = serializers.CharField(help_text=SCOPE_HELP)
    query = serializers.CharField(max_length=MAX_QUERY_CHARS)
    top_k = serializers.IntegerField(
        min_value=1, required=False, help_text="At most MEMORY_SEARCH_TOP_K_MAX; default MEMORY_SEARCH_TOP_K_DEFAULT."
    )
    mode = serializers.ChoiceField(
        choices=["vector", "text", "hybrid"], default="vector",
        help_text="vector: by meaning. text: by words, which needs no embedding. hybrid: both, fused by rank.",
    )  # fmt: skip
    tags = serializers.ListField(child=serializers.CharField(), required=False, help_text="All of them.")
    since = serializers.DateTimeField(required=False, help_text="Updated at or after.")
    until = serializers.DateTimeField(required=False, help_text="Updated before.")
    value = serializers.JSONField(required=False, help_text='JSON that the value contains: `{"kind": "decision"}`.')
    include_expired = serializers.BooleanField(default=False)
    strict = serializers.BooleanField(
        required=False, help_text="Fail while a memory of the scope has no vector; default MEMORY_SEARCH_STRICT."
    )


class MemoryMatch(serializers.Serializer[Any]):
    """A memory that was found."""

    memory = Memory()
    score = serializers.FloatField(help_text="Higher is better; comparable within one mode only.")
    distance = serializers.FloatField(allow_null=True, help_text="Cosine, 0 to 2; null where words found it.")


class VectorError(serializers.Serializer[Any]):
    """Why there are no vectors in it."""

    code = serializers.CharField()
    message = serializers.CharField()


class Scope(serializers.Serializer[Any]):
    """A scope in numbers."""

    scope = serializers.CharField()
    total_count = serializers.IntegerField()
    ready_count = serializers.IntegerField()
    pending_count = serializers.IntegerField()
    failed_count = serializers.IntegerField()
    latest_updated_at = serializers.DateTimeField(allow_null=True)


class WorkingTask(serializers.Serializer[Any]):
    """Something a session does."""

    id = serializers.CharField(required=False)
    description = serializers.CharField()
    status = serializers.ChoiceField(choices=TASK_STATUSES, default="pending")
    created_at = serializers.CharField(required=False)
    updated_at = serializers.CharField(required=False)


class WorkingBlocker(serializers.Serializer[Any]):
    """What keeps a session from going on."""

    description = serializers.CharField()
    severity = serializers.ChoiceField(choices=SEVERITIES, default="medium")
    created_at = serializers.CharField(required=False)


class WorkingStateFields(serializers.Serializer[Any]):
    """What a session keeps; what is not sent is empty."""

    current_goal = serializers.CharField(allow_null=True, required=False)
    active_tasks = WorkingTask(many=True, required=False)
    completed_steps = serializers.ListField(child=serializers.CharField(), required=False)
    blockers = WorkingBlocker(many=True, required=False)
    open_questions = serializers.ListField(child=serializers.CharField(), required=False)
    context_summary = serializers.CharField(allow_null=True, required=False)


class WorkingState(WorkingStateFields):
    """What a session keeps."""

    session_id = serializers.CharField()
    updated_at = serializers.DateTimeField()


class WorkingSave(serializers.Serializer[Any]):
    """What to save, in place of all that the session held."""

    session_id = serializers.CharField(
        required=False, help_text="`session.` and a-z 0-9 . _ -; left out: a new session."
    )
    state = WorkingStateFields(required=False)
    ttl_sec = serializers.IntegerField(min_value=MIN_TTL_SEC, max_value=MAX_SESSION_TTL_SEC, default=DEFAULT_TTL_SEC)


class WorkingSession(serializers.Serializer[Any]):
    """A session in the list."""

    session_id = serializers.CharField()
    updated_at = serializers.DateTimeField()
