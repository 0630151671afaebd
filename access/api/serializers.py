"""Request bodies, checked; and answers, described for OpenAPI (`representation.py` makes them)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from access.models import Role
from rauskuclaw.patterns import STREAM_JOB_ID

Body = serializers.Serializer[Any]


class StreamTokenRequest(Body):
    """What `POST /v1/auth/sse-token` takes."""

    job_id = serializers.CharField(
        required=False, allow_null=True, default=None, help_text="The only job the token opens; none: every stream."
    )

    def validate_job_id(self, job_id: str | None) -> str | None:
        """Refuse what no job id can be."""
        if job_id is not None and not STREAM_JOB_ID.fullmatch(job_id):
            raise serializers.ValidationError("Send a job's id: 1 to 120 of a-z 0-9 . _ : -")
        return job_id


class SessionRequest(Body):
    """What `POST /v1/auth/session` takes: a key, or a user's name and password, or nothing beside a key header."""

    key = serializers.CharField(required=False, max_length=4096, write_only=True)
    username = serializers.CharField(required=False, max_length=150)
    password = serializers.CharField(
        required=False, max_length=4096, write_only=True, trim_whitespace=False, style={"input_type": "password"}
    )

    def validate(self, attrs: dict[str, str]) -> dict[str, str]:
        """A name and a password come together, and not with a key."""
        given = attrs.keys()
        if given and given not in ({"key"}, {"username", "password"}):
            raise serializers.ValidationError("Send either key, or username and password.")
        return attrs


class KeyRequest(Body):
    """What `POST /v1/keys` takes; `access.keys.create` checks the values."""

    name = serializers.CharField(help_text="Who or what uses it; unique among live keys")
    role = serializers.ChoiceField(choices=Role.choices, default=Role.READ)
    sse = serializers.BooleanField(default=True, help_text="May follow jobs live")
    queue_allowlist = serializers.ListField(
        child=serializers.CharField(), allow_null=True, default=None, max_length=1000,
        help_text="Queues it may see and use; null: every queue",
    )  # fmt: skip
    expires_at = serializers.DateTimeField(allow_null=True, default=None, help_text="null: never")


class AuthAnswer(Body):
    """The caller (contract 2.1)."""

    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    sse = serializers.BooleanField(help_text="May follow jobs live")
    can_write = serializers.BooleanField()
    queue_allowlist = serializers.ListField(child=serializers.CharField(), allow_null=True)


class WhoamiAnswer(Body):
    """`GET /v1/auth/whoami`."""

    ok = serializers.BooleanField(default=True)
    auth = AuthAnswer()


class SessionAnswer(WhoamiAnswer):
    """`GET` and `POST /v1/auth/session`."""

    csrf_token = serializers.CharField(help_text="Send it as header X-CSRFToken with every write")


class OkAnswer(Body):
    """Nothing to tell but success."""

    ok = serializers.BooleanField(default=True)


class StreamTokenAnswer(Body):
    """`POST /v1/auth/sse-token`."""

    ok = serializers.BooleanField(default=True)
    token = serializers.CharField()
    token_param = serializers.CharField(help_text="Query parameter to send it in")
    ttl_sec = serializers.IntegerField()
    expires_at = serializers.DateTimeField()
    job_id = serializers.CharField(allow_null=True)


class KeyObject(Body):
    """A stored key. The key itself is not here: only its making shows it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="The key reads rk_<prefix>_…")
    role = serializers.ChoiceField(choices=Role.choices)
    sse = serializers.BooleanField()
    queue_allowlist = serializers.ListField(child=serializers.CharField(), allow_null=True)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute")
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class KeyAnswer(Body):
    """One key."""

    ok = serializers.BooleanField(default=True)
    key = KeyObject()


class NewKeyAnswer(KeyAnswer):
    """A key just made."""

    secret = serializers.CharField(help_text="The key to send. It is shown this once")


class KeyListAnswer(Body):
    """Keys, newest first."""

    ok = serializers.BooleanField(default=True)
    keys = KeyObject(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="Send it as `cursor` for the next page")
