"""From a credential to a Principal: configured keys first, then stored keys (contract 1.1).

A *reference* names a credential without revealing it, so that a session or a stream token can be traced back to it on
each use, and dies with it:

    env:<hmac>   a configured key, as an HMAC under SECRET_KEY: a digest of a short key could be guessed from a token
    db:<uuid>    a stored key
    user:<id>    a Django user
    disabled     nobody: auth is disabled

Stored keys are cached in the process for CACHE_SEC, so a busy key costs no statement and a revoked one dies in every
process within that time (at once in the process that revoked it).
"""

from __future__ import annotations

import hmac
import time
from datetime import timedelta
from functools import lru_cache
from typing import cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.crypto import salted_hmac

from access.keyformat import digest, prefix_of
from access.models import ApiKey
from access.principals import Principal, RoleName
from rauskuclaw.config import load
from rauskuclaw.config_sources import ApiKeyEntry
from rauskuclaw.errors import AUTH_NOT_CONFIGURED, Problem

CACHE_SEC = 3.0
"""How long a process trusts what it read about a stored key."""

USED_EVERY = timedelta(minutes=1)
"""`last_used_at` is written at most this often."""

_CACHE_MAX = 4096
_cache: dict[str | UUID, tuple[float, ApiKey]] = {}
"""Prefix or id → (monotonic time it is good until, live key)."""


def principal_for_key(key: str) -> Principal | None:
    """Who holds `key`; None for an unknown, expired or revoked one. No statement for configured keys, at most one else.

    (And one UPDATE a minute for `last_used_at`.)
    """
    presented = digest(key)
    for entry in load().key_entries:
        if hmac.compare_digest(presented, digest(entry.key.get_secret_value())):
            return _configured(entry, settings.SECRET_KEY)
    prefix = prefix_of(key)
    stored = _live_key(prefix) if prefix else None
    if stored is None or not hmac.compare_digest(presented, stored.hash):
        return None
    return _used(stored)


def principal_for_reference(reference: str) -> Principal | None:
    """Who a reference names, with the rights of this moment; None when the credential is gone."""
    kind, _, name = reference.partition(":")
    match kind:
        case "env":
            return next((p for p in _all_configured() if p.reference == reference), None)
        case "db":
            key = _live_key(UUID(name))
            return _used(key) if key else None
        case "user":
            user = User.objects.filter(pk=name, is_active=True).first()
            return principal_for_user(user) if user else None
        case _:
            return principal_without_credential() if reference == "disabled" else None


def uses_every_queue(actor: str) -> bool:
    """Whether an actor (`Principal.actor`, as rows keep it) names somebody who may use every queue now.

    One statement for a stored key or a user, none else. False for whoever is gone, and for what is no person and no
    key: a schedule or another job, whose makers nobody knows.
    """
    kind, _, name = actor.partition(":")
    if kind == "user":
        return User.objects.filter(username=name, is_active=True, is_staff=True).exists()
    if kind != "key":
        return actor == "auth-disabled"
    known = [principal for principal in _all_configured() if principal.name == name]
    if known:
        return all(principal.queue_allowlist is None for principal in known)
    live = ApiKey.objects.exclude(expires_at__lte=Now()).filter(revoked_at__isnull=True)
    return live.filter(name=name, queue_allowlist__isnull=True).exists()


def principal_for_user(user: User) -> Principal:
    """A Django user as a principal: staff are admins, the others read."""
    role: RoleName = "admin" if user.is_staff else "read"
    return Principal(name=user.get_username(), role=role, source="user", reference=f"user:{user.pk}")


def principal_without_credential() -> Principal | None:
    """The admin that everybody is in disabled mode; None where a credential is needed (contract 1.6).

    Disabled mode is honoured only while no key of any kind exists; a revoked one still counts, so that revoking the
    last key never opens the server. Raises AUTH_NOT_CONFIGURED when there is neither a key nor disabled mode.
    """
    config = load()
    if config.key_entries or ApiKey.objects.exists():
        return None
    if config.auth_disabled:
        return Principal(name="auth-disabled", role="admin", source="disabled", reference="disabled")
    raise Problem(
        AUTH_NOT_CONFIGURED,
        "The server has no API key yet: set API_KEY, or run `manage.py apikey create NAME --role admin`.",
    )


def forget_stored_keys() -> None:
    """Drop this process's cache: what changes from now on is seen at once."""
    _cache.clear()


def _all_configured() -> list[Principal]:
    return [_configured(entry, settings.SECRET_KEY) for entry in load().key_entries]


@lru_cache(maxsize=256)
def _configured(entry: ApiKeyEntry, secret_key: str) -> Principal:
    key = entry.key.get_secret_value()
    fingerprint = salted_hmac("access.reference", key, secret=secret_key, algorithm="sha256").hexdigest()
    return Principal(
        name=entry.name,
        role=entry.role,
        sse=entry.sse,
        queue_allowlist=entry.queue_allowlist,
        source="env",
        reference=f"env:{fingerprint}",
    )


def _live_key(prefix_or_id: str | UUID) -> ApiKey | None:
    """The key, if it is neither revoked nor expired. One statement on a unique index, or none."""
    good_until, key = _cache.get(prefix_or_id, (0.0, None))
    if key is None or good_until < time.monotonic():
        column = "pk" if isinstance(prefix_or_id, UUID) else "prefix"
        key = ApiKey.objects.filter(revoked_at__isnull=True, **{column: prefix_or_id}).first()
        if key is None:
            return None
        if len(_cache) >= _CACHE_MAX:
            _cache.clear()
        _cache[key.prefix] = _cache[key.pk] = (time.monotonic() + CACHE_SEC, key)
    return key if key.expires_at is None or timezone.now() < key.expires_at else None


def _used(key: ApiKey) -> Principal:
    """The key's principal; notes the use."""
    now = timezone.now()
    due = now - USED_EVERY
    if key.last_used_at is None or key.last_used_at <= due:
        key.last_used_at = now
        # The condition makes it one write a minute for all processes together.
        ApiKey.objects.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lte=due), pk=key.pk).update(
            last_used_at=now
        )
    return Principal(
        name=key.name,
        role=cast(RoleName, key.role),
        sse=key.sse,
        queue_allowlist=None if key.queue_allowlist is None else tuple(key.queue_allowlist),
        source="db",
        reference=f"db:{key.pk}",
    )
