"""`/v1/secrets`: set, list and delete; no answer ever holds a value."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access import secrets
from access.models import Secret
from access.permissions import RolePermission, UnrestrictedAdmin
from access.principals import principal_of
from access.representation import secret_json

Body = serializers.Serializer[Any]


class SecretRequest(Body):
    """What `PUT /v1/secrets/{name}` takes; `access.secrets.put` checks the values."""

    value = serializers.CharField(write_only=True, trim_whitespace=False, style={"input_type": "password"})
    note = serializers.CharField(
        required=False, allow_blank=True, max_length=200, default=None, allow_null=True, help_text="What it opens"
    )


class SecretObject(Body):
    """A secret without its value."""

    name = serializers.CharField()
    note = serializers.CharField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    updated_at = serializers.DateTimeField(help_text="When its value was last set")
    updated_by = serializers.CharField()


class SecretAnswer(Body):
    """One secret."""

    ok = serializers.BooleanField(default=True)
    secret = SecretObject()


class SecretListAnswer(Body):
    """All secrets, by name."""

    ok = serializers.BooleanField(default=True)
    secrets = SecretObject(many=True)
    count = serializers.IntegerField()


class DeletedAnswer(Body):
    """It is gone."""

    ok = serializers.BooleanField(default=True)
    name = serializers.CharField()
    deleted = serializers.BooleanField(default=True)


class SecretsAdmin(UnrestrictedAdmin):
    """Whoever may make keys."""

    message = "Secrets are managed by an admin key that may use every queue."


class Secrets(APIView):
    """All secrets."""

    permission_classes = [RolePermission, SecretsAdmin]

    @extend_schema(operation_id="list_secrets", tags=["secrets"], responses=SecretListAnswer)
    def get(self, request: Request) -> Response:
        """The names of the stored secrets. Nothing shows a value."""
        found = [secret_json(secret) for secret in Secret.objects.all()]
        return Response({"ok": True, "secrets": found, "count": len(found)})


class OneSecret(APIView):
    """One secret."""

    permission_classes = [RolePermission, SecretsAdmin]
    serializer_class = SecretRequest

    @extend_schema(operation_id="set_secret", tags=["secrets"], request=SecretRequest, responses=SecretAnswer)
    def put(self, request: Request, name: str) -> Response:
        """Set a secret, new or not. Settings refer to it as `secret:<name>`."""
        body = SecretRequest(data=request.data)
        body.is_valid(raise_exception=True)
        value, note = body.validated_data["value"], body.validated_data["note"]
        secret = secrets.put(name, value, note=note, by=principal_of(request).actor)
        return Response({"ok": True, "secret": secret_json(secret)})

    @extend_schema(operation_id="delete_secret", tags=["secrets"], request=None, responses=DeletedAnswer)
    def delete(self, request: Request, name: str) -> Response:
        """Forget a secret."""
        secrets.delete(name, by=principal_of(request).actor)
        return Response({"ok": True, "name": name, "deleted": True})
