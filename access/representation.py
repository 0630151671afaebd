"""Principals, keys and secrets as the API shows them."""

from __future__ import annotations

from typing import Any

from access.models import ApiKey, Secret
from access.principals import Principal
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none


def principal_json(principal: Principal) -> dict[str, Any]:
    """The `auth` object of whoami (contract 2.1)."""
    return {
        "name": principal.name,
        "role": principal.role,
        "sse": principal.sse,
        "can_write": principal.can_write,
        "queue_allowlist": None if principal.queue_allowlist is None else list(principal.queue_allowlist),
    }


def key_json(key: ApiKey) -> dict[str, Any]:
    """A stored key without anything that could open a door."""
    return {
        "id": str(key.pk),
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role,
        "sse": key.sse,
        "queue_allowlist": key.queue_allowlist,
        "created_at": iso_ms(key.created_at),
        "created_by": key.created_by,
        "last_used_at": iso_ms_or_none(key.last_used_at),
        "expires_at": iso_ms_or_none(key.expires_at),
        "revoked_at": iso_ms_or_none(key.revoked_at),
    }


def secret_json(secret: Secret) -> dict[str, Any]:
    """A secret without its value, sealed or not."""
    return {
        "name": secret.name,
        "note": secret.note,
        "created_at": iso_ms(secret.created_at),
        "created_by": secret.created_by,
        "updated_at": iso_ms(secret.updated_at),
        "updated_by": secret.updated_by,
    }
